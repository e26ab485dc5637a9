"""The path of a call.

    frontend ─▶ ToolCall ─▶ Dispatcher.run ─▶ interceptors ─▶ admission ─▶ executor ─▶ invocation ─▶ tool

A frontend turns its wire into a ``ToolCall`` and awaits ``Dispatcher.run``; what the tool yields goes through
``call.emit``, its result is the return value. Here a call is admitted or shed, gets its deadline, and is cancelled when
that has passed or its caller gave up.

``run`` returns when the tool is really dead, and so long the call counts as running. A caller need not wait that long:
if a cancelled tool does not end at once (a thread cannot be stopped), the caller is answered through ``call.answer``.
"""

from __future__ import annotations

import asyncio
import math
from asyncio import current_task
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import msgspec

from bridge.call import ToolCall
from bridge.call_path import ENCLOSING, Enclosing, is_nested
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.executors.base import Executor
from bridge.executors.tool_limit import ToolLimit
from bridge.interceptors.base import Interceptor, chain
from bridge.invocation import ErrorPolicy, Invocation
from bridge.refusals import Refusals
from bridge.registry import Registry
from bridge.session import SessionContext

__all__ = ["CallLimits", "Dispatcher"]


SERVER_BUSY = "SERVER_BUSY"
LINGER = 0.02
"""Seconds a cancelled tool has to end before its caller is answered without it."""


class CallLimits(msgspec.Struct, frozen=True):
    """What is allowed at once, and how long."""

    max_calls: int = 256
    """Calls running or waiting for a place."""
    max_bytes: int = 256 * 1024 * 1024
    """Bytes of their requests."""
    default_timeout: float = 300.0
    """Seconds a call may take if its caller sets no deadline."""
    max_timeout: float = 3600.0
    """Seconds a call may take whatever its caller asks."""
    queue_size: int = 256
    """Calls of a tool with a limit of its own (``max_concurrency``) that wait."""


class Dispatcher:
    """Runs calls.

    Args:
        registry: the tools.
        executors: by the place of a tool (``Entry.place``).
        limits: what is allowed at once.
        interceptors: wrapped around every call, the first outermost.
        errors: what callers see of exceptions.
        on_execution: told the tool and the seconds from start to end of each invocation.
        on_wait: told the tool and the seconds a call waited for its tool's own limit.
    """

    def __init__(
        self,
        registry: Registry,
        executors: Mapping[str, Executor],
        limits: CallLimits,
        *,
        interceptors: Sequence[Interceptor] = (),
        errors: ErrorPolicy | None = None,
        on_execution: Callable[[str, float], None] | None = None,
        on_wait: Callable[[str, float], None] | None = None,
    ) -> None:
        self.registry = registry
        self.run = chain(interceptors, self._run)
        """Runs a call: returns the tool's result, or ``NO_VALUE`` at the end of a stream. Raises ``BridgeError``."""
        self._executors = executors
        self._limits = limits
        self._errors = errors or ErrorPolicy()
        self._on_execution, self._on_wait = on_execution, on_wait
        self._limited: dict[str, ToolLimit] = {}
        """Of the tools that have limits of their own, by name."""
        self._calls: set[_Running] = set()
        self._refusals = Refusals()
        self._bytes = 0
        self._draining = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_look = math.inf
        """When the timer fires."""
        self._idle: asyncio.Event | None = None

    @property
    def running(self) -> int:
        """Calls whose tool is not dead yet."""
        return len(self._calls)

    async def _run(self, call: ToolCall) -> Any:
        entry = self.registry[call.tool]
        limits, calls = self._limits, self._calls
        if self._draining or len(calls) >= limits.max_calls or self._bytes + call.size > limits.max_bytes:
            await self._refuse(call)
        now = monotonic()
        deadline, whose = self._deadline(call, entry.tool.options.timeout, now)
        call.deadline = deadline
        task = current_task()
        context = SessionContext(call, self._loop or self._begin(), _task=task)
        assert task is not None  # noqa: S101 - coroutines of a dispatcher run in tasks
        running = _Running(call, context, task, now, whose)
        calls.add(running)
        self._bytes += call.size
        if deadline < self._next_look:
            self._look_at(deadline)
        enclosing = Enclosing(call, context.cancelled)
        ENCLOSING.set(enclosing)  # never reset: a call has a task, and so a context, of its own
        try:
            executor = self._executors[call.place or entry.place]
            invocation = Invocation(entry, call, context, self._errors)
            places = entry.tool.options.max_concurrency
            if places is None:
                return await executor.run(invocation)
            return await self._limit(call.tool, places).run(executor, invocation)
        except BaseException as failure:
            context.cancelled.set()
            if running.error is not None:  # whatever the tool made of our cancel
                raise running.error from failure
            if isinstance(failure, BridgeError) and failure.reason == SERVER_BUSY and failure.retry_after is not None:
                self._end(running)  # who is refused takes no place from others
                await self._refusals.pace()
            raise
        finally:
            enclosing.call = None
            if running.error is not None:
                task.uncancel()
            self._end(running)
            if self._on_execution is not None:
                self._on_execution(call.tool, monotonic() - now)

    def _end(self, running: _Running) -> None:
        if not running.dead:
            running.dead = True
            self._calls.discard(running)
            self._bytes -= running.call.size
            if self._idle is not None and not self._calls:
                self._idle.set()

    def _limit(self, tool: str, places: int) -> ToolLimit:
        limit = self._limited.get(tool)
        if limit is None or limit.places != places:  # the code of a tool can be exchanged
            limit = self._limited[tool] = ToolLimit(places, self._limits.queue_size, self._on_wait)
        return limit

    def _begin(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        return self._loop

    async def _refuse(self, call: ToolCall) -> None:
        """Raises what keeps a call from starting. One call over the limit of bytes is let in if it is alone. While the
        server stops, calls inside running ones are part of what it waits for."""
        limits = self._limits
        if self._draining and not (self._calls and is_nested(call)):
            raise BridgeError(
                Code.UNAVAILABLE,
                "the server is stopping and takes no new calls; try again, another or the restarted one will answer",
                reason="DRAINING",
                details=ErrorDetails(retry_after=1.0),
            )
        if len(self._calls) >= limits.max_calls:
            why = f"{limits.max_calls} calls are running (--max-concurrent-calls)"
        elif self._calls and self._bytes + call.size > limits.max_bytes:
            why = f"requests of {limits.max_bytes} bytes are in work (--max-in-flight-bytes)"
        else:
            return
        await self._refusals.pace()
        raise BridgeError(
            Code.RESOURCE_EXHAUSTED,
            f"tool {call.tool!r} was not started: {why}; try again later",
            reason=SERVER_BUSY,
            details=ErrorDetails(retry_after=0.1),
        )

    def _deadline(self, call: ToolCall, timeout: float | None, now: float) -> tuple[float, str]:
        """When the call must be answered, and whose limit that is."""
        limits = self._limits
        deadline, whose = call.deadline, "the caller's deadline"
        if deadline is None:
            deadline, whose = now + limits.default_timeout, "the server's default, --default-timeout"
        elif deadline > now + limits.max_timeout:
            deadline, whose = now + limits.max_timeout, "the server's limit, --max-timeout"
        if timeout is not None and now + timeout < deadline:
            return now + timeout, "the tool's own timeout"
        return deadline, whose

    # One timer for all calls: set for the earliest deadline known, it looks at all of them when it fires. A timer for
    # each call would cost more than all else here, and nearly all of them would be cancelled.

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next_look = when
        self._timer = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._timer, self._next_look = None, math.inf
        now, earliest = monotonic(), math.inf
        for running in tuple(self._calls):
            deadline = running.call.deadline
            if deadline is None or running.ended:
                continue
            if deadline <= now:
                running.expire()
            elif deadline < earliest:
                earliest = deadline
        if earliest < self._next_look:
            self._look_at(earliest)

    async def drain(self, grace: float) -> bool:
        """Takes no new calls and waits for the running ones.

        Those that are not done after ``grace`` seconds are cancelled and get a little more time to clean up. Returns
        whether everything has ended.
        """
        self._draining = True
        if await self._wait_idle(grace):
            return True
        for running in tuple(self._calls):
            running.stop()
        return await self._wait_idle(min(1.0, grace))

    async def _wait_idle(self, timeout: float) -> bool:
        if self._calls:
            self._idle = asyncio.Event()
            try:
                async with asyncio.timeout(timeout):
                    await self._idle.wait()
            except TimeoutError:
                return False
        return True


class _Running(msgspec.Struct, eq=False):
    """A call whose tool has begun."""

    call: ToolCall
    context: SessionContext
    task: asyncio.Task[Any]
    since: float
    whose: str
    """Whose limit its deadline is."""
    error: BridgeError | None = None
    """Why we cancelled the task, if it was us."""
    ended: bool = False
    """Its time is over."""
    dead: bool = False
    """Its tool is, too."""

    def expire(self) -> None:
        """The deadline has passed."""
        seconds = max((self.call.deadline or self.since) - self.since, 0.0)
        message = f"tool {self.call.tool!r} did not end within {seconds:.3g} s ({self.whose})"
        self._end(BridgeError(Code.DEADLINE_EXCEEDED, message, reason="DEADLINE_EXCEEDED"))

    def stop(self) -> None:
        """The server ends before the tool did."""
        message = f"the server stopped while tool {self.call.tool!r} was running"
        self._end(BridgeError(Code.UNAVAILABLE, message, reason="SHUTDOWN"))

    def _end(self, error: BridgeError) -> None:
        self.ended = True
        self.context.cancelled.set()
        if not self.task.cancelling():  # else the transport was first, and one cancel is enough
            self.error = error
            self.task.cancel()
        if self.call.answer is not None:
            asyncio.get_running_loop().call_later(LINGER, self._answer, error)

    def _answer(self, error: BridgeError) -> None:
        if not self.dead and self.call.answer is not None:
            self.call.answer(error)
