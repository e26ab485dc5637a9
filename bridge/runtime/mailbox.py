"""What one thread or task waits for and another one brings."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable

__all__ = ["Mailbox"]


class Mailbox:
    """Things in the order they came, for one who waits.

    Args:
        by_pipe: what is waited for can only come by the pipe, so who waits may as well read it.
    """

    __slots__ = ("by_pipe", "items", "wake")

    def __init__(self, *, by_pipe: bool) -> None:
        self.by_pipe = by_pipe
        self.items: deque[Any] = deque()
        self.wake: Callable[[], object] | None = None
        """Called, in whatever thread, when something has come."""

    def put(self, item: Any) -> None:
        """Brings something."""
        self.items.append(item)
        wake = self.wake
        if wake is not None:
            wake()
