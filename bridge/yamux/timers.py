"""What a session waits for, and until when. The clock belongs to whoever owns the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bridge.yamux.config import YamuxConfig
from bridge.yamux.failures import timed_out

__all__ = ["Timers"]


class Timers:
    """The times of one session.

    Streams wait equally long, so that the first of each kind is the next that is due.
    """

    def __init__(self, config: YamuxConfig, clock: Callable[[], float]) -> None:
        self._config, self._clock = config, clock
        self._opening: dict[int, float] = {}
        self._closing: dict[int, float] = {}
        self._next_ping: float | None = clock() + config.keepalive_interval if config.keepalive_interval else None
        self._silent_until: float | None = None
        """When the other side has to have sent something, after a ping."""

    @property
    def deadline(self) -> float | None:
        """When ``tick`` has something to do; ``None``: not as things are."""
        times = [*self._first(self._opening), *self._first(self._closing)]
        ping = self._next_ping if self._silent_until is None else self._silent_until
        if ping is not None:
            times.append(ping)
        return min(times, default=None)

    def opened(self, stream_id: int) -> None:
        """A stream waits to be accepted by the other side."""
        if self._config.open_timeout:
            self._opening[stream_id] = self._clock() + self._config.open_timeout

    def closed(self, stream_id: int) -> None:
        """A stream waits to be ended by the other side."""
        if self._config.close_timeout:
            self._closing[stream_id] = self._clock() + self._config.close_timeout

    def accepted(self, stream_id: int) -> None:
        """A stream was accepted by the other side."""
        self._opening.pop(stream_id, None)

    def gone(self, stream_id: int) -> None:
        """A stream waits for nothing any more."""
        self._opening.pop(stream_id, None)
        self._closing.pop(stream_id, None)

    def heard(self) -> None:
        """Something came. Any bytes count, as an answer to a ping may wait behind a lot of data."""
        if self._silent_until is not None:
            self._silent_until = None
            self._next_ping = self._clock() + self._config.keepalive_interval

    def ping_is_due(self) -> bool:
        """Whether a ping is to be sent, which is then waited for.

        Raises ``SessionFailed`` when a ping or the opening of a stream is not answered in time.
        """
        now = self._clock()
        if any(due <= now for due in self._first(self._opening)):
            raise timed_out("STREAM_OPEN_TIMEOUT", "the other side does not accept a stream")
        if self._silent_until is not None:
            if self._silent_until <= now:
                raise timed_out("KEEPALIVE_TIMEOUT", "the other side does not answer a ping")
            return False
        if self._next_ping is None or self._next_ping > now:
            return False
        self._silent_until = now + self._config.ping_timeout
        return True

    def overdue(self) -> Iterator[int]:
        """Streams that the other side has not ended in time. Each is to be ended while it is iterated."""
        now = self._clock()
        while any(due <= now for due in self._first(self._closing)):
            stream_id = next(iter(self._closing))
            del self._closing[stream_id]
            yield stream_id

    @staticmethod
    def _first(waiting: dict[int, float]) -> Iterator[float]:
        for due in waiting.values():
            yield due
            return
