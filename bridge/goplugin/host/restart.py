"""When a plugin that has died is started again."""

from __future__ import annotations

import msgspec

from bridge.errors import invalid_argument
from bridge_client.backoff import Backoff

__all__ = ["RestartPolicy", "Restarts"]


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and how soon."""

    max_restarts: int = 5
    """Restarts in a row; after one more death the plugin is given up."""
    backoff: Backoff = Backoff(initial=0.1, maximum=10.0)
    """The waits between a death and the restart."""
    reset_after: float = 60.0
    """Seconds that a plugin has to live for its predecessors not to count."""

    def __post_init__(self) -> None:
        if self.max_restarts < 0:
            raise invalid_argument("max_restarts", "is 0 or more")
        if not self.reset_after >= 0:
            raise invalid_argument("reset_after", "is a number of seconds, 0 or more")


class Restarts:
    """Counts deaths. It has no clock: whoever asks says when.

    Args:
        policy: how many there may be.
    """

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._deaths = 0
        self._started: float | None = None
        """When the one that lives, if one does, began to."""

    def started(self, now: float) -> None:
        """The plugin answers."""
        self._started = now

    def died(self, now: float, random: float) -> float | None:
        """It has died, or could not be started; seconds until the next start, ``None``: there is none.

        Args:
            now: seconds.
            random: from 0 to 1, for the jitter.
        """
        if self._started is not None and now - self._started >= self._policy.reset_after:
            self._deaths = 0
        self._started = None
        self._deaths += 1
        if self._deaths > self._policy.max_restarts:
            return None
        return self._policy.backoff.delay(self._deaths, random)
