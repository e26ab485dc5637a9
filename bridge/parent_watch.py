"""Hearing of the end of the process that has started this one, whatever this one is busy with."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

__all__ = ["ParentWatch"]

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the parent, where the kernel does not tell of its end."""


class ParentWatch:
    """Waits in a thread, from the moment this is made, so that no import and no tool has to end before somebody looks.

    The parent is gone when it has ended, or when nobody holds the other end of stdin any more: one of them may be kept
    alive by what the other has started.

    Args:
        stdin: the pipe or socket from the parent, a descriptor of its own; ``None``: there is none. The end of a pipe
            that only this process writes to does as well: it tells when nobody reads any more.
        reads: whether nobody else reads it. What comes is thrown away. Otherwise its reader comes to its end by itself,
            after what is still in it, and ``tell`` is about the end of the process only.
        limit: seconds that are left when the parent is gone.
        end: ends this process, from the thread, after them.
        parent: process id of the parent, from a time when it was certainly alive; ``None``: it is now.
    """

    def __init__(
        self,
        stdin: int | None,
        *,
        reads: bool,
        limit: float,
        end: Callable[[], object],
        parent: int | None = None,
    ) -> None:
        self._stdin, self._reads, self._end = stdin, reads, end
        self.limit = limit
        """As in the arguments; may be changed until the parent is gone."""
        self._gone, self._closed = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._on_gone: Callable[[], None] | None = None
        self._parent = os.getppid() if parent is None else parent
        self._pidfd = _pidfd(self._parent)
        self._wake = os.eventfd(0)
        threading.Thread(target=self._watch, name="parent-watch", daemon=True).start()

    @property
    def is_gone(self) -> bool:
        """Whether the parent is gone. This process then ends, sooner or later."""
        return self._gone.is_set()

    def tell(self, on_gone: Callable[[], None]) -> None:
        """Has a function called when the parent is gone, from a thread; at once, if it is gone."""
        with self._lock:
            self._on_gone = on_gone
            is_gone = self.is_gone
        if is_gone:
            on_gone()

    def close(self) -> None:
        """Stops watching: this process may live on without its parent. ``end`` may be running, but does not begin."""
        with self._lock:
            if not self._closed.is_set():
                self._closed.set()
                os.eventfd_write(self._wake, 1)

    def _watch(self) -> None:
        self._wait()
        if not self._closed.is_set():
            self._tell_gone()
            if not self._closed.wait(self.limit):
                self._end()
        self._closed.wait()
        with self._lock:
            for fd in (self._stdin, self._pidfd, self._wake):
                if fd is not None:
                    os.close(fd)

    def _tell_gone(self) -> None:
        if self._reads or os.getppid() != self._parent:
            with self._lock:
                self._gone.set()
                on_gone = self._on_gone
            if on_gone is not None:
                on_gone()

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._pidfd is not None:
            poll.register(self._pidfd, select.POLLIN)
        if self._stdin is not None:
            poll.register(self._stdin, select.POLLIN if self._reads else 0)  # its end is told in any case
        while os.getppid() == self._parent:
            events = poll.poll(None if self._pidfd is not None else LOOK_INTERVAL * 1000)
            if any(self._means_end(fd, event) for fd, event in events):
                break

    def _means_end(self, fd: int, event: int) -> bool:
        if fd == self._stdin and event & select.POLLIN:
            return not os.read(fd, 65536)  # whatever somebody writes there means nothing
        return True


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None  # it is gone, or out of our sight, or the kernel has none
