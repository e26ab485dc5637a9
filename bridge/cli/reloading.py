"""Exchanging the code of a running server's tools: on SIGHUP, and with ``--reload`` whenever a file has changed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.errors import BridgeError, Code

__all__ = ["folders_of", "reloading"]

log = logging.getLogger("bridge.server")


@asynccontextmanager
async def reloading(
    reload: Callable[[], Awaitable[None]], folders: Iterable[Path], stop: Callable[[], None]
) -> AsyncIterator[None]:
    """Reloads as long as the block runs.

    Args:
        reload: exchanges the code of a server's tools.
        folders: watched for changes of Python files and manifests; none: only SIGHUP counts.
        stop: called when SIGHUP means that the terminal is gone.
    """
    reloads = _Reloads(reload)
    had_terminal = _has_terminal()

    def on_hangup() -> None:
        if had_terminal and not _has_terminal():
            stop()
        else:
            reloads.wanted.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    tasks = [asyncio.ensure_future(reloads.run())]
    if paths := [folder for folder in folders if folder.is_dir()]:
        tasks.append(asyncio.ensure_future(reloads.watch(paths)))
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class _Reloads:
    """One reload at a time; what changes meanwhile makes for one more."""

    def __init__(self, reload: Callable[[], Awaitable[None]]) -> None:
        self.wanted = asyncio.Event()
        self._reload = reload

    async def run(self) -> None:
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            try:
                await self._reload()
            except BridgeError as error:
                log.error("not reloaded, the tools are as before: %s", error.message)
            except Exception:  # a bug must not end the reloading
                log.exception("not reloaded")

    async def watch(self, folders: list[Path]) -> None:
        from watchfiles import PythonFilter, awatch

        async for _ in awatch(*folders, watch_filter=PythonFilter(extra_extensions=(".toml", ".json"))):
            self.wanted.set()


def folders_of(adapters: Iterable[type], others: Iterable[Path]) -> list[Path]:
    """Where the code of adapters lies: the folder of the file, or of the outermost package.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``MISSING_EXTRA``, if nothing can be watched.
    """
    try:
        import watchfiles  # noqa: F401 - asked for before the server starts
    except ImportError:
        message = "--reload needs watchfiles: pip install 'tool-bridge[reload]', or leave it out and send SIGHUP"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="MISSING_EXTRA") from None
    folders = {path.resolve() for path in others}
    for adapter in adapters:
        top = sys.modules.get(adapter.__module__.partition(".")[0])
        file = getattr(top, "__file__", None) or getattr(sys.modules.get(adapter.__module__), "__file__", None)
        if file:
            folders.add(Path(file).resolve().parent)
    return sorted(folders)


def _has_terminal() -> bool:
    """Whether there is a controlling terminal (tty(4)): after a hang-up there is none any more."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
