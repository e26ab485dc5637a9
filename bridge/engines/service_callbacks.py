"""What wants to know that a call is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

__all__ = ["Callbacks"]

log = logging.getLogger("bridge.service")


class Callbacks:
    """Callbacks that run once. They may be added in any thread."""

    __slots__ = ("_callbacks", "_lock", "have_run")

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self.have_run = False

    def add(self, callback: Callable[[], None]) -> bool:
        """Whether it will run; ``False`` when it is too late."""
        with self._lock:
            if self.have_run:
                return False
            self._callbacks.append(callback)
            return True

    def run(self) -> None:
        """Runs them, and logs what they raise."""
        with self._lock:
            self.have_run = True
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                log.exception("a callback at the end of a call failed")
        self._callbacks.clear()
