"""What a tool sees of its call: the session context, made for one call and gone with it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, MutableMapping
from time import monotonic
from typing import Any, NoReturn

from .asking import Asking
from .blocking_context import SyncSessionContext, not_here, refuse_to_block
from .call_path import check_path
from .calls import NO_VALUE, Progress
from .cancel_event import CancelEvent
from .errors import BridgeError, Code, ErrorDetails, NoHostError, NoSessionError
from .host_messages import EXECUTE_STREAMING_TOOL, EXECUTE_TOOL, Constraints, Variable, WriteResult
from .host_tools import pack_request, read_result
from .running import RunningCall
from .variables import Ask, Conversation, Variables, value_of

__all__ = ["SessionContext", "SyncSessionContext"]

_log = logging.getLogger("bridge.tool")
_HEX = frozenset("0123456789abcdef")


class _ToolLogger(logging.LoggerAdapter):  # type: ignore[type-arg]
    """Adds its fields to those of a call instead of replacing them."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class SessionContext:
    """A tool's view of its session, its caller and its time.

    Nothing is sent to the host unless one of these methods is called, or the tool declares what it reads
    (``@tool(reads=[...])``). What was read, also that there is no variable of a name, is remembered for the rest of the
    call or until this context writes the name: a value may be as old as the call, and ``get(name, fresh=True)`` asks
    again. It is the same object each time, so change a copy.

    Sync tools can use the context like a mapping: ``ctx["x"]``, ``ctx["x"] = 1``, ``"x" in ctx``, ``del ctx["x"]``. In
    an async tool that works for reading what is remembered, and is otherwise ``RuntimeError``.

    All methods raise ``NoSessionError`` in a call without a session, ``NoHostError`` where there is no way to a host,
    and otherwise the host's ``BridgeError``.
    """

    __slots__ = ("_asking", "_call", "_logger", "_sync", "_variables")
    __iter__ = None  # else Python would ask for ctx[0], ctx[1] and so on

    def __init__(self, call: RunningCall, asking: Asking) -> None:
        self._call = call
        self._asking = asking
        self._variables: Variables | None = None
        self._sync: SyncSessionContext | None = None
        self._logger: _ToolLogger | None = None

    def __repr__(self) -> str:
        return f"<SessionContext of {self.tool!r}>"

    # -- the call ------------------------------------------------------------------------------------------------

    @property
    def tool(self) -> str:
        """Name of the tool."""
        return self._call.request.tool

    @property
    def session_id(self) -> str:
        """The session, or empty."""
        return self._call.request.session_id

    @property
    def metadata(self) -> Mapping[str, str]:
        """Free text from the caller."""
        return self._call.request.metadata

    @property
    def principal(self) -> str:
        """Who the caller proved to be; empty without authentication."""
        principal: str = self._call.principal
        return principal

    @property
    def cancelled(self) -> CancelEvent:
        """Set when nobody waits for the tool any more."""
        return self._call.cancelled

    @property
    def deadline(self) -> float | None:
        """``time.monotonic()`` at which the caller stops waiting."""
        return self._call.deadline

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, not below zero; ``None`` without one."""
        return None if self._call.deadline is None else max(0.0, self._call.deadline - monotonic())

    @property
    def log(self) -> logging.LoggerAdapter:  # type: ignore[type-arg]
        """A logger whose records carry the tool and, where tracing is on, the trace."""
        if self._logger is None:
            # version-traceid-parentid-flags; anything of another shape is not a trace (W3C Trace Context, 3.2.2).
            parts = self._call.headers.get("traceparent", "").split("-", 3)
            is_trace = len(parts) == 4 and len(parts[1]) == 32 and set(parts[1]) <= _HEX
            self._logger = _ToolLogger(_log, {"tool": self.tool, "trace_id": parts[1] if is_trace else ""})
        return self._logger

    @property
    def sync(self) -> SyncSessionContext:
        """The same, blocking, for sync tools."""
        if self._sync is None:
            self._sync = SyncSessionContext(self)
        return self._sync

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """Tells the caller how far the tool is, if it called by the streaming RPC; otherwise does nothing.

        Usable from any thread.

        Args:
            fraction: done part of the work, from 0 to 1.
            message: what the tool is doing, for people.
        """
        if self._call.streaming:
            message = message.encode("utf-8", "replace").decode()  # names of files may have what no frame carries
            self._call.note(Progress(fraction, message))

    async def flush(self) -> None:
        """Returns when the last note of progress is on its way: at once, as notes do not wait here."""

    # -- variables -----------------------------------------------------------------------------------------------

    def _open(self) -> Variables:
        if self._variables is None:
            self._variables = Variables(bool(self._call.request.session_id))
        return self._variables

    def _remembered(self, name: str) -> Any:
        return NO_VALUE if self._variables is None else self._variables.remembered(name)

    async def get(self, name: str, default: Any = NO_VALUE, *, fresh: bool = False) -> Any:
        """The value of a variable.

        Args:
            name: the variable.
            default: returned if there is none; without it that is NOT_FOUND, reason ``VARIABLE_NOT_FOUND``.
            fresh: ask the host even if the variable was read before in this call.
        """
        known = NO_VALUE if fresh else self._remembered(name)
        if known is not NO_VALUE:
            return value_of(name, known, default)
        return await self._asking.talk(self._open().get(name, default, fresh=fresh))

    async def get_variable(self, name: str) -> Variable:
        """A variable with its version, type and constraints, as it is now."""
        return await self._asking.talk(self._open().get_variable(name))

    async def get_many(self, names: Iterable[str], *, fresh: bool = False) -> dict[str, Any]:
        """Values of several variables, read at one instant in one round trip; those that do not exist are absent.

        Args:
            names: the variables, at most 1000.
            fresh: also ask for those that were read before in this call; they are otherwise of that instant.
        """
        return await self._asking.talk(self._open().get_many(names, fresh=fresh))

    async def list(self, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted by name; all without a pattern."""
        return await self._asking.talk(self._open().list(pattern))

    async def set(
        self,
        name: str,
        value: Any,
        expected_version: int | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> int:
        """Writes a variable and returns its new version. An unknown name is registered with the value's type.

        Args:
            name: the variable.
            value: must fit the variable's type and constraints.
            expected_version: write only if this is the current version (0: only if there is none), otherwise ABORTED,
                reason ``VERSION_MISMATCH``.
            metadata: free text to keep with it; as before by default.
            ttl: seconds it lives from now; as before by default.
        """
        return await self._asking.talk(self._open().set(name, value, expected_version, metadata=metadata, ttl=ttl))

    async def set_many(
        self,
        values: Mapping[str, Any],
        *,
        atomic: bool = True,
        expected_versions: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> dict[str, WriteResult]:
        """Writes several variables; returns the new version by name, and without ``atomic`` (all or nothing) the error
        of those that were refused. Arguments as of ``set``."""
        return await self._asking.talk(
            self._open().set_many(
                values, atomic=atomic, expected_versions=expected_versions, metadata=metadata, ttl=ttl
            )
        )

    async def register(
        self,
        name: str,
        type: str,
        value: Any,
        constraints: Constraints | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> Variable:
        """Declares a variable.

        Args:
            name: the variable; one that exists gets the new declaration as its next version.
            type: integer, float, string, boolean, choice, json, embedding, tensor or bytes.
            value: its value.
            constraints: what every value must satisfy.
            metadata: free text kept with it.
            ttl: seconds it lives from now; as long as the session by default.
        """
        return await self._asking.talk(
            self._open().register(name, type, value, constraints, metadata=metadata, ttl=ttl)
        )

    async def delete(self, name: str, expected_version: int | None = None) -> None:
        """Deletes a variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is none."""
        await self._asking.talk(self._open().delete(name, expected_version))

    async def update(self, name: str, function: Any, default: Any = NO_VALUE) -> Any:
        """Changes a variable depending on its value, safely: ``await ctx.update("total", lambda n: n + 1, default=0)``.

        Reads the value and writes what the function makes of it, if nobody else has written in between; otherwise all
        over again, up to 50 times. Other writes of this call wait meanwhile.

        Args:
            name: the variable.
            function: takes the value and returns the next one; may be ``async``. It can be called several times, so
                it must do nothing else; writing variables of the session in it is ``RuntimeError``.
            default: what the function gets if there is none; without it that is NOT_FOUND.

        Returns what the function returned last, and is written. Raises ``BridgeError`` ABORTED, reason ``CONTENTION``,
        if others were faster every time.
        """
        return await self._asking.talk(self._open().update(name, function, default))

    def prefetch(self, names: Iterable[str]) -> Conversation[None]:
        """Reads variables into memory in one round trip; nothing without a session or a host."""
        if self._call.request.session_id:
            try:
                yield from self._open().read(names)
            except NoHostError:
                pass  # the tool may do without; it is told when it asks
            except BridgeError as error:
                if error.reason != "NOT_CONNECTED":
                    raise
                # To the caller it is not this server that cannot be reached; but the tool has not begun.
                message = f"the tool was not started, as what it reads could not be fetched: {error.message}"
                details = ErrorDetails(retry_after=1.0)
                raise BridgeError(Code.UNAVAILABLE, message, reason="HOST_UNAVAILABLE", details=details) from error

    def watch(self, *names: str, initial: bool = False, resume_after: Mapping[str, int] | None = None) -> NoReturn:
        """Is not there in plugins."""
        raise not_here("watch")

    def history(self, name: str, limit: int = 0) -> NoReturn:
        """Is not there in plugins."""
        raise not_here("history")

    def rollback(self, name: str, version: int, expected_version: int | None = None) -> NoReturn:
        """Is not there in plugins."""
        raise not_here("rollback")

    # -- like a mapping ------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        known = self._remembered(name)
        if known is NO_VALUE:
            advice = f"await ctx.get({name!r}) the first time, or declare it: @tool(reads=[{name!r}])"
            return self._blocking(advice)[name]
        return value_of(name, known)

    def __setitem__(self, name: str, value: Any) -> None:
        self._blocking(f"await ctx.set({name!r}, ...)")[name] = value

    def __delitem__(self, name: str) -> None:
        del self._blocking(f"await ctx.delete({name!r})")[name]

    def __contains__(self, name: str) -> bool:
        known = self._remembered(name)
        if known is NO_VALUE:
            return name in self._blocking(f"await ctx.get({name!r}, None)")
        return known is not None

    def _blocking(self, advice: str) -> SyncSessionContext:
        if not self._call.request.session_id:
            raise NoSessionError
        refuse_to_block(advice)
        return self.sync

    # -- tools of the host ---------------------------------------------------------------------------------------

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """Runs a tool of the host, within this call's deadline, and returns its result."""
        return await self._asking.talk(self._call_tool(tool, arguments))

    async def stream(self, tool: str, /, **arguments: Any) -> AsyncGenerator[Any, None]:
        """Runs a streaming tool of the host; iterates over what it yields."""
        with self._asking.stream(EXECUTE_STREAMING_TOOL, self._request(tool, arguments)) as answers:
            while (values := await answers.more()) is not None:
                for value in values:
                    yield value

    def _call_tool(self, tool: str, arguments: Mapping[str, Any]) -> Conversation[Any]:
        return read_result((yield Ask(EXECUTE_TOOL, self._request(tool, arguments))))

    def _request(self, tool: str, arguments: Mapping[str, Any]) -> bytes:
        check_path(self._call.path_below, tool)
        return pack_request(tool, arguments, self._call.request.session_id)
