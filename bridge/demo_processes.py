"""The two servers of the demonstration, as processes that never outlive it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from bridge.errors import BridgeError, Code

__all__ = ["Showcase", "find_showcase", "run_process"]

START_TIMEOUT = 30.0
"""Seconds a process may take until it is ready."""
STOP_TIMEOUT = 10.0
"""Seconds a process may take to end by itself after SIGTERM."""
OUTPUT_LINES = 15
"""Lines of a process's output shown when it fails."""


class Showcase(msgspec.Struct, frozen=True):
    """Where the showcase adapters are."""

    package: str
    """Import name."""
    folder: Path


def find_showcase() -> Showcase:
    """The showcase of an installed package, or that of a checkout."""
    here = Path(__file__).parent
    installed = here / "_showcase"
    if installed.is_dir():
        return Showcase("bridge._showcase", installed)
    return Showcase("adapters.showcase", here.parent / "adapters" / "showcase")


class Ready(msgspec.Struct):
    """Content of a ready file, as far as it matters here."""

    addresses: list[str]


@asynccontextmanager
async def run_process(name: str, arguments: list[str], folder: Path) -> AsyncIterator[str]:
    """Runs ``bridge ARGUMENTS...`` of this very installation as long as the block runs.

    Args:
        name: what to call it in errors and file names.
        arguments: without ``--ready-file``, which is added.
        folder: where its ready file and its output go.

    Yields:
        The address it listens on.

    Raises:
        BridgeError: UNAVAILABLE, with the end of its output, if it is not ready in time, or its exit code is not 0.
    """
    ready, output = folder / f"{name}.ready.json", folder / f"{name}.log"
    with output.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bridge.demo_child", str(os.getpid()), *arguments, "--ready-file", str(ready)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            cwd=folder,  # there is no bridge.toml
            start_new_session=True,  # Ctrl-C is for us; we tell the children
        )
    try:
        yield await _wait_until_ready(name, process, ready, output)
    finally:
        code = await _stop(process)
    if code != 0:
        raise _failed(name, f"ended with exit code {code}; told to stop it should have ended with 0", output)


def _environment() -> dict[str, str]:
    """Ours without settings of servers, and with what we import from, and the top of a checkout, on the path."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE_")}
    path = [*filter(None, sys.path), str(Path(__file__).parents[1])]
    return {**inherited, "PYTHONPATH": os.pathsep.join(path)}


async def _wait_until_ready(name: str, process: asyncio.subprocess.Process, ready: Path, output: Path) -> str:
    ended = asyncio.ensure_future(process.wait())
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while not ready.exists():  # noqa: ASYNC240 - a look at a local file system
                if (await asyncio.wait({ended}, timeout=0.02))[0]:
                    raise _failed(name, f"ended with exit code {ended.result()} before it was ready", output)
    except TimeoutError:
        raise _failed(name, f"was not ready after {START_TIMEOUT:g} seconds", output) from None
    finally:
        ended.cancel()
    return msgspec.json.decode(ready.read_bytes(), type=Ready).addresses[0]  # noqa: ASYNC240


def _failed(name: str, what: str, output: Path) -> BridgeError:
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()[-OUTPUT_LINES:]
    text = "\n".join(["its last output:", *lines]) if lines else "it printed nothing"
    return BridgeError(Code.UNAVAILABLE, f"the {name} {what}; {text}", reason="PROCESS_FAILED")


async def _stop(process: asyncio.subprocess.Process) -> int:
    """SIGTERM, and SIGKILL if that is not enough; the exit code when the process is gone."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            return await process.wait()
    except TimeoutError:
        pass  # it had its time
    finally:  # also if we are cancelled while we wait
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it leads a session, so this is for what it started, too
            await process.wait()
    return await process.wait()
