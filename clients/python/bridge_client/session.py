"""A session as its owner sees it: variables, calls in it, and a heartbeat that keeps it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from bridge.call import Progress
from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.hosts.grpc import GrpcHost
from bridge.session_variables import SessionVariables
from bridge.variables import Declaration, SessionInfo, Variable, Write, WriteResult

if TYPE_CHECKING:
    from bridge_client.client import BridgeClient
    from bridge_client.stream import ToolStream

__all__ = ["Session"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 5.0
"""Seconds to tell the host that a session is over; if that fails its time to live ends it."""
_BEATS_PER_TTL = 3.0
"""Heartbeats in the life of a session, so that it survives two lost ones."""


class Session(SessionVariables):
    """Variables kept by a host, and the tools that may use them.

    Made by ``BridgeClient.session()`` and used as ``async with``: entering opens it on the host, leaving closes it and
    frees its variables. The calls about variables are those of ``bridge.SessionContext``. All raise ``BridgeError``;
    NOT_FOUND, reason ``SESSION_NOT_FOUND``, if the host has forgotten the session.
    """

    def __init__(self, client: BridgeClient, metadata: Mapping[str, str] | None, ttl: float | None) -> None:
        self._client = client
        self._metadata = dict(metadata or {})
        self._ttl = ttl
        self._info: SessionInfo | None = None
        self._closed = False
        self._heartbeat: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        if self._info is None:
            return "<Session new>"
        # The id is what gives access to the session, so only its beginning may get into a log.
        return f"<Session {self._info.session_id[:6]}... {'closed' if self._closed else 'open'}>"

    # -- life ----------------------------------------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """Its id: 32 hexadecimal digits. Raises FAILED_PRECONDITION before it is opened and after it is closed."""
        return self.info.session_id

    @property
    def info(self) -> SessionInfo:
        """What the host said when it was opened. Raises FAILED_PRECONDITION before that and after it is closed."""
        if self._info is None or self._closed:
            state = "closed" if self._closed else "not open yet"
            message = f"the session is {state}: use it inside `async with client.session() as session`"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="SESSION_NOT_OPEN")
        return self._info

    async def __aenter__(self) -> Self:
        if self._info is not None:
            raise BridgeError(Code.FAILED_PRECONDITION, "a session is opened once", reason="SESSION_NOT_OPEN")

        def ask(host: GrpcHost, scope: CallScope) -> Awaitable[SessionInfo]:
            return host.open_session(scope, metadata=self._metadata, ttl=self._ttl)

        try:
            self._info = await self._ask(ask, scope_of="")
        except BridgeError as error:
            if error.code is not Code.UNIMPLEMENTED:
                raise
            message = "this server keeps no sessions: give the address of its host, BridgeClient(target, host=...)"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="NO_HOST") from error
        self._client._sessions.add(self)
        self._heartbeat = asyncio.create_task(self._beat(self._info.session_id, self._info.ttl / _BEATS_PER_TTL))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes it on the host, as far as that can be reached. Repeating it is harmless."""
        if self._closed or self._info is None:
            self._closed = True
            return
        session_id = self._info.session_id
        self._closed = True
        self._client._sessions.discard(self)
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        try:
            host, _ = self._client._open_host()
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await host.close_session(self._client._scope(session_id))
        except (BridgeError, TimeoutError) as error:
            _log.debug("the session was not closed on the host, its time to live ends it: %s", error)

    async def _beat(self, session_id: str, interval: float) -> None:
        while True:
            await self._client._timing.sleep(interval)
            try:
                host, _ = self._client._open_host()
                # Bounded: a host that hangs must not keep the next heartbeat from being sent.
                await host.heartbeat(self._client._scope(session_id, timeout=interval))
            except BridgeError as error:
                if error.code in (Code.NOT_FOUND, Code.PERMISSION_DENIED) or error.reason == "CLIENT_CLOSED":
                    _log.warning("the session is lost: %s", error.message)
                    return
                _log.debug("a heartbeat failed: %s", error)

    async def _ask(
        self,
        operation: Callable[[GrpcHost, CallScope], Awaitable[T]],
        *,
        idempotent: bool = False,
        scope_of: str | None = None,
    ) -> T:
        """Asks the host, again if the first time cannot have had an effect or none that matters."""
        client = self._client
        session_id = self.session_id if scope_of is None else scope_of
        host, caller = client._open_host()
        scope = client._scope(session_id)
        try:
            return await operation(host, scope)
        except BridgeError as error:
            failure = error
        return await caller.repeat(
            lambda _left: operation(host, scope), failure, "", scope.deadline, idempotent=idempotent
        )

    # -- variables -----------------------------------------------------------------------------------------------

    async def _read(self, names: list[str], *, fresh: bool) -> dict[str, Variable]:
        return await self._ask(lambda host, scope: host.get_variables(scope, names), idempotent=True)

    async def _write(self, writes: list[Write], *, atomic: bool) -> dict[str, WriteResult]:
        return await self._ask(lambda host, scope: host.set_variables(scope, writes, atomic=atomic))

    async def _register(self, declaration: Declaration) -> Variable:
        return await self._ask(lambda host, scope: host.register_variable(scope, declaration))

    async def delete(self, name: str, expected_version: int | None = None) -> None:
        """Deletes a variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is none."""
        await self._ask(lambda host, scope: host.delete_variable(scope, name, expected_version=expected_version))

    async def list(self, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted by name; all without a pattern."""
        return await self._ask(lambda host, scope: host.list_variables(scope, pattern), idempotent=True)

    # -- calls ---------------------------------------------------------------------------------------------------

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> Any:
        """Calls a tool in this session; see ``BridgeClient.call``."""
        return await self._client.call(tool, arguments, timeout=timeout, session=self, metadata=metadata, **keywords)

    def stream(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        **keywords: Any,
    ) -> ToolStream:
        """Calls a streaming tool in this session; see ``BridgeClient.stream``."""
        return self._client.stream(
            tool, arguments, timeout=timeout, session=self, metadata=metadata, on_progress=on_progress, **keywords
        )
