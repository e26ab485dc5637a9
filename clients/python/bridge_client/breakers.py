"""The circuit breakers of a client, one for each tool that has failed."""

from __future__ import annotations

import itertools
import logging
import random as random_module
from collections import OrderedDict
from collections.abc import Callable

from bridge.errors import BridgeError, Code, ErrorDetails
from bridge_client.breaker import REFUSED, BreakerPolicy, CircuitBreaker, State

__all__ = ["CircuitBreakers", "StateChange", "circuit_open"]

_log = logging.getLogger(__name__)

StateChange = Callable[[str, str, State, State], None]
"""Told of a change of state: target, tool, state before, state after."""


class CircuitBreakers:
    """The breakers of one client, by tool. A tool that never failed has none and costs a look into a dict.

    Args:
        target: for whoever observes.
        policy: the same for all tools.
        random: gives numbers from 0 to 1.
        on_state_change: told of every change; what it raises is logged, never passed on.
    """

    def __init__(
        self,
        target: str,
        policy: BreakerPolicy,
        *,
        random: Callable[[], float] = random_module.random,
        on_state_change: StateChange | None = None,
    ) -> None:
        self._target = target
        self._policy = policy
        self._codes = policy.failure_codes
        self._random = random
        self._on_state_change = on_state_change
        self._periods = itertools.count(1)
        self._by_tool: OrderedDict[str, CircuitBreaker] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_tool)

    def states(self) -> dict[str, State]:
        """The state of every tool that has failed."""
        return {tool: breaker.state for tool, breaker in self._by_tool.items()}

    def admit(self, tool: str, clock: Callable[[], float]) -> int:
        """Asks for one call of a tool; a ticket. Raises UNAVAILABLE, reason ``CIRCUIT_OPEN``, if it is refused."""
        breaker = self._by_tool.get(tool)
        if breaker is None:
            return 0
        now = clock()
        ticket = breaker.admit(now)
        if ticket == REFUSED:
            raise circuit_open(self._target, tool, breaker.retry_after(now))
        return ticket

    def success(self, tool: str, ticket: int) -> None:
        """The call was answered."""
        breaker = self._by_tool.get(tool)
        if breaker is not None:
            breaker.success(ticket)

    def error(self, tool: str, ticket: int, code: Code, now: float) -> None:
        """The call failed with a code."""
        if code in self._codes:
            self._breaker(tool).failure(ticket, now)
        elif code is Code.CANCELLED:
            self.release(tool, ticket)
        else:
            self.success(tool, ticket)

    def release(self, tool: str, ticket: int) -> None:
        """The call was given up by its caller."""
        breaker = self._by_tool.get(tool)
        if breaker is not None:
            breaker.release(ticket)

    def _breaker(self, tool: str) -> CircuitBreaker:
        breaker = self._by_tool.get(tool)
        if breaker is None:
            while len(self._by_tool) >= self._policy.max_tracked:
                self._by_tool.popitem(last=False)
            breaker = self._by_tool[tool] = CircuitBreaker(
                self._policy, random=self._random, periods=self._periods, on_change=self._observer(tool)
            )
        else:
            self._by_tool.move_to_end(tool)
        return breaker

    def _observer(self, tool: str) -> Callable[[State, State], None] | None:
        tell = self._on_state_change
        if tell is None:
            return None

        def on_change(before: State, after: State) -> None:
            try:
                tell(self._target, tool, before, after)
            except Exception:  # noqa: BLE001 - an observer's bug must not fail the call it observes
                _log.exception("on_state_change raised; tool=%s", tool)

        return on_change


def circuit_open(target: str, tool: str, retry_after: float) -> BridgeError:
    """What a caller sees when a breaker refuses its call."""
    return BridgeError(
        Code.UNAVAILABLE,
        f"{tool!r} at {target} failed several times in a row and is not called for another {retry_after:.2f} s",
        reason="CIRCUIT_OPEN",
        details=ErrorDetails(retry_after=retry_after),
    )
