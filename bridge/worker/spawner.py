"""The thread that starts processes which are to end with this one.

For the kernel the parent of a process is the thread that started it (prctl(2), PR_SET_PDEATHSIG): what a thread of a
pool has started would be killed with that thread. So one thread starts them all, and lives as long as the process.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["spawn"]

T = TypeVar("T")


class _Spawner:
    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="bridge-spawner", daemon=True).start()

    def submit(self, start: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def task() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(start())
                except BaseException as error:  # noqa: BLE001 - the one who waits gets it
                    future.set_exception(error)

        self._tasks.put(task)
        return future

    def _run(self) -> None:
        while True:
            self._tasks.get()()


_spawner: _Spawner | None = None
_lock = threading.Lock()


def spawn(start: Callable[[], T]) -> Future[T]:
    """Has the thread call a function that starts a process; gives what will be its result."""
    global _spawner
    with _lock:
        if _spawner is None:
            _spawner = _Spawner()
        return _spawner.submit(start)


def _forget() -> None:
    """A forked child has no such thread."""
    global _spawner, _lock
    _spawner, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
