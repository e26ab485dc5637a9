"""How much a session takes from its other side, and how long it waits for it."""

from __future__ import annotations

import msgspec

from bridge.yamux.wire import INITIAL_WINDOW, MAX_UINT32

__all__ = ["DEFAULT_CONFIG", "YamuxConfig"]


class YamuxConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and times of a session. The defaults are those of Go's implementation, where it has them.

    What a session keeps in memory of what its other side sends is at most ``window`` bytes for each stream. Raises
    ``ValueError`` where a value makes no sense.
    """

    window: int = INITIAL_WINDOW
    """Bytes the other side may send in each stream before we have read any; at least 262144."""
    backlog: int = 256
    """Streams of the other side that wait to be accepted (more are reset), and our own that wait for its answer."""
    max_streams: int = 1000
    """Streams of the other side that are open at the same time; more are reset."""
    max_unsent_replies: int = 4096
    """Frames without data that may wait to be sent; it is a violation to ping or to open a stream then."""
    keepalive_interval: float = 30.0
    """Seconds between pings; 0: none are sent."""
    ping_timeout: float = 10.0
    """Seconds after a ping in which something has to come."""
    open_timeout: float = 75.0
    """Seconds in which a stream has to be accepted, else the session is over; 0: no limit."""
    close_timeout: float = 300.0
    """Seconds in which the other side has to end a stream that we have closed, else it is reset; 0: no limit."""
    flush_timeout: float = 10.0
    """Seconds in which what is left to send has to be taken when the session closes."""

    def __post_init__(self) -> None:
        if not INITIAL_WINDOW <= self.window <= MAX_UINT32:
            raise ValueError(f"window has to be from {INITIAL_WINDOW} to {MAX_UINT32}")
        if min(self.backlog, self.max_streams, self.max_unsent_replies) < 1:
            raise ValueError("backlog, max_streams and max_unsent_replies have to be 1 or more")
        if min(self.keepalive_interval, self.open_timeout, self.close_timeout) < 0:
            raise ValueError("times have to be 0 or more")
        if min(self.ping_timeout, self.flush_timeout) <= 0:
            raise ValueError("ping_timeout and flush_timeout have to be more than 0")


DEFAULT_CONFIG = YamuxConfig()
