"""A host in a process of its own, which can be killed and comes back with what it kept."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.cli.running import Running, running

__all__ = ["HostProcess"]


class HostProcess:
    """``bridge host`` with a sqlite store; its address and its file stay the same.

    Args:
        folder: where its socket and its file are.
    """

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder / 'host.sock'}"
        self._folder = folder
        self._stack = ExitStack()
        self._running: Running | None = None

    def start(self) -> None:
        """Starts it and returns when it is ready."""
        arguments = ("host", "--listen", self.address, "--store", f"sqlite:{self._folder / 'store.db'}")
        self._running = self._stack.enter_context(running(*arguments, cwd=self._folder))
        self._running.address()

    def kill(self) -> None:
        """Ends it as a crash does (SIGKILL), at once."""
        if self._running is not None:
            self._running.process.kill()
            self._stack.close()
            self._running = None
