"""With multiplexing: the knocks of the other side, and to whom its next stream goes. No I/O, no clock."""

from __future__ import annotations

from typing import Final

from bridge.goplugin.brokering.failures import used_twice
from bridge.goplugin.brokering.wire import ConnInfo, Knock

__all__ = ["Doors"]

_PATIENCE: Final = 4.0
"""Seconds in which a knock waits for its door to be opened, or for its turn. The other side waits five, as Go does: it
has to hear of a refusal while it still listens."""
_EXPECTED: Final = 10.0
"""Seconds in which a stream has to come that may. Longer than the other side waits for its answer: one that was blocked
for a while still sends the stream that it owes."""


class Doors:
    """Services that can be knocked at. The other side knocks, is answered, and then opens a stream, which does not say
    for whom it is: so one knock at a time is answered, in the order in which they came.

    A knock may come before its door is there, as the message that tells the other side of an id goes another way.

    Args:
        limit: knocks that wait; more are refused at once. A second knock at a door is not counted, as in Go, while the
            first waits.
    """

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._open: set[int] = set()
        self._knocks: dict[int, float] = {}
        """Those that wait, with the times at which they are refused, the first first."""
        self._expected: tuple[int, float] | None = None
        """For whom the next stream is, and until when it has to come."""
        self._answers: list[ConnInfo] = []

    def __len__(self) -> int:
        return len(self._open) + len(self._knocks) + (self._expected is not None)

    @property
    def deadline(self) -> float | None:
        """When ``tick`` has something to do; ``None``: not as things are."""
        times = [next(iter(self._knocks.values()))] if self._knocks else []
        if self._expected is not None:
            times.append(self._expected[1])
        return min(times, default=None)

    def take(self) -> list[ConnInfo]:
        """The answers that are to be sent, once."""
        answers, self._answers = self._answers, []
        return answers

    def open(self, service_id: int, now: float) -> None:
        """A service can be knocked at. Raises ``BridgeError`` ALREADY_EXISTS if one can by that id."""
        if service_id in self._open:
            raise used_twice(service_id)
        self._open.add(service_id)
        self.tick(now)

    def close(self, service_id: int) -> None:
        """It cannot any more. A stream that is on its way to it comes nevertheless."""
        self._open.discard(service_id)

    def knocked(self, service_id: int, now: float) -> None:
        """The other side knocks."""
        self.tick(now)
        if service_id not in self._knocks and len(self._knocks) >= self._limit:
            self._refuse(service_id, "too many knocks wait")
            return
        self._knocks.setdefault(service_id, now + _PATIENCE)
        self._welcome_next(now)

    def stream_came(self, now: float) -> int | None:
        """The other side has opened a stream. Returns for whom it is, also if that has closed meanwhile; ``None``: it
        was not to be expected."""
        self.tick(now)
        if self._expected is None:
            return None
        service_id, self._expected = self._expected[0], None
        self._welcome_next(now)
        return service_id

    def tick(self, now: float) -> None:
        """Ends what has taken too long."""
        if self._expected is not None and self._expected[1] <= now:
            self._expected = None
        while self._knocks:
            service_id, until = next(iter(self._knocks.items()))
            if until > now:
                break
            del self._knocks[service_id]
            known = service_id in self._open
            # The first text is Go's.
            self._refuse(service_id, "another stream is awaited" if known else f"no listener for id {service_id}")
        self._welcome_next(now)

    def clear(self) -> None:
        """The other side is gone. Doors stay open for the next."""
        self._knocks.clear()
        self._answers.clear()
        self._expected = None

    def _refuse(self, service_id: int, problem: str) -> None:
        self._answers.append(ConnInfo(service_id, knock=Knock(ack=True, error=problem)))

    def _welcome_next(self, now: float) -> None:
        if self._expected is not None:
            return
        for service_id in self._knocks:
            if service_id in self._open:
                del self._knocks[service_id]
                self._expected = service_id, now + _EXPECTED
                self._answers.append(ConnInfo(service_id, knock=Knock(ack=True)))
                return
