"""The JSON-RPC frontend: which method is answered by what."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from bridge._version import __version__
from bridge.dispatcher import Dispatcher
from bridge.errors import BridgeError, Code
from bridge.frontends.jsonrpc.calls import TOOLS, ToolCalls
from bridge.frontends.jsonrpc.catalog import Catalog
from bridge.frontends.jsonrpc.client import Client
from bridge.frontends.jsonrpc.sessions import SESSION, Sessions
from bridge.host import Host
from bridge.jsonrpc.params import Params, bind
from bridge.jsonrpc.values import read_params
from bridge.protocols.messages import Request
from bridge.runtime.hints import suggest
from bridge.worker.memory import tree_rss

__all__ = ["JsonRpcFrontend"]

_RESERVED = ("rpc.", "$/", "_")
"""Beginnings of names that are no tools' as methods: of the specification, of LSP, and what is private by custom."""

Answer = Callable[[Client, Request], Awaitable[Any]]


class _Initialize(Params):
    host: bool = False
    client: dict[str, Any] = msgspec.field(default_factory=dict)


class _NoParams(Params):
    pass


class JsonRpcFrontend:
    """Answers the clients of a server.

    Args:
        calls: runs tools.
        dispatcher: whose tools they are.
        sessions: answers ``session.*``.
        host: what tools call back to.
        observed: makes of a client's host one that is traced and measured.
        stop: asks for the end of the server; ``None``: clients cannot.
    """

    def __init__(
        self,
        calls: ToolCalls,
        dispatcher: Dispatcher,
        sessions: Sessions,
        host: Host,
        *,
        observed: Callable[[Host], Host],
        stop: Callable[[], None] | None = None,
    ) -> None:
        self._dispatcher, self._sessions, self._host = dispatcher, sessions, host
        self._observed, self._stop = observed, stop
        self._direct = calls.direct
        self._catalog = Catalog(dispatcher.registry)
        self._began = time.monotonic()
        self._clients: set[Client] = set()
        self._methods: dict[str, Answer] = {
            "tools.list": self._list,
            "tools.call": calls.call,
            "tools.stream": calls.stream,
            "system.initialize": self._initialize,
            "system.ping": self._ping,
            "system.version": self._version,
            "system.stats": self._stats,
            "system.shutdown": self._shutdown,
            **dict.fromkeys(sessions.names, sessions.answer),
        }

    def client(self) -> Client:
        """The handler for one connection."""
        client = Client(self, self._host)
        self._clients.add(client)
        return client

    def tools_changed(self) -> None:
        """Tells the clients that ``tools.list`` has another answer."""
        for client in self._clients:
            client.notify(TOOLS + "changed")

    # -- Methods -------------------------------------------------------------------------------------------------

    async def answer(self, client: Client, request: Request) -> Any:
        """The result of a request. Raises ``BridgeError``."""
        name = request.method
        method = self._methods.get(name)
        if method is not None:
            return await method(client, request)
        if name.startswith(_RESERVED) or self._dispatcher.registry.get(name) is None:
            raise self._unknown(name)
        return await self._direct(client, request)

    def is_for_notifications(self, method: str) -> bool:
        """Whether a method does something even if nobody hears of its result."""
        if method in self._methods:
            return method in ("tools.call", "system.shutdown") or method.startswith(SESSION)
        return not method.startswith((*_RESERVED, "notifications/")) and method in self._dispatcher.registry

    def left(self, client: Client) -> None:
        """The connection is gone."""
        self._clients.discard(client)
        self._sessions.left(client)

    def _unknown(self, name: str) -> BridgeError:
        tools = [tool.name for tool in self._dispatcher.registry.tools]
        message = f"no method {name[:128]!r}; {suggest(name, [*self._methods, *tools])}"
        return BridgeError(Code.NOT_FOUND, message, reason="METHOD_NOT_FOUND")

    # -- the methods ---------------------------------------------------------------------------------------------

    async def _list(self, client: Client, request: Request) -> bytes:
        _no_params(request)
        return self._catalog.text()

    async def _initialize(self, client: Client, request: Request) -> Any:
        params = bind(request.method, read_params(request.params), _Initialize)
        if params.host:
            client.become_host(self._observed)
        return {
            "server": {"name": "tool-bridge", "version": __version__},
            "host": client.is_host,
            "methods": sorted(self._methods),
        }

    async def _ping(self, client: Client, request: Request) -> Any:
        _no_params(request)
        return {"pong": True, "timestamp": time.time()}

    async def _version(self, client: Client, request: Request) -> Any:
        _no_params(request)
        return {"name": "tool-bridge", "version": __version__, "jsonrpc": "2.0", "python": platform.python_version()}

    async def _stats(self, client: Client, request: Request) -> Any:
        _no_params(request)
        return {
            "pid": os.getpid(),
            "uptime": time.monotonic() - self._began,
            "connections": len(self._clients),
            "calls": self._dispatcher.running,
            "tools": len(self._dispatcher.registry.tools),
            "memory": tree_rss(os.getpid()),
        }

    async def _shutdown(self, client: Client, request: Request) -> None:
        _no_params(request)
        if self._stop is None:
            message = "this server ends with the program that it is part of, and not by request"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="NOT_STOPPABLE")
        self._stop()


def _no_params(request: Request) -> None:
    if request.params is not None:
        bind(request.method, read_params(request.params), _NoParams)
