"""What a tool sees of its call: the session context, made for one invocation and gone with it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

import msgspec

from bridge.call import Chunk, Progress, ToolCall, time_remaining
from bridge.errors import BridgeError, Code, NoSessionError
from bridge.host import CallScope
from bridge.session_variables import BlockingVariables, SessionVariables
from bridge.telemetry.propagation import outgoing, trace_id
from bridge.variables import Declaration, Variable, Write, WriteResult

__all__ = ["CALL_PATH", "MAX_CALL_DEPTH", "CancelEvent", "SessionContext", "SyncSessionContext"]

T = TypeVar("T")

CALL_PATH = "bridge-call-path"
"""Metadata key with the names of the tools a call is nested in, outermost first, separated by commas."""
MAX_CALL_DEPTH = 16
"""Tools calling host tools calling tools ... are refused below this depth."""

_log = logging.getLogger("bridge.tool")


class CancelEvent(msgspec.Struct):
    """Set when nobody waits for the tool any more: the caller gave up, its deadline passed, or the server stops.

    Set from the event loop; read from any thread.
    """

    _is_set: bool = False
    _callbacks: list[Callable[[], object]] | None = None

    def is_set(self) -> bool:
        """Whether the tool should stop. The way for loops in sync tools to notice."""
        return self._is_set

    def set(self) -> None:
        """Says that the tool should stop."""
        self._is_set = True
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback()

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Calls back, in the event loop, when set; at once if it is."""
        callbacks = self._callbacks
        if callbacks is None:
            callbacks = self._callbacks = []
        callbacks.append(callback)
        if self._is_set:  # looked at last: whoever sets it meanwhile either sees the callback or is seen here
            callback()

    def discard_callback(self, callback: Callable[[], object]) -> None:
        """Forgets a callback."""
        callbacks = self._callbacks
        if callbacks is not None and callback in callbacks:
            callbacks.remove(callback)

    async def wait(self) -> None:
        """Returns when set (async tools)."""
        if not self._is_set:
            happened = asyncio.Event()
            self.add_callback(happened.set)
            await happened.wait()

    def wait_blocking(self, timeout: float | None = None) -> bool:
        """Blocks until set or ``timeout`` seconds are over; returns whether it is set (sync tools)."""
        event = threading.Event()
        self.add_callback(event.set)
        event.wait(timeout)
        self.discard_callback(event.set)
        return self._is_set


class _ToolLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds its fields to those of a call instead of replacing them (``merge_extra`` of Python 3.13)."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class SessionContext(SessionVariables, msgspec.Struct, eq=False):
    """A tool's view of its session, its caller and its time.

    Nothing is sent to the host unless one of these methods is called. Values read are remembered for the rest of the
    invocation, so a value may be as old as the invocation; ``get(name, fresh=True)`` asks again. Writes go to the host
    at once, in order.

    All methods raise ``NoSessionError`` in a call without a session, ``NoHostError`` where there is no way to a host,
    and otherwise the host's ``BridgeError``.
    """

    # A struct, because one is made for every call and most of its fields are not looked at.
    _call: ToolCall
    _loop: asyncio.AbstractEventLoop
    cancelled: CancelEvent = msgspec.field(default_factory=CancelEvent)
    """Set when nobody waits for the tool any more."""
    _cache: dict[str, Variable] | None = None
    _relay: asyncio.Task[None] | None = None
    _progress: Progress | None = None
    _sync: SyncSessionContext | None = None
    _log: _ToolLogger | None = None

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
        return CallScope(call.session_id, call.deadline, self._headers(), f"tool:{call.tool}", call.principal)

    def _session(self) -> CallScope:
        if not self._call.session_id:
            raise NoSessionError
        return self._scope()

    def _headers(self) -> dict[str, str]:
        headers = dict(outgoing(self._call.headers))
        path = self._call.headers.get(CALL_PATH)
        headers[CALL_PATH] = f"{path},{self.tool}" if path else self.tool
        return headers

    async def _read(self, names: list[str], *, fresh: bool) -> dict[str, Variable]:
        scope = self._session()
        cache = self._cache
        if cache is None:
            cache = self._cache = {}
        wanted = names if fresh else [name for name in names if name not in cache]
        if wanted:
            found = await self._call.host.get_variables(scope, wanted)
            for name in wanted:
                cache.pop(name, None)
            cache.update(found)
        return {name: cache[name] for name in names if name in cache}

    async def _write(self, writes: list[Write], *, atomic: bool) -> dict[str, WriteResult]:
        scope = self._session()
        for write in writes:
            self._forget(write.name)
        return await self._call.host.set_variables(scope, writes, atomic=atomic)

    async def _register(self, declaration: Declaration) -> Variable:
        scope = self._session()
        self._forget(declaration.name)
        return await self._call.host.register_variable(scope, declaration)

    async def delete(self, name: str, expected_version: int | None = None) -> None:
        """Deletes a variable."""
        scope = self._session()
        self._forget(name)
        await self._call.host.delete_variable(scope, name, expected_version=expected_version)

    async def list(self, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted by name; all without a pattern."""
        return await self._call.host.list_variables(self._session(), pattern)

    def _forget(self, name: str) -> None:
        if self._cache is not None:
            self._cache.pop(name, None)

    # -- tools of the host ---------------------------------------------------------------------------------------

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """Runs a tool of the host, within this call's deadline, and returns its result."""
        return await self._call.host.call_tool(self._deeper(), tool, arguments)

    def stream(self, tool: str, /, **arguments: Any) -> AsyncGenerator[Any, None]:
        """Runs a streaming tool of the host; iterates over what it yields."""
        return self._call.host.stream_tool(self._deeper(), tool, arguments)

    def _deeper(self) -> CallScope:
        scope = self._scope()
        if scope.headers[CALL_PATH].count(",") >= MAX_CALL_DEPTH:
            raise BridgeError(
                Code.FAILED_PRECONDITION,
                f"tools call each other {MAX_CALL_DEPTH} levels deep, most likely in a circle; the path of calls is "
                + scope.headers[CALL_PATH][:500],
                reason="CALL_DEPTH",
            )
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
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not None:
            coroutine.close()
            raise RuntimeError("ctx.sync blocks, and this is the event loop: use `await ctx...` in async tools")
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
            self._run(stream.aclose())

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """See ``SessionContext.progress``."""
        self._context.progress(fraction, message)
