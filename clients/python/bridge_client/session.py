"""A session as its owner sees it: variables, calls in it, and a heartbeat that keeps it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import msgspec

from bridge.call import Progress, time_remaining
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.host import CallScope, Host
from bridge.session_variables import SessionVariables
from bridge.variable_exchange import Exchange
from bridge.variable_watch import Begun
from bridge.variables import SessionInfo

if TYPE_CHECKING:
    from bridge_client.retry import Timing
    from bridge_client.stream import ToolStream

__all__ = ["Owner", "Session", "SessionHost", "no_sessions"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 5.0
"""Seconds to tell the host that a session is over; if that fails its time to live ends it."""
_BEATS_PER_TTL = 3.0
"""Heartbeats in the life of a session, so that it survives two lost ones."""


class SessionHost(Host, Protocol):
    """A host that opens sessions."""

    async def open_session(
        self, scope: CallScope, *, metadata: Mapping[str, str] | None = None, ttl: float | None = None
    ) -> SessionInfo:
        """Opens a session; without ``ttl`` (seconds) it lives as long as the host likes."""

    async def get_session(self, scope: CallScope) -> SessionInfo:
        """Describes the session."""

    async def heartbeat(self, scope: CallScope) -> float:
        """Keeps the session; when it ends if nothing happens from now on, seconds since the epoch."""

    async def close_session(self, scope: CallScope) -> None:
        """Ends the session and frees its variables."""

    async def list_sessions(self, scope: CallScope, limit: int = 0) -> list[SessionInfo]:
        """The caller's sessions, newest first; at most ``limit`` (0: as many as the host is willing to list)."""


class Owner(Protocol):
    """What a session needs of the client that has made it."""

    _sessions: set[Session]
    _timing: Timing

    def _scope(self, session_id: str, timeout: float | None = None) -> CallScope:
        """On whose behalf the host is asked."""

    async def _ask_host(
        self, operation: Callable[[SessionHost], Awaitable[T]], scope: CallScope, *, idempotent: bool = False
    ) -> T:
        """Asks the host, again if that is safe."""

    async def _ask_now(self, operation: Callable[[SessionHost], Awaitable[T]]) -> T:
        """Asks the host once."""

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None, /, **options: Any) -> Any:
        """Calls a tool."""

    def stream(self, tool: str, arguments: Mapping[str, Any] | None = None, /, **options: Any) -> ToolStream:
        """Calls a streaming tool."""


class Session(SessionVariables):
    """Variables kept by a host, and the tools that may use them.

    Made by a client's ``session()`` and used as ``async with``: entering opens it on the host, leaving closes it and
    frees its variables. One that was made with the id of an open session is attached to that: entering looks whether it
    is there, leaving leaves it as it is, and keeping it alive is up to its owner, or to use.

    The calls about variables are those of ``bridge.SessionContext``; nothing that is read is remembered. All raise
    ``BridgeError``; NOT_FOUND, reason ``SESSION_NOT_FOUND``, if the host has forgotten the session.
    """

    def __init__(
        self, client: Owner, metadata: Mapping[str, str] | None, ttl: float | None, session_id: str | None = None
    ) -> None:
        if session_id is not None:
            if not isinstance(session_id, str) or not session_id:
                raise invalid_argument("session_id", "must be the id of an open session")
            if metadata is not None or ttl is not None:
                raise invalid_argument("session_id", "an open session keeps its metadata and ttl: give neither")
        self._client = client
        self._metadata = dict(metadata or {})
        self._ttl = ttl
        self._attach_to = session_id
        self._exchange = Exchange(remember=False)
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
        """What the host said when it was entered. Raises FAILED_PRECONDITION before that and after it is closed."""
        if self._info is None or self._closed:
            state = "closed" if self._closed else "not open yet"
            message = f"the session is {state}: use it inside `async with client.session() as session`"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="SESSION_NOT_OPEN")
        return self._info

    async def __aenter__(self) -> Self:
        if self._info is not None:
            raise BridgeError(Code.FAILED_PRECONDITION, "a session is opened once", reason="SESSION_NOT_OPEN")

        client, session_id = self._client, self._attach_to
        scope = client._scope(session_id or "")
        try:
            if session_id is not None:
                self._info = await client._ask_host(lambda host: host.get_session(scope), scope, idempotent=True)
                return self
            self._info = await client._ask_host(
                lambda host: host.open_session(scope, metadata=self._metadata, ttl=self._ttl), scope
            )
        except BridgeError as error:
            raise no_sessions(error) from error
        self._client._sessions.add(self)
        self._heartbeat = asyncio.create_task(self._beat(self._info.session_id, self._info.ttl / _BEATS_PER_TTL))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes it on the host, as far as that can be reached; one it is attached to stays open. Repeating it is
        harmless."""
        if self._closed or self._info is None or self._attach_to is not None:
            self._closed = True
            return
        session_id = self._info.session_id
        self._closed = True
        self._client._sessions.discard(self)
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        try:
            scope = self._client._scope(session_id)
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._client._ask_now(lambda host: host.close_session(scope))
        except (BridgeError, TimeoutError) as error:
            _log.debug("the session was not closed on the host, its time to live ends it: %s", error)

    async def _beat(self, session_id: str, interval: float) -> None:
        while True:
            await self._client._timing.sleep(interval)
            try:
                # Bounded: a host that hangs must not keep the next heartbeat from being sent.
                scope = self._client._scope(session_id, timeout=interval)
                await self._client._ask_now(partial(_heartbeat, scope))
            except BridgeError as error:
                if error.code in (Code.NOT_FOUND, Code.PERMISSION_DENIED) or error.reason == "CLIENT_CLOSED":
                    _log.warning("the session is lost: %s", error.message)
                    return
                _log.debug("a heartbeat failed: %s", error)

    # -- variables -----------------------------------------------------------------------------------------------

    def _session(self) -> CallScope:
        return self._client._scope(self.session_id)

    def _talk(self) -> Exchange:
        return self._exchange

    async def _ask(self, operation: Callable[[Host], Awaitable[T]], scope: CallScope, *, idempotent: bool = False) -> T:
        return await self._client._ask_host(operation, scope, idempotent=idempotent)

    async def _open_watch(
        self, scope: CallScope, names: Sequence[str], initial: bool, positions: Mapping[str, int]
    ) -> Begun:
        # The client's timeout is for the beginning; what comes then may take as long as the session lives.
        endless = msgspec.structs.replace(scope, deadline=None)
        try:
            async with asyncio.timeout(time_remaining(scope.deadline)):
                return await super()._open_watch(endless, names, initial, positions)
        except TimeoutError:
            message = "the host did not begin the watch in time: give the client a longer timeout"
            raise BridgeError(Code.DEADLINE_EXCEEDED, message, reason="DEADLINE_EXCEEDED") from None

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


async def _heartbeat(scope: CallScope, host: SessionHost) -> float:
    return await host.heartbeat(scope)


def no_sessions(error: BridgeError) -> BridgeError:
    """What a server means by UNIMPLEMENTED when it is asked for sessions; any other error as it is."""
    if error.code is not Code.UNIMPLEMENTED:
        return error
    message = "this server keeps no sessions: give the address of its host, BridgeClient(target, host=...)"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="NO_HOST")
