"""A plugin's process, whoever has started it: seen to end, and ended."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from abc import ABC, abstractmethod

from bridge.goplugin.process.process_identity import ProcessIdentity
from bridge.runtime.death import Exit

__all__ = ["WatchedProcess"]

_LOOK_INTERVAL = 0.1
"""Seconds between two looks at a process, where the kernel does not tell of its end (it has no pidfds)."""
_KILLED_WITHIN = 10.0
"""Seconds after SIGKILL until a process is given up that the kernel does not let go of."""
_WITHOUT_PIDFDS = frozenset((errno.ENOSYS, errno.EPERM))
"""What kernels without them say, and sandboxes that forbid them."""


class WatchedProcess(ABC):
    """Belongs to the running event loop. Raises ``OSError`` if no descriptor is left.

    Args:
        identity: the process.
        logger: told how it ended.
    """

    def __init__(self, identity: ProcessIdentity, logger: logging.Logger) -> None:
        self.identity = identity
        """For whoever wants to find the process again, and it only."""
        self._logger = logger
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Exit] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._pidfd = _pidfd(identity.pid)
        if self._pidfd is None:
            self._timer = self._loop.call_later(_LOOK_INTERVAL, self._look)
        else:
            self._loop.add_reader(self._pidfd, self._on_end)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.identity.pid

    @property
    def exit(self) -> Exit | None:
        """How it ended; ``None`` while it runs."""
        return self._ended.result() if self._ended.done() and not self._ended.cancelled() else None

    async def exited(self) -> Exit:
        """Waits for its end, and tells how that was."""
        return await asyncio.shield(self._ended)

    async def ends_within(self, seconds: float) -> bool:
        """Waits so long at most; whether it has ended. Also returns when this object lets go of the process."""
        await asyncio.wait((self._ended,), timeout=seconds)
        return self.exit is not None

    async def wait_or_kill(self, grace: float) -> bool:
        """Lets it end by itself for so many seconds, then kills it; whether that was not needed.

        Nothing is left of it afterwards. A cancel ends the waiting; then it may still run.
        """
        is_graceful = await self.ends_within(grace)
        if not is_graceful:
            self._logger.warning("plugin %d failed to exit gracefully in time, and is killed", self.pid)
            self.kill()
        await self._wait_for_end()
        return is_graceful

    @abstractmethod
    def describe_exit(self) -> str:
        """For people: whether it runs, or how it ended."""

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL for it and what it has started; does nothing if it has ended. Returns at once."""

    @abstractmethod
    async def aclose(self) -> None:
        """Ends what this object has to do with the process."""

    @abstractmethod
    def _bury(self) -> Exit:
        """Called when the process has ended: takes care of what is left of it, and tells how it ended."""

    def _on_end(self) -> None:
        self._let_go()
        if not self._ended.done():
            self._ended.set_result(self._bury())

    def _look(self) -> None:
        if self.identity.is_running():
            self._timer = self._loop.call_later(_LOOK_INTERVAL, self._look)
        else:
            self._on_end()

    def _let_go(self) -> None:
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
        if self._timer is not None:
            self._timer.cancel()

    async def _wait_for_end(self) -> None:
        """Until it has ended, however often this is cancelled; for a process that is killed."""
        cancelled: asyncio.CancelledError | None = None
        deadline = self._loop.time() + _KILLED_WITHIN
        while not self._ended.done() and (left := deadline - self._loop.time()) > 0:
            try:
                await asyncio.wait((self._ended,), timeout=left)
            except asyncio.CancelledError as error:
                cancelled = error
        if not self._ended.done():
            self._logger.error("plugin %d was killed and does not end: what does the kernel wait for?", self.pid)
        if cancelled is not None:
            raise cancelled


def _pidfd(pid: int) -> int | None:
    """Raises ``ProcessLookupError``; ``None``: the kernel has none."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in _WITHOUT_PIDFDS:
            return None
        raise
