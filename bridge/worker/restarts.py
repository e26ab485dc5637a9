"""How soon a worker may be started after others have died."""

from __future__ import annotations

__all__ = ["Restarts"]

LOOP, WINDOW = 5, 30.0
"""So many deaths within so many seconds, without a call that ended well, are a crash loop."""
FIRST_DELAY, MAX_DELAY = 0.1, 2.0
FIRST_QUARANTINE, MAX_QUARANTINE = 2.0, 60.0


class Restarts:
    """Counts deaths. Times are ``time.monotonic()``, given by the caller."""

    def __init__(self) -> None:
        self._deaths: list[float] = []
        self._quarantines = 0

    def died(self, now: float, *, at_start: bool = False) -> float:
        """Notes a death; the seconds of quarantine that begin with it, or 0.

        Args:
            now: the time.
            at_start: it never took a call. Such deaths count however far apart they are.
        """
        if not at_start and self._quarantines == 0:
            self._deaths = [when for when in self._deaths if now - when < WINDOW]
        self._deaths.append(now)
        if len(self._deaths) < LOOP and self._quarantines == 0:
            return 0.0
        seconds = min(FIRST_QUARANTINE * 2.0**self._quarantines, MAX_QUARANTINE)
        self._quarantines = min(self._quarantines + 1, 16)
        del self._deaths[:-LOOP]
        return seconds

    def well(self) -> None:
        """A call was answered: what was before counts no more."""
        if self._deaths:
            self._deaths.clear()
            self._quarantines = 0

    def delay(self, now: float) -> float:
        """Seconds to wait before the next start: none after one death, then twice as long after each."""
        deaths = len(self._deaths)
        if deaths < 2:
            return 0.0
        pause = min(FIRST_DELAY * 2.0 ** (deaths - 2), MAX_DELAY)
        return max(0.0, self._deaths[-1] + pause - now)
