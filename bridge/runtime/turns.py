"""The order in which one call reads and writes variables.

Writes go out one after the other, in the order they were asked for, and a read of a name that is being written waits
for that write.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .mailbox import Mailbox

__all__ = ["Turn", "Turns"]

_inside: ContextVar[tuple[Turn, ...]] = ContextVar("bridge_turns", default=())
"""The turns that code runs in which was called in the middle of a write."""


class Turns:
    """Who may write. Usable from any thread."""

    __slots__ = ("_lock", "_queue", "_writing")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Turn] = deque()
        """First the one that has it, then those that wait."""
        self._writing: Counter[str] = Counter()

    def take(self, names: Iterable[str] = ()) -> Turn:
        """A place among the writes, for a write of these names."""
        turn = Turn(self, frozenset(names))
        if self._around() is not None:
            raise _waits_for_itself()
        with self._lock:
            self._writing.update(turn.names)
            self._queue.append(turn)
            if self._queue[0] is turn:
                turn.come.put(True)
        return turn

    def before(self, names: Iterable[str]) -> Turn | None:
        """What a read of these names has to wait for, if it has to: a place after the writes that were asked for."""
        if not self._writing or not any(self._writing[name] > 0 for name in names):
            return None
        around = self._around()
        if around is None:
            return self.take()
        if not around.names.isdisjoint(names):
            raise _waits_for_itself()
        return None  # these writes come after the update that asks

    def _around(self) -> Turn | None:
        """The turn in which the code at hand was called, if it is not over."""
        return next((turn for turn in _inside.get() if turn.turns is self and not turn.is_over), None)

    def end(self, turn: Turn) -> None:
        """Lets the next one go; also who has not had its turn may leave."""
        with self._lock:
            if turn.is_over:
                return
            turn.is_over = True
            self._writing.subtract(turn.names)
            had_it = self._queue[0] is turn
            self._queue.remove(turn)
            if had_it and self._queue:
                self._queue[0].come.put(True)


class Turn:
    """A write's place in the order."""

    __slots__ = ("come", "is_over", "names", "turns")

    def __init__(self, turns: Turns, names: frozenset[str]) -> None:
        self.turns = turns
        self.names = names
        """What it writes."""
        self.come = Mailbox(by_pipe=False)
        """Holds something when it is its turn."""
        self.is_over = False

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Around code that is called during the turn: its own writes are refused, as they would wait for ever."""
        token = _inside.set((*_inside.get(), self))
        try:
            yield
        finally:
            _inside.reset(token)


def _waits_for_itself() -> RuntimeError:
    return RuntimeError(
        "the function given to update() must not write variables of its session or read the one it updates: "
        "it would wait for itself"
    )
