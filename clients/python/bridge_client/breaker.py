"""The circuit breaker: after several failures in a row a tool is left alone for a while, then asked once.

A pure state machine: time is an argument, nothing sleeps, nothing is locked. This is the machine of one tool;
``bridge_client.breakers`` has those of a client. Use is two steps, decided before and reported after a call::

    ticket = breaker.admit(now)          # REFUSED: do not call
    ...
    breaker.success(ticket)              # or failure(ticket, now), or release(ticket) if the call was given up

A ticket names the period in which it was given. What a call of an earlier period reports is ignored, so a slow failure
from before cannot disturb the probe of now.
"""

from __future__ import annotations

import enum
import itertools
import random as random_module
from collections import deque
from collections.abc import Callable

import msgspec

from bridge.errors import BridgeError, Code
from bridge_client.backoff import Backoff, check_number

__all__ = [
    "REFUSED",
    "TRANSITIONS",
    "BreakerPolicy",
    "CircuitBreaker",
    "Event",
    "State",
]


class State(enum.StrEnum):
    """Whether calls pass."""

    CLOSED = "closed"
    """Calls pass."""
    OPEN = "open"
    """Calls are refused without being sent."""
    HALF_OPEN = "half_open"
    """One call at a time, the probe, passes; its outcome decides."""


class Event(enum.StrEnum):
    """What moves a breaker from one state to another."""

    THRESHOLD_REACHED = "threshold_reached"
    RESET_TIMEOUT_OVER = "reset_timeout_over"
    PROBE_SUCCEEDED = "probe_succeeded"
    PROBE_FAILED = "probe_failed"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.CLOSED: {Event.THRESHOLD_REACHED: State.OPEN},
    State.OPEN: {Event.RESET_TIMEOUT_OVER: State.HALF_OPEN},
    State.HALF_OPEN: {Event.PROBE_SUCCEEDED: State.CLOSED, Event.PROBE_FAILED: State.OPEN},
}
"""Every change of state there is."""

REFUSED = -1
"""The ticket of a call that must not be made."""

_DEFAULT_CODES = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL})


class BreakerPolicy(msgspec.Struct, frozen=True):
    """When a breaker opens and for how long.

    Raises:
        BridgeError: INVALID_ARGUMENT for a field out of its range.
    """

    failure_threshold: int = 5
    """Failures in a row that open it."""
    window: float = 30.0
    """Seconds in which those failures must fall."""
    reset_timeout: float = 1.0
    """Seconds it stays open the first time."""
    max_reset_timeout: float = 30.0
    """Seconds it stays open at most (before jitter), however many probes have failed."""
    reset_multiplier: float = 2.0
    """By how much it stays open longer after each failed probe."""
    jitter: float = 0.2
    """Part of these times that is random, so that many clients do not probe at once."""
    failure_codes: frozenset[Code] = _DEFAULT_CODES
    """Codes that count as failures. Any other answer shows that the server is there, and counts as a success."""
    max_tracked: int = 256
    """Tools of which failures are remembered; the one that failed longest ago is forgotten first."""

    def __post_init__(self) -> None:
        check_number("failure_threshold", self.failure_threshold, 1, 1_000_000)
        check_number("window", self.window, 0.0)
        check_number("max_tracked", self.max_tracked, 1)
        self.backoff()

    def backoff(self) -> Backoff:
        """How long the breaker stays open, as a backoff over failed probes."""
        return Backoff(self.reset_timeout, self.max_reset_timeout, self.reset_multiplier, self.jitter)


class CircuitBreaker:
    """The breaker of one tool.

    Args:
        policy: when it opens and for how long.
        random: gives numbers from 0 to 1, for the jitter.
        periods: where period numbers come from; breakers that replace each other share one, so that a ticket never
            means something to the wrong one.
        on_change: called with the state before and after.
    """

    __slots__ = (
        "_backoff", "_failures", "_on_change", "_opened", "_period", "_periods", "_policy", "_probing", "_random",
        "_state", "_until",
    )  # fmt: skip

    def __init__(
        self,
        policy: BreakerPolicy,
        *,
        random: Callable[[], float] = random_module.random,
        periods: itertools.count[int] | None = None,
        on_change: Callable[[State, State], None] | None = None,
    ) -> None:
        self._policy = policy
        self._backoff = policy.backoff()
        self._random = random
        self._periods = itertools.count(1) if periods is None else periods
        self._on_change = on_change
        self._state = State.CLOSED
        self._period = 0
        self._failures: deque[float] = deque(maxlen=policy.failure_threshold)
        self._opened = 0  # times in a row, without closing in between
        self._probing = False
        self._until = 0.0  # open: when it may be probed; half open: when the probe counts as lost

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self._state} failures={len(self._failures)}>"

    @property
    def state(self) -> State:
        """The state as of the last call of a method."""
        return self._state

    def admit(self, now: float) -> int:
        """Asks for one call; a ticket, or ``REFUSED``."""
        if self._state is State.CLOSED:
            return self._period
        if self._state is State.OPEN:
            if now < self._until:
                return REFUSED
            self._move(Event.RESET_TIMEOUT_OVER)
        elif self._probing and now < self._until:
            return REFUSED
        return self._start_probe(now)

    def _start_probe(self, now: float) -> int:
        # A probe without an answer counts as lost after as long as the breaker was open: otherwise one call that takes
        # hours, or never ends, would keep all others out.
        self._probing = True
        self._until = now + max(self._backoff.ceiling(self._opened), 1e-3)
        self._period = next(self._periods)
        return self._period

    def success(self, ticket: int) -> None:
        """The call was answered."""
        if ticket != self._period:
            return
        if self._state is State.CLOSED:
            self._failures.clear()
        elif self._state is State.HALF_OPEN and self._probing:
            self._probing = False
            self._opened = 0
            self._failures.clear()
            self._move(Event.PROBE_SUCCEEDED)

    def failure(self, ticket: int, now: float) -> None:
        """The call failed in a way that says nobody is there."""
        if ticket != self._period:
            return
        if self._state is State.CLOSED:
            self._failures.append(now)
            full = len(self._failures) == self._policy.failure_threshold
            if full and now - self._failures[0] <= self._policy.window:
                self._open(Event.THRESHOLD_REACHED, now)
        elif self._state is State.HALF_OPEN and self._probing:
            self._probing = False
            self._open(Event.PROBE_FAILED, now)

    def release(self, ticket: int) -> None:
        """The call was given up by its caller; nothing was learned, and the next one may be the probe."""
        if ticket == self._period:
            self._probing = False

    def retry_after(self, now: float) -> float:
        """Seconds until it is worth asking again; 0 if it is now."""
        if self._state is State.CLOSED or (self._state is State.HALF_OPEN and not self._probing):
            return 0.0
        return max(0.0, self._until - now)

    def _open(self, event: Event, now: float) -> None:
        self._opened += 1
        self._failures.clear()
        self._until = now + self._backoff.delay(self._opened, self._random())
        self._move(event)

    def _move(self, event: Event) -> None:
        before = self._state
        after = TRANSITIONS[before].get(event)
        if after is None:
            raise BridgeError(Code.INTERNAL, f"circuit breaker: no {event} in state {before}", reason="BREAKER_STATE")
        self._state = after
        self._period = next(self._periods)
        if self._on_change is not None:
            self._on_change(before, after)
