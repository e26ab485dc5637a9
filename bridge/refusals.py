"""How fast calls are refused when there are too many.

A refusal costs the server nearly as much as a small call. Callers that ask again at once, whatever they were told,
could take all of its time with that, and nothing would be left for the calls that are served. So refusals are given at
once as long as there are few, and when there are more than a second should have, each waits a fraction of one.
"""

from __future__ import annotations

import asyncio
from time import monotonic

__all__ = ["Refusals"]

RATE = 200.0
"""Refusals a second that cost little beside the calls."""
AT_ONCE = 100.0
"""Refusals that are given at once when there were none before."""
LONGEST = 0.25
"""Seconds that one waits at most."""


class Refusals:
    """The refusals of a server."""

    __slots__ = ("_level", "_since")

    def __init__(self) -> None:
        self._level = 0.0
        """Refusals that were given before it was their time."""
        self._since = 0.0

    def wait(self, now: float) -> float:
        """Seconds until one more is due."""
        level = max(0.0, self._level - (now - self._since) * RATE)
        self._level, self._since = min(level + 1.0, AT_ONCE + LONGEST * RATE), now
        return max(0.0, (level - AT_ONCE) / RATE)

    async def pace(self) -> None:
        """Returns when one more is due."""
        if wait := self.wait(monotonic()):
            await asyncio.sleep(wait)
