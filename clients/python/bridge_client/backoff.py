"""How long to wait before the next try: a value, no clock, no sleep."""

from __future__ import annotations

import msgspec

from bridge.errors import invalid_argument

__all__ = ["Backoff", "check_number"]

# Far past the point where any multiplier above 1 has reached any ceiling, and small enough not to overflow a float.
_MAX_EXPONENT = 1_000


def check_number(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raises INVALID_ARGUMENT unless ``low <= value <= high`` (which NaN never is)."""
    if not low <= value <= high:
        raise invalid_argument(name, f"must be from {low:g} to {high:g}, not {value:g}", reason="CONFIG")


class Backoff(msgspec.Struct, frozen=True):
    """Exponential backoff with a ceiling and jitter (gRPC proposal A6).

    Raises:
        BridgeError: INVALID_ARGUMENT for a field out of its range.
    """

    initial: float = 0.05
    """Seconds before the first repetition."""
    maximum: float = 2.0
    """Seconds that no wait exceeds before jitter."""
    multiplier: float = 2.0
    """By how much a wait is longer than the one before; at least 1."""
    jitter: float = 0.2
    """Part of a wait, from 0 to 1, by which it is made shorter or longer at random."""

    def __post_init__(self) -> None:
        check_number("initial", self.initial, 0.0, 1e9)
        check_number("maximum", self.maximum, 0.0, 1e9)
        check_number("multiplier", self.multiplier, 1.0, 1e3)
        check_number("jitter", self.jitter, 0.0, 1.0)

    def ceiling(self, attempt: int) -> float:
        """Seconds after the given number of failures (from 1), before jitter. Never falls as ``attempt`` rises."""
        try:
            wait = self.initial * self.multiplier ** min(max(attempt - 1, 0), _MAX_EXPONENT)
        except OverflowError:
            return self.maximum
        return min(wait, self.maximum)

    def delay(self, attempt: int, random: float) -> float:
        """Seconds to wait after the given number of failures.

        Args:
            attempt: failures so far, from 1.
            random: from 0 to 1; where in the jitter the wait falls.
        """
        return self.ceiling(attempt) * (1.0 - self.jitter + 2.0 * self.jitter * random)
