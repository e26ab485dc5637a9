"""``session.*``: the sessions of a server's host, for clients that do not keep them themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeVar, cast

import msgspec

from bridge.errors import BridgeError, Code, NoHostError
from bridge.frontends.jsonrpc.client import Client
from bridge.host import CallScope, Host
from bridge.jsonrpc.host_methods import HostMethods, SessionParams, scope_of
from bridge.jsonrpc.params import Params, bind
from bridge.jsonrpc.values import read_params
from bridge.protocols.messages import Request
from bridge.variables import SessionInfo

__all__ = ["SESSION", "Sessions"]

T = TypeVar("T")

SESSION = "session."
"""Before the methods and notifications that are about sessions."""


class _Open(Params):
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    ttl: float | None = None
    keep: bool = False


class _List(Params):
    limit: int = 0


class SessionOwner(Protocol):
    """What a host has that opens sessions."""

    async def open_session(
        self, scope: CallScope, *, metadata: Mapping[str, str] | None = None, ttl: float | None = None
    ) -> SessionInfo: ...

    async def get_session(self, scope: CallScope) -> SessionInfo: ...

    async def heartbeat(self, scope: CallScope) -> float: ...

    async def close_session(self, scope: CallScope) -> None: ...

    async def list_sessions(self, scope: CallScope, limit: int = 0) -> list[SessionInfo]: ...


class Sessions:
    """Answers ``session.*``.

    Args:
        host: the server's.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._variables = HostMethods(host, SESSION)
        self._methods = {
            "session.open": self._open,
            "session.close": self._close,
            "session.info": self._info,
            "session.list": self._list,
            "session.heartbeat": self._heartbeat,
        }
        self._unfinished: set[asyncio.Task[Any]] = set()
        """What goes on when nobody waits for it any more: opening a session, and closing it."""

    @property
    def names(self) -> list[str]:
        """The methods."""
        return [*self._methods, *self._variables.names]

    async def answer(self, client: Client, request: Request) -> Any:
        """The result of a request. Raises ``BridgeError``."""
        if client.is_host:
            message = "this client is a host (system.initialize), so it keeps the sessions itself"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="CLIENT_IS_HOST")
        method = self._methods.get(request.method)
        if method is not None:
            return await method(client, request)
        with client.telling(request) as tell:
            return await self._variables.answer(request, tell)

    def left(self, client: Client) -> None:
        """Closes the sessions that end with a client."""
        for session_id in client.sessions:
            self._begin(self._close_quietly(session_id))

    async def settled(self) -> None:
        """Returns when the sessions of clients that have gone are closed."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)

    # -- the methods ---------------------------------------------------------------------------------------------

    async def _open(self, client: Client, request: Request) -> SessionInfo:
        params = bind(request.method, read_params(request.params), _Open)
        # Half way nobody knows which session it is, so a client that goes does not stop it, and it is closed after it.
        return await asyncio.shield(self._begin(self._open_for(client, params)))

    async def _open_for(self, client: Client, params: _Open) -> SessionInfo:
        session = await self._owner().open_session(scope_of("", params.meta), metadata=params.metadata, ttl=params.ttl)
        if not params.keep:
            client.sessions.add(session.session_id)
            if not client.connection.is_open:
                self.left(client)
        return session

    async def _close(self, client: Client, request: Request) -> None:
        scope = _scope(request)
        await self._owner().close_session(scope)
        client.sessions.discard(scope.session_id)

    async def _info(self, client: Client, request: Request) -> SessionInfo:
        return await self._owner().get_session(_scope(request))

    async def _list(self, client: Client, request: Request) -> list[SessionInfo]:
        params = bind(request.method, read_params(request.params), _List)
        return await self._owner().list_sessions(scope_of("", params.meta), params.limit)

    async def _heartbeat(self, client: Client, request: Request) -> dict[str, float]:
        return {"expires_at": await self._owner().heartbeat(_scope(request))}

    def _owner(self) -> SessionOwner:
        if not hasattr(self._host, "open_session"):
            raise NoHostError("the host of this server opens no sessions for others: ask the host itself")
        return cast("SessionOwner", self._host)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    async def _close_quietly(self, session_id: str) -> None:
        try:
            await self._owner().close_session(CallScope(session_id))
        except BridgeError:
            pass  # it is gone already, or the host is


def _scope(request: Request) -> CallScope:
    params = bind(request.method, read_params(request.params), SessionParams)
    return scope_of(params.session_id, params.meta)
