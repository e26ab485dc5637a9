"""The path of a call through the client: span, breaker, channel, and, only after a failure, retries."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import TypeVar

from bridge.call import time_remaining
from bridge.call_path import CALL_PATH, check_path, enclosing, path_below
from bridge.engines.base import Channel
from bridge.errors import BridgeError, Code
from bridge_client.breakers import CircuitBreakers
from bridge_client.retry import Retrier, Timing
from bridge_client.tracing import CallSpan, CallTracer, Headers

__all__ = ["Caller", "deadline_exceeded", "nested"]

T = TypeVar("T")

_Opened = tuple[AsyncGenerator[bytes, None], bytes | None, int]
"""The rest of a stream, its first message (``None``: there is none), and the breaker's ticket."""


class Caller:
    """Makes calls over a channel.

    Args:
        channel: the connection.
        retrier: repeats what failed; ``None``: nothing is repeated.
        breakers: the circuit breakers; ``None``: there are none.
        tracer: makes spans; ``None``: there are none.
        timing: time and chance.
        is_idempotent: says whether a tool may be called twice, by its name and the seconds there are to find out.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        retrier: Retrier | None,
        breakers: CircuitBreakers | None,
        tracer: CallTracer | None,
        timing: Timing,
        is_idempotent: Callable[[str, float | None], Awaitable[bool]],
    ) -> None:
        self.channel = channel
        self._retrier = retrier
        self._breakers = breakers
        self._tracer = tracer
        self._clock = timing.clock
        self._is_idempotent = is_idempotent

    async def unary(self, path: str, tool: str, request: bytes, timeout: float | None) -> bytes:
        """Makes a unary call; the response.

        Args:
            path: of the RPC.
            tool: name of the tool; empty for an RPC that runs none, which needs no breaker and may be repeated.
            request: the message.
            timeout: seconds for everything, retries included.
        """
        nesting, timeout = nested(tool, timeout)
        if self._tracer is None:
            return await self._unary(path, tool, request, timeout, nesting, None)
        span = self._tracer.start(path, tool)
        try:
            response = await self._unary(path, tool, request, timeout, nesting, span)
        except BaseException as error:
            span.end(error)
            raise
        span.end()
        return response

    async def _unary(
        self, path: str, tool: str, request: bytes, timeout: float | None, nesting: Headers, span: CallSpan | None
    ) -> bytes:
        headers = nesting if span is None else nesting + span.headers
        deadline = None if timeout is None else self._clock() + timeout
        try:
            return await self._unary_once(path, tool, request, timeout, headers)
        except BridgeError as error:
            failure = error
        return await self.repeat(
            lambda left: self._unary_once(path, tool, request, left, headers), failure, tool, deadline, span=span
        )

    async def _unary_once(self, path: str, tool: str, request: bytes, timeout: float | None, headers: Headers) -> bytes:
        breakers = self._breakers if tool else None
        ticket = 0 if breakers is None else breakers.admit(tool, self._clock)
        try:
            response = await self.channel.unary(path, request, headers=headers, timeout=timeout)
        except BridgeError as error:
            if breakers is not None:
                breakers.error(tool, ticket, error.code, self._clock())
            raise
        except BaseException:
            if breakers is not None:
                breakers.release(tool, ticket)
            raise
        self._answered(tool, ticket)
        return response

    def _answered(self, tool: str, ticket: int) -> None:
        if self._breakers is not None and tool:
            self._breakers.success(tool, ticket)
        if self._retrier is not None:
            self._retrier.budget.success()

    async def repeat(
        self,
        attempt: Callable[[float | None], Awaitable[T]],
        failure: BridgeError,
        tool: str,
        deadline: float | None,
        *,
        idempotent: bool | None = None,
        span: CallSpan | None = None,
    ) -> T:
        """Makes a call that failed again, or raises its error if that cannot help or is not safe.

        Args:
            attempt: makes it, given the seconds that are left.
            failure: of the first attempt.
            tool: name of the tool; empty if the call is of none and may be repeated.
            deadline: the clock's time when it has to be answered.
            idempotent: whether it may be repeated; ``None``: as the tool says.
            span: of the call.
        """
        retrier = self._retrier
        if retrier is None or not retrier.failed(failure):
            raise failure

        async def again() -> T:
            nonlocal failure
            if span is not None:
                span.retried(failure)
            try:
                return await attempt(self._left(deadline))
            except BridgeError as error:
                failure = error
                raise

        async def may_repeat() -> bool:
            if idempotent is not None or not tool:
                return idempotent is not False
            return await self._is_idempotent(tool, self._left(deadline))

        return await retrier.repeat(again, failure, deadline=deadline, is_idempotent=may_repeat)

    def _left(self, deadline: float | None) -> float | None:
        if deadline is None:
            return None
        left = deadline - self._clock()
        if left <= 0:
            raise deadline_exceeded()
        return left

    async def stream(self, path: str, tool: str, request: bytes, timeout: float | None) -> AsyncGenerator[bytes, None]:
        """Makes a streaming call; its messages. It may be repeated until the first of them has come."""
        nesting, timeout = nested(tool, timeout)
        span = None if self._tracer is None else self._tracer.start(path, tool)
        try:
            messages, message, ticket = await self._open(path, tool, request, timeout, nesting, span)
            try:
                while message is not None:
                    yield message
                    message = await anext(messages, None)
            except BridgeError as error:
                if self._breakers is not None:
                    self._breakers.error(tool, ticket, error.code, self._clock())
                raise
            finally:
                await messages.aclose()
        except BaseException as error:
            if span is not None:
                span.end(error)
            raise
        if span is not None:
            span.end()

    async def _open(
        self, path: str, tool: str, request: bytes, timeout: float | None, nesting: Headers, span: CallSpan | None
    ) -> _Opened:
        headers = nesting if span is None else nesting + span.headers
        deadline = None if timeout is None else self._clock() + timeout
        once = partial(self._open_once, path, tool, request, headers)
        try:
            return await once(timeout)
        except BridgeError as error:
            failure = error
        return await self.repeat(once, failure, tool, deadline, span=span)

    async def _open_once(
        self, path: str, tool: str, request: bytes, headers: Headers, timeout: float | None
    ) -> _Opened:
        breakers = self._breakers
        ticket = 0 if breakers is None else breakers.admit(tool, self._clock)
        try:
            messages = self.channel.stream(path, request, headers=headers, timeout=timeout)
            first = await anext(messages, None)
        except BridgeError as error:
            if breakers is not None:
                breakers.error(tool, ticket, error.code, self._clock())
            raise
        except BaseException:
            if breakers is not None:
                breakers.release(tool, ticket)
            raise
        self._answered(tool, ticket)
        return messages, first, ticket


def nested(tool: str, timeout: float | None) -> tuple[Headers, float | None]:
    """What a call takes along from the tool that makes it, and the seconds it has: no more than are left to that tool.

    Raises DEADLINE_EXCEEDED if none are left, and what ``check_path`` raises.
    """
    around = enclosing()
    if around is None or around.call is None or not tool:
        return (), timeout
    path = path_below(around.call)
    check_path(path, tool)
    left = time_remaining(around.call.deadline)
    if left is not None and (timeout is None or left < timeout):
        if left == 0:
            raise deadline_exceeded()
        timeout = left
    return ((CALL_PATH, path),), timeout


def deadline_exceeded() -> BridgeError:
    """What a caller sees when no time is left before a call is even sent."""
    return BridgeError(
        Code.DEADLINE_EXCEEDED, "no time is left for the call: give a longer timeout", reason="DEADLINE_EXCEEDED"
    )
