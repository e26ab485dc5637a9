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
        stdin: the pipe or socket from the parent, a descriptor of its own; ``None``: there is none.
        reads: whether nobody else reads it. What comes is thrown away. Otherwise its reader comes to its end by itself,
            after what is still in it, and ``tell`` is about the end of the process only.
        limit: seconds that are left when the parent is gone.
        end: ends this process, from the thread, after them.
    """

    def __init__(self, stdin: int | None, *, reads: bool, limit: float, end: Callable[[], object]) -> None:
        self._stdin, self._reads, self._end = stdin, reads, end
        self.limit = limit
        """As in the arguments; may be changed until the parent is gone."""
        self._gone = threading.Event()
        self._lock = threading.Lock()
        self._on_gone: Callable[[], None] | None = None
        self._parent = os.getppid()
        self._pidfd = _pidfd(self._parent)
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

    def _watch(self) -> None:
        self._wait()
        if self._reads or os.getppid() != self._parent:
            with self._lock:
                self._gone.set()
                on_gone = self._on_gone
            if on_gone is not None:
                on_gone()
        threading.Event().wait(self.limit)
        self._end()

    def _wait(self) -> None:
        poll = select.poll()
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
