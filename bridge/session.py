"""What a tool sees of its call: the session context, made for one invocation and gone with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from bridge.blocking_variables import BlockingVariables
from bridge.call import NO_VALUE, Chunk, Progress, ToolCall, time_remaining
from bridge.call_path import CALL_PATH, check_path, name_in_headers, path_below
from bridge.cancel_event import CancelEvent
from bridge.errors import BridgeError, Code, ErrorDetails, NoHostError, NoSessionError
from bridge.host import CallScope, Host, NoHost
from bridge.session_variables import SessionVariables, value_of
from bridge.telemetry.propagation import outgoing, trace_id
from bridge.variable_exchange import Exchange
from bridge.variables import Variable

__all__ = ["CancelEvent", "SessionContext", "SyncSessionContext"]

T = TypeVar("T")

_log = logging.getLogger("bridge.tool")


class _ToolLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds its fields to those of a call instead of replacing them (``merge_extra`` of Python 3.13)."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class SessionContext(SessionVariables, msgspec.Struct, eq=False):
    """A tool's view of its session, its caller and its time.

    Nothing is sent to the host unless one of these methods is called, or the tool declares what it reads
    (``@tool(reads=[...])``). What was read, also that there is no variable of a name, is remembered for the rest of the
    call or until this context writes the name or watches it change: a value may be as old as the call, and
    ``get(name, fresh=True)`` asks again. It is the same object each time, so change a copy.

    Sync tools can use the context like a mapping: ``ctx["x"]``, ``ctx["x"] = 1``, ``"x" in ctx``, ``del ctx["x"]``. In
    an async tool that works for reading what is remembered, and is otherwise ``RuntimeError``.

    All methods raise ``NoSessionError`` in a call without a session, ``NoHostError`` where there is no way to a host,
    and otherwise the host's ``BridgeError``.
    """

    # A struct, because one is made for every call and most of its fields are not looked at.
    _call: ToolCall
    _loop: asyncio.AbstractEventLoop
    cancelled: CancelEvent = msgspec.field(default_factory=CancelEvent)
    """Set when nobody waits for the tool any more."""
    _task: asyncio.Task[Any] | None = None
    """The task of the call, in which an async tool runs."""
    _exchange: Exchange | None = None
    _relay: asyncio.Task[None] | None = None
    _progress: Progress | None = None
    _sync: SyncSessionContext | None = None
    _log: _ToolLogger | None = None

    __iter__ = None  # else Python would ask for ctx[0], ctx[1] and so on

    def __repr__(self) -> str:
        return f"<SessionContext of {self.tool!r}>"

    # -- the call ------------------------------------------------------------------------------------------------

    @property
    def tool(self) -> str:
        """Name of the tool."""
        return self._call.tool

    @property
    def session_id(self) -> str:
        """The session, or empty."""
        return self._call.session_id

    @property
    def metadata(self) -> Mapping[str, str]:
        """Free text from the caller."""
        return self._call.metadata

    @property
    def principal(self) -> str:
        """Who the caller proved to be; empty without authentication."""
        return self._call.principal

    @property
    def deadline(self) -> float | None:
        """``time.monotonic()`` at which the caller stops waiting."""
        return self._call.deadline

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, not below zero; ``None`` without one."""
        return time_remaining(self._call.deadline)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry the tool and, where tracing is on, the trace."""
        if self._log is None:
            self._log = _ToolLogger(_log, {"tool": self.tool, "trace_id": trace_id(self._call.headers)})
        return self._log

    @property
    def sync(self) -> SyncSessionContext:
        """The same, blocking, for sync tools."""
        if self._sync is None:
            self._sync = SyncSessionContext(self)
        return self._sync

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """Tells the caller how far the tool is, if it called by the streaming RPC; otherwise does nothing.

        Never waits: if the caller is slower than the tool, only the newest note is sent. Usable from any thread.

        Args:
            fraction: done part of the work, from 0 to 1.
            message: what the tool is doing, for people.
        """
        if not self._call.streaming:
            return
        message = message.encode("utf-8", "replace").decode()  # names of files may have what no wire carries
        scheduled, self._progress = self._progress is not None, Progress(fraction, message)
        if not scheduled:
            self._loop.call_soon_threadsafe(self._start_relay)

    def _start_relay(self) -> None:
        if self._relay is None or self._relay.done():
            self._relay = self._loop.create_task(self._send_progress())

    async def _send_progress(self) -> None:
        while (progress := self._progress) is not None:
            self._progress = None
            await self._call.emit(Chunk(progress=progress))

    async def flush(self) -> None:
        """Returns when the last note of progress is on its way."""
        if self._progress is not None:
            self._start_relay()
        if self._relay is not None:
            await self._relay

    # -- variables -----------------------------------------------------------------------------------------------

    def _scope(self) -> CallScope:
        call = self._call
        return CallScope(
            call.session_id, call.deadline, self._headers(), f"tool:{name_in_headers(call)}", call.principal
        )

    def _session(self) -> CallScope:
        if not self._call.session_id:
            raise NoSessionError
        return self._scope()

    def _headers(self) -> dict[str, str]:
        return {**outgoing(self._call.headers), CALL_PATH: path_below(self._call)}

    def _talk(self) -> Exchange:
        if self._exchange is None:
            self._exchange = Exchange(remember=True)
        return self._exchange

    async def _ask(self, operation: Callable[[Host], Awaitable[T]], scope: CallScope, *, idempotent: bool = False) -> T:
        return await operation(self._call.host)

    async def _fetch(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        return await self._call.host.get_variables(scope, names)

    def _asks_alone(self) -> bool:
        # The tool itself waits for the answer; what it gathers, and threads, ask from other tasks.
        return self._task is not None and asyncio.current_task() is self._task

    def _remembered(self, name: str) -> Any:
        exchange = self._exchange
        return NO_VALUE if exchange is None else exchange.known.get(name, NO_VALUE)

    async def prefetch(self, names: Sequence[str]) -> None:
        """Reads variables into memory in one round trip; nothing without a session or a host."""
        if self._call.session_id:
            try:
                await self._talk().fetch(names, partial(self._fetch, self._session()))
            except NoHostError:
                pass  # the tool may do without; it is told when it asks
            except BridgeError as error:
                if error.reason != "NOT_CONNECTED":
                    raise
                # To the caller it is not this server that cannot be reached; but the tool has not begun.
                message = f"the tool was not started, as what it reads could not be fetched: {error.message}"
                details = ErrorDetails(retry_after=1.0)
                raise BridgeError(Code.UNAVAILABLE, message, reason="HOST_UNAVAILABLE", details=details) from error

    def __getitem__(self, name: str) -> Any:
        variable = self._remembered(name)
        if variable is NO_VALUE:
            advice = f"await ctx.get({name!r}) the first time, or declare it: @tool(reads=[{name!r}])"
            return self._blocking(advice)[name]
        return value_of(name, variable)

    def __setitem__(self, name: str, value: Any) -> None:
        self._blocking(f"await ctx.set({name!r}, ...)")[name] = value

    def __delitem__(self, name: str) -> None:
        del self._blocking(f"await ctx.delete({name!r})")[name]

    def __contains__(self, name: str) -> bool:
        variable = self._remembered(name)
        if variable is NO_VALUE:
            return name in self._blocking(f"await ctx.get({name!r}, None)")
        return variable is not None

    def _blocking(self, advice: str) -> SyncSessionContext:
        self._session()
        if isinstance(self._call.host, NoHost):
            raise NoHostError
        _refuse_to_block(advice)
        return self.sync

    # -- tools of the host ---------------------------------------------------------------------------------------

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """Runs a tool of the host, within this call's deadline, and returns its result."""
        return await self._call.host.call_tool(self._deeper(tool), tool, arguments)

    def stream(self, tool: str, /, **arguments: Any) -> AsyncGenerator[Any, None]:
        """Runs a streaming tool of the host; iterates over what it yields."""
        return self._call.host.stream_tool(self._deeper(tool), tool, arguments)

    def _deeper(self, tool: str) -> CallScope:
        scope = self._scope()
        check_path(scope.headers[CALL_PATH], tool)
        return scope


class SyncSessionContext(BlockingVariables):
    """``SessionContext`` for sync tools: the same calls, blocking.

    Must be used in the thread of the tool (or another thread), never in the event loop.
    """

    __slots__ = ("_context",)

    def __init__(self, context: SessionContext) -> None:
        self._context = context

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        context = self._context
        try:
            _refuse_to_block("await ctx... in async tools")
        except RuntimeError:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(coroutine, context._loop)
        context.cancelled.add_callback(future.cancel)
        try:
            return future.result(context.time_remaining())
        except TimeoutError:
            future.cancel()
            raise BridgeError(
                Code.DEADLINE_EXCEEDED, "the host did not answer before the deadline", reason="DEADLINE_EXCEEDED"
            ) from None
        finally:
            context.cancelled.discard_callback(future.cancel)

    def _finish(self, coroutine: Coroutine[Any, Any, None]) -> None:
        # Also when the tool was cancelled, and without waiting: whatever is asked for next comes after it.
        try:
            asyncio.run_coroutine_threadsafe(coroutine, self._context._loop)
        except RuntimeError:
            coroutine.close()  # the loop is gone, and with it what was to be let go of

    def _variables(self) -> SessionContext:
        return self._context

    def call(self, tool: str, /, **arguments: Any) -> Any:
        """See ``SessionContext.call``."""
        return self._run(self._context.call(tool, **arguments))

    def stream(self, tool: str, /, **arguments: Any) -> Iterator[Any]:
        """See ``SessionContext.stream``."""
        stream = self._context.stream(tool, **arguments)
        end = object()

        async def step() -> Any:
            return await anext(stream, end)

        try:
            while (value := self._run(step())) is not end:
                yield value
        finally:
            self._finish(stream.aclose())

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """See ``SessionContext.progress``."""
        self._context.progress(fraction, message)


def _refuse_to_block(instead: str) -> None:
    """Raises ``RuntimeError`` in an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"this blocks, and here is the event loop: use {instead}")
