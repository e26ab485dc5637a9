"""How often may be called: a bucket of tokens that fills at a steady rate. It has no clock: whoever asks says when."""

from __future__ import annotations

import math

import msgspec

from bridge.errors import BridgeError, Code, ErrorDetails, invalid_argument

__all__ = ["RateLimit", "TokenBucket"]


class RateLimit(msgspec.Struct, frozen=True):
    """Most requests that the services of others on a server take; a stream counts once, when it begins.

    Raises ``BridgeError`` INVALID_ARGUMENT for numbers that would let nothing through.
    """

    requests_per_second: float
    """In the long run."""
    burst: int
    """At once, after a time of rest."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.requests_per_second) and self.requests_per_second > 0):
            raise invalid_argument("rate_limit.requests_per_second", "must be a number above 0", reason="CONFIG")
        if self.burst < 1:
            raise invalid_argument("rate_limit.burst", "must be at least 1", reason="CONFIG")


class TokenBucket:
    """The state of one limit. It begins full.

    Args:
        limit: how fast it fills, and how much it holds.
        now: the time in seconds, by a clock that only goes forward.
    """

    __slots__ = ("_at", "_limit", "_tokens")

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._tokens = float(limit.burst)
        self._at = now

    def take(self, now: float) -> None:
        """Takes a token. Raises ``BridgeError`` RESOURCE_EXHAUSTED, reason ``RATE_LIMITED``, if there is none; its
        ``retry_after`` says when there will be one."""
        limit = self._limit
        if now > self._at:
            self._tokens = min(float(limit.burst), self._tokens + (now - self._at) * limit.requests_per_second)
            self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return
        wait = (1.0 - self._tokens) / limit.requests_per_second
        raise BridgeError(
            Code.RESOURCE_EXHAUSTED,
            f"the rate limit of {limit.requests_per_second:g} requests per second (at most {limit.burst} at once) is "
            f"reached: try again in {wait:.3g} s",
            reason="RATE_LIMITED",
            details=ErrorDetails(retry_after=wait),
        )
