"""With multiplexing: our knocks, and their answers. No I/O, no clock."""

from __future__ import annotations

import enum

from bridge.goplugin.brokering.wire import ConnInfo, Knock

__all__ = ["Answer", "Knocks"]


class Answer(enum.Enum):
    """Whose an answer is."""

    AWAITED = enum.auto()
    """Of the dial that waits for it."""
    TOO_LATE = enum.auto()
    """Nobody's any more, but the other side now gives the next stream to that service: it has to get one."""
    UNKNOWN = enum.auto()
    """Nobody's."""


class Knocks:
    """Which knock waits for an answer, and which have waited in vain.

    Args:
        limit: ids whose knocks in vain are remembered; older ones are forgotten.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._waiting: int | None = None
        self._in_vain: dict[int, int] = {}
        """How often, by id."""

    def __len__(self) -> int:
        return len(self._in_vain) + (self._waiting is not None)

    def knock(self, service_id: int) -> ConnInfo:
        """A dial knocks, when no other waits for an answer. What is returned is to be sent."""
        self._waiting = service_id
        return ConnInfo(service_id, knock=Knock())

    def give_up(self) -> None:
        """The dial waits no more."""
        if self._waiting is None:
            return
        self._in_vain[self._waiting] = self._in_vain.pop(self._waiting, 0) + 1
        self._waiting = None
        if len(self._in_vain) > self._limit:
            del self._in_vain[next(iter(self._in_vain))]

    def answered(self, info: ConnInfo) -> Answer:
        """The other side answers, whatever it says."""
        if info.service_id == self._waiting:
            self._waiting = None
            return Answer.AWAITED
        times = self._in_vain.pop(info.service_id, 0)
        if times > 1:
            self._in_vain[info.service_id] = times - 1
        return Answer.TOO_LATE if times and info.is_welcome else Answer.UNKNOWN

    def clear(self) -> None:
        """The other side is gone."""
        self._in_vain.clear()
        self._waiting = None
