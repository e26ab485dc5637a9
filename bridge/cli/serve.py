"""Running a server in the foreground: from flags to a process that listens, drains and ends."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from bridge.cli.exit_codes import ExitCode
from bridge.cli.problems import usage_error
from bridge.cli.stopping import StopSignals
from bridge.config import ServerConfig, settle

__all__ = ["HOST_LISTEN", "Role", "import_from_current_folder", "serve"]

HOST_LISTEN = "127.0.0.1:50052"
"""Where a host listens if nothing says otherwise: beside a bridge with its own default."""
LEFTOVER_TIMEOUT = 1.0
"""Seconds that tasks left behind by adapters get to end after they were cancelled."""

Role = Literal["bridge", "host"]


def serve(role: Role, flags: Mapping[str, Any], file: Path | None) -> int:
    """Serves until a signal comes, and returns the exit code.

    Raises ``BridgeError`` if the configuration, an adapter or an address is wrong.
    """
    config = _configure(role, flags, file)
    stdout = _take_stdout()
    # Before the current folder goes on the path: nothing that lies there hides a module of ours.
    from bridge.cli.reloading import folders_of, reloading
    from bridge.server import run_server
    from bridge.sources import load_sources

    import_from_current_folder()
    adapters, plugins = load_sources(config.adapters)
    folders = folders_of(adapters, (Path(plugin.folder) for plugin in plugins)) if config.reload else []

    async def run(stop: StopSignals) -> bool:
        async with run_server(config, adapters, role, plugins=plugins, own_process=True) as server:
            async with reloading(server, folders, stop.request):
                _announce(stdout, server.addresses)
                gc.freeze()
                gc.enable()
                await stop.wait()
            _say_stopping(server.dispatcher.running, config.grace)
        return server.clean

    return _drive(run, config.grace)


def _configure(role: Role, flags: Mapping[str, Any], file: Path | None) -> ServerConfig:
    settled = settle(file, os.environ, flags)
    config = settled.config
    if role == "bridge" and not config.adapters:
        raise usage_error(
            "no adapter to serve: name one, as in `bridge serve package.module:Class` or `bridge serve file.py`; "
            "`bridge new NAME` makes one"
        )
    if role == "host" and settled.provenance["listen"].kind == "default":
        config = dataclasses.replace(config, listen=(HOST_LISTEN,))
    return config


def _take_stdout() -> int:
    """Keeps stdout for the lines that say where the server listens. What tools print goes to stderr, so a parent that
    reads those lines and no more never blocks or breaks a tool."""
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return ours


def import_from_current_folder() -> None:
    """Makes adapters in the current folder importable, before those that are installed."""
    try:
        sys.path.insert(0, str(Path.cwd()))
    except FileNotFoundError:
        pass  # the folder was removed; nothing can be imported from it


def _announce(stdout: int, addresses: Sequence[str]) -> None:
    lines = "".join(f"bridge: serving on {address}\n" for address in addresses)
    try:
        os.write(stdout, lines.encode())
    except OSError:
        pass  # nobody wants to know


def _say_stopping(running: int, grace: float) -> None:
    if running:
        what = "1 call is running and has" if running == 1 else f"{running} calls are running and have"
        _say(f"stopping: {what} {grace:g} s to end; Ctrl-C or SIGTERM once more stops at once")
    else:
        _say("stopping")


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"bridge: {text}\n")
        sys.stderr.flush()
    except OSError:
        pass  # a closed stderr is no reason not to stop in order


def _drive(run: Any, grace: float) -> int:
    """Runs the server on a loop of its own. ``asyncio.run`` would wait at its end for tasks that ignore being
    cancelled, and a tool may do that."""
    loop = asyncio.new_event_loop()
    stop = StopSignals(loop, grace)
    main = loop.create_task(run(stop))
    stop.install(main)
    try:
        clean = loop.run_until_complete(main)
    except asyncio.CancelledError:
        if not stop.signal:
            raise
        _say("stopped before it was ready")
        return 128 + stop.signal
    if not clean:
        _say("calls were still running after the grace period; they are cut off")
        _leave(ExitCode.UNFINISHED)
    if _has_stuck_tasks(loop):
        _leave(ExitCode.OK)
    loop.close()
    return ExitCode.OK


def _has_stuck_tasks(loop: asyncio.AbstractEventLoop) -> bool:
    """Cancels what adapters left behind; whether some of it goes on all the same."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if not tasks:
        return False
    _, pending = loop.run_until_complete(asyncio.wait(tasks, timeout=LEFTOVER_TIMEOUT))
    return bool(pending)


def _leave(code: ExitCode) -> NoReturn:
    """Ends the process without waiting for anything: threads and tasks that do not end must not keep it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass
    os._exit(code)
