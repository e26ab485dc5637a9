"""The process that a pool has launched, from its arguments to its exit code.

It loads the adapter, and is forked for the worker processes while it has nothing else. It is ready when the first of
those has started and the BEAM answers. Then it writes its port to a file that the pool waits for.
"""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from bridge.errors import BridgeError
from bridge.foreground import StopSignals, run_in_foreground, say
from bridge.snakepit_worker.arguments import WorkerOptions, read_options
from bridge.snakepit_worker.orphan import become_group_leader, end_everything, watch_beam
from bridge.snakepit_worker.settings import limit_threads, prepare_environment, server_config
from bridge.sources import load_sources, prepare_sources

__all__ = ["run"]

FAILED, WRONG_USAGE = 1, 2
"""Exit codes. Whatever else goes wrong before the pool says that it is enough, it is never 0."""
STOP_MARGIN = 2.5
"""Seconds beyond the grace period; both together stay below the 6 s after which a pool kills."""


def run(arguments: Sequence[str]) -> int:
    """Runs a worker and returns its exit code; where it cannot end in order, it ends the process by itself.

    Args:
        arguments: those that the pool gave, without the name of the script.
    """
    gc.disable()  # what is imported lives as long as the process: looking for garbage in it takes time and finds none
    # Before gRPC is imported: its C core reads these once, and would write lines of its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if os.environ.get("GRPC_POLL_STRATEGY") == "poll":
        # What a pool sets for forks of a process that has gRPC, and no process of ours is one: epoll takes an eighth of
        # the CPU of a call less.
        del os.environ["GRPC_POLL_STRATEGY"]
    try:
        options = read_options(arguments, os.environ)
        limit_threads(os.environ)
        prepare_environment(options, os.environ)
        if options.health_check:
            return _check(options)
        return _work(options)
    except BridgeError as error:
        say(error.message)
        return WRONG_USAGE if error.reason in ("USAGE", "CONFIG") else FAILED
    except Exception:  # noqa: BLE001 - the edge of the process: the pool shows what was printed last
        say("a bug in tool-bridge")
        traceback.print_exc()
        return FAILED


def _check(options: WorkerOptions) -> int:
    """Says whether a worker could be started: what Snakepit's doctor asks for."""
    try:
        import bridge.server  # noqa: F401 - with all that it needs

        load_sources([options.adapter] if options.adapter else [])
    except (BridgeError, ImportError) as error:
        say(f"health check failed: {error.message if isinstance(error, BridgeError) else error}")
        return FAILED
    what = f"{options.adapter} can be served" if options.adapter else "all that a worker needs is installed"
    print(f"bridge: health check passed: {what}", flush=True)  # noqa: T201 - the answer
    return 0


def _work(options: WorkerOptions) -> int:
    if options.lead_group:
        become_group_leader()
    parent = watch_beam()
    _print_by_lines()
    if options.log_level == "none":
        logging.disable(logging.CRITICAL)
    try:
        config = server_config(options, os.environ)
        sources = prepare_sources(config)
        from bridge.snakepit_worker.worker import Worker  # with gRPC: after the fork for worker processes

        worker = Worker(options, config, *sources)

        async def serve(stop: StopSignals) -> bool:
            loop = asyncio.get_running_loop()

            def on_orphaned() -> None:
                with suppress(RuntimeError):  # the loop is closed: it stops anyway
                    loop.call_soon_threadsafe(stop.request)

            parent.tell(on_orphaned)
            async with AsyncExitStack() as stack:
                server = await worker.start(stack, stop.request)
                gc.freeze()
                gc.enable()
                await stop.wait()
            return server.clean

        return run_in_foreground(serve, config.grace, unfinished=0, margin=STOP_MARGIN)
    finally:
        if parent.is_gone:
            end_everything()


def _print_by_lines() -> None:
    """Has the pool see at once what is printed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
