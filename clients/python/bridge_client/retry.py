"""Retries: when a call may be repeated, after which wait, and how often at all.

A call is repeated only if that cannot run a tool twice that must not run twice: the error proves that it never ran
(``never_ran``), or the tool is idempotent. The first attempt is made without any of this; the loop below is entered
with its failure.
"""

from __future__ import annotations

import asyncio
import random as random_module
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import msgspec
from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from bridge.errors import BridgeError, Code
from bridge_client.backoff import Backoff, check_number

__all__ = ["Retrier", "RetryBudget", "RetryPolicy", "Timing", "never_ran"]

T = TypeVar("T")

_NEVER_RETRIED = frozenset({Code.ABORTED, Code.CANCELLED, Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT})
_NEVER_RAN_CODES = frozenset({Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE})


class RetryPolicy(msgspec.Struct, frozen=True):
    """How failed calls are repeated; the names are those of gRPC's service config (gRFC A6).

    Raises:
        BridgeError: INVALID_ARGUMENT for a field out of its range.
    """

    max_attempts: int = 4
    """Attempts of one call, the first included; 1 for no retries."""
    initial_backoff: float = 0.05
    """Seconds before the second attempt."""
    max_backoff: float = 2.0
    """Seconds that no wait exceeds (before jitter), unless the server asks for more."""
    backoff_multiplier: float = 2.0
    """By how much a wait is longer than the one before."""
    jitter: float = 0.2
    """Part of a wait, from 0 to 1, by which it is made shorter or longer at random."""
    retryable_codes: frozenset[Code] = frozenset({Code.UNAVAILABLE})
    """Codes after which an idempotent tool is called again. ABORTED, CANCELLED, FAILED_PRECONDITION and
    INVALID_ARGUMENT are never retried."""
    max_retry_after: float = 30.0
    """The call fails at once if the server asks to wait for more seconds than this."""
    max_tokens: float = 100.0
    """Size of the retry budget of the client (gRPC's ``retryThrottling``): a failure that could be repeated takes 1,
    a success gives ``token_ratio``, and there are no retries while it is at most half full."""
    token_ratio: float = 0.1
    """What a success gives back to the budget."""

    def __post_init__(self) -> None:
        check_number("max_attempts", self.max_attempts, 1, 100)
        check_number("max_retry_after", self.max_retry_after, 0.0)
        check_number("max_tokens", self.max_tokens, 1.0, 1e6)
        check_number("token_ratio", self.token_ratio, 0.0, 1e6)
        self.backoff()

    def backoff(self) -> Backoff:
        """The waits as a value."""
        return Backoff(self.initial_backoff, self.max_backoff, self.backoff_multiplier, self.jitter)


class RetryBudget:
    """Keeps retries from making an overload worse: a bucket of tokens for all calls of a client."""

    __slots__ = ("_max", "_ratio", "_threshold", "tokens")

    def __init__(self, max_tokens: float, token_ratio: float) -> None:
        self._max = max_tokens
        self._ratio = token_ratio
        self._threshold = max_tokens / 2
        self.tokens = max_tokens
        """Tokens left; never below 0 nor above the size of the bucket."""

    def __repr__(self) -> str:
        return f"<RetryBudget {self.tokens:g}/{self._max:g}>"

    @property
    def allows(self) -> bool:
        """Whether a retry may be made now."""
        return self.tokens > self._threshold

    def success(self) -> None:
        """A call was answered."""
        if self.tokens < self._max:
            self.tokens = min(self._max, self.tokens + self._ratio)

    def failure(self) -> None:
        """A call failed in a way that retries are for."""
        self.tokens = max(0.0, self.tokens - 1.0)


class Timing(msgspec.Struct, frozen=True):
    """Time and chance, replaced by tests."""

    clock: Callable[[], float] = time.monotonic
    """Seconds, never backwards."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits for seconds."""
    random: Callable[[], float] = random_module.random
    """A number from 0 to 1."""


def never_ran(error: BridgeError) -> bool:
    """Whether an error proves that the call did not start.

    Either the connection was never made (reason ``NOT_CONNECTED``), or the server refused for load and said when to
    come back: it sets RetryInfo only for calls that it has not begun.
    """
    if error.code not in _NEVER_RAN_CODES or error.reason == "CIRCUIT_OPEN":
        return False
    return error.reason == "NOT_CONNECTED" or error.retry_after is not None


class _WaitAsAsked(wait_base):
    """The backoff, after what the server asked for: those it sent away together do not come back together."""

    def __init__(self, backoff: Backoff, random: Callable[[], float]) -> None:
        self._backoff = backoff
        self._random = random

    def __call__(self, retry_state: RetryCallState) -> float:
        return _asked_wait(retry_state) + self._backoff.delay(retry_state.attempt_number, self._random())


class _StopBeforeDeadline(stop_base):
    """Stops if the wait would reach the deadline: a try without time left cannot succeed."""

    def __init__(self, deadline: float | None, clock: Callable[[], float]) -> None:
        self._deadline = deadline
        self._clock = clock

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._deadline is not None and self._clock() + retry_state.upcoming_sleep >= self._deadline


class _StopWhenAskedTooMuch(stop_base):
    """Stops if the server asked for a longer wait than the policy allows."""

    def __init__(self, limit: float) -> None:
        self._limit = limit

    def __call__(self, retry_state: RetryCallState) -> bool:
        return _asked_wait(retry_state) > self._limit


class _StopWithoutBudget(stop_base):
    """Stops if too many calls of this client have failed lately."""

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget

    def __call__(self, retry_state: RetryCallState) -> bool:
        return not self._budget.allows


def _failure(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


def _asked_wait(state: RetryCallState) -> float:
    error = _failure(state)
    return (error.retry_after or 0.0) if isinstance(error, BridgeError) else 0.0


class Retrier:
    """Repeats the calls of one client.

    Args:
        policy: how.
        timing: time and chance.
    """

    def __init__(self, policy: RetryPolicy, timing: Timing) -> None:
        self.policy = policy
        self.budget = RetryBudget(policy.max_tokens, policy.token_ratio)
        self._backoff = policy.backoff()
        self._timing = timing

    def failed(self, error: BridgeError) -> bool:
        """Counts a failure; whether it is one that retries are for, so that the loop is worth entering."""
        code = error.code
        if code in _NEVER_RETRIED or error.reason == "CIRCUIT_OPEN":
            return False
        if code not in self.policy.retryable_codes and not never_ran(error):
            return False
        self.budget.failure()
        return self.policy.max_attempts > 1

    async def repeat(
        self,
        attempt: Callable[[], Awaitable[T]],
        first: BridgeError,
        *,
        deadline: float | None,
        is_idempotent: Callable[[], Awaitable[bool]],
    ) -> T:
        """Makes the further attempts of a call.

        Args:
            attempt: makes one.
            first: why the first attempt failed; ``failed`` said yes to it.
            deadline: the clock's time at which the caller stops waiting.
            is_idempotent: says whether the call may be repeated although it may have run. It may raise
                ``BridgeError`` if that cannot be found out, and is asked again after the next wait.

        Raises:
            BridgeError: that of the last attempt.
        """
        run = _Repetition(self, attempt, first, is_idempotent)
        policy, timing = self.policy, self._timing
        retrying = AsyncRetrying(
            retry=run.goes_on,
            wait=_WaitAsAsked(self._backoff, timing.random),
            stop=stop_after_attempt(policy.max_attempts)
            | _StopWithoutBudget(self.budget)
            | _StopWhenAskedTooMuch(policy.max_retry_after)
            | _StopBeforeDeadline(deadline, timing.clock),
            sleep=timing.sleep,
            reraise=True,
        )
        result: T = await retrying(run.attempt)
        return result


class _Repetition(Generic[T]):
    """One call on its way through the loop. The attempt that was made outside is the loop's first."""

    def __init__(
        self,
        retrier: Retrier,
        attempt: Callable[[], Awaitable[T]],
        first: BridgeError,
        is_idempotent: Callable[[], Awaitable[bool]],
    ) -> None:
        self._retrier = retrier
        self._attempt = attempt
        self._error = first
        self._is_idempotent = is_idempotent
        self._idempotent: bool | None = None
        self._count = 0

    async def attempt(self) -> T:
        self._count += 1
        if self._count == 1:
            raise self._error
        if await self._may_have_run_once_only():
            raise self._error
        try:
            return await self._attempt()
        except BridgeError as error:
            if error.reason == "CIRCUIT_OPEN":
                raise error from self._error
            self._error = error
            raise

    async def _may_have_run_once_only(self) -> bool:
        """Whether the last attempt may have run and nothing says that a second time is harmless."""
        if never_ran(self._error):
            return False
        if self._idempotent is None:
            try:
                self._idempotent = await self._is_idempotent()
            except BridgeError:
                # Whoever could tell is not there either.
                return True
        return not self._idempotent

    async def goes_on(self, state: RetryCallState) -> bool:
        error = _failure(state)
        if not isinstance(error, BridgeError):
            return False
        if self._count > 1 and not self._retrier.failed(error):
            return False
        # Not known is not no: it is asked again after the wait, when the server may be back.
        return not await self._may_have_run_once_only() or self._idempotent is None
