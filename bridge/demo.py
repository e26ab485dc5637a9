"""The whole thing at work: a host and a server in processes of their own, and a client that calls them.

``bridge demo`` and ``make run``. Nothing is simulated: real processes, real gRPC on loopback, shipped data.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from bridge.demo_processes import find_showcase, run_process
from bridge.demo_steps import STEPS, Mismatch, Skipped, Stage, Step
from bridge.errors import BridgeError
from bridge_client import BridgeClient

__all__ = ["run_demo"]

STEP_TIMEOUT = 30.0
"""Seconds a step may take; each takes a second or two on a slow machine."""
INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and SIGTERM, as shells have them."""

Outcome = Literal["done", "skipped", "failed"]

ADAPTERS = ("TextTools", "TableTools", "StreamingTools", "VariableTools", "ErrorTools")


def run_demo(console: Console) -> int:
    """Runs the demonstration.

    Args:
        console: where it is shown.

    Returns:
        The exit code: 0 if every step did what it must, 1 if one did not (the output says which and why), 130 after
        Ctrl-C, 143 after SIGTERM. The processes it started are gone in every case.
    """
    try:
        return asyncio.run(_run(console))
    except (KeyboardInterrupt, asyncio.CancelledError) as stopped:
        console.print("\n[yellow]stopped, and the processes with it[/]")
        return INTERRUPTED if isinstance(stopped, KeyboardInterrupt) else TERMINATED


async def _run(console: Console) -> int:
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started = time.perf_counter()
    outcomes: dict[str, Outcome] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="bridge-demo-") as folder:
            async with _stage(console, Path(folder)) as stage:
                for number, (title, step) in enumerate(STEPS, start=1):
                    console.print(f"\n[bold]{number}. {title}[/]")
                    outcomes[f"{number}. {title}"] = await _perform(stage, step)
    except (BridgeError, OSError) as error:
        console.print(f"[red]failed:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    took = f"{time.perf_counter() - started:.1f} s"
    failed = [step for step, outcome in outcomes.items() if outcome == "failed"]
    if failed:
        text = f"{len(failed)} of {len(outcomes)} steps failed[/] ({took}): {', '.join(failed)}"
        console.print(f"\n[red]{text}", highlight=False, soft_wrap=True)
        return 1
    done = list(outcomes.values()).count("done")
    skipped = f", {len(outcomes) - done} skipped" if done < len(outcomes) else ""
    text = f"{done} of {len(outcomes)} steps did what they must[/]{skipped} ({took}); both processes are stopped"
    console.print(f"\n[green]{text}", highlight=False, soft_wrap=True)
    return 0


@asynccontextmanager
async def _stage(console: Console, folder: Path) -> AsyncIterator[Stage]:
    """Host, server and client; left in the opposite order."""
    showcase = find_showcase()
    adapters = [*ADAPTERS, "ArrayTools"] if find_spec("numpy") else [*ADAPTERS]
    served = [f"{showcase.package}:{adapter}" for adapter in adapters]
    listen = ["--listen", "127.0.0.1:0"]
    started = time.perf_counter()
    console.print("[bold]Starting a host and a server[/], each a process of its own, on loopback")
    async with run_process("host", ["host", f"{showcase.package}:HostTools", *listen], folder) as host:
        console.print(f"   bridge host {showcase.package}:HostTools  [dim]→ {host}[/]", highlight=False, soft_wrap=True)
        async with run_process("server", ["serve", *served, "--host", host, *listen], folder) as server:
            console.print(
                f"   bridge serve {' '.join(served)} --host {host}  [dim]→ {server}[/]", highlight=False, soft_wrap=True
            )
            console.print(f"   [dim]ready in {time.perf_counter() - started:.2f} s[/]")
            async with BridgeClient(server, host=host) as client:
                yield Stage(client, console, showcase.folder / "data")


async def _perform(stage: Stage, step: Step) -> Outcome:
    """Runs a step, and shows why if it did not do what it must."""
    try:
        async with asyncio.timeout(STEP_TIMEOUT):
            await step(stage)
    except Skipped as skipped:
        stage.console.print(f"   [yellow]skipped:[/] {escape(str(skipped))}", highlight=False, soft_wrap=True)
        return "skipped"
    except TimeoutError:
        stage.console.print(f"   [red]failed:[/] it took longer than {STEP_TIMEOUT:g} s")
        return "failed"
    except Exception as error:  # noqa: BLE001 - whatever a step raises is its failure; the next ones still run
        stage.console.print(f"   [red]failed:[/] {escape(_text(error))}", highlight=False, soft_wrap=True)
        return "failed"
    return "done"


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, Mismatch | BridgeError) else f"{type(error).__name__}: {error}"
