"""What a server knows of the client at the other end of one connection, and does for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from bridge.errors import BridgeError
from bridge.host import Host
from bridge.hosts.jsonrpc import JsonRpcHost
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.eager import begin_task
from bridge.jsonrpc.streams import Tell, Windows
from bridge.protocols.messages import Notification, Request

__all__ = ["Client", "Methods"]

log = logging.getLogger("bridge.jsonrpc")


class Methods(Protocol):
    """Answers what clients ask."""

    async def answer(self, client: Client, request: Request) -> Any:
        """The result of a request; raises ``BridgeError``."""

    def is_for_notifications(self, method: str) -> bool:
        """Whether a method does something even if nobody hears of its result."""

    def left(self, client: Client) -> None:
        """The connection is gone."""


class Client:
    """The other side of a connection. A ``Handler``.

    Args:
        methods: answer it.
        host: what its tools call back to, unless it says that it is a host itself.
    """

    def __init__(self, methods: Methods, host: Host) -> None:
        self.host = host
        """What tools that it calls see as their host."""
        self.sessions: set[str] = set()
        """Those that end with the connection."""
        self._connection: Connection | None = None
        self._methods = methods
        self._own_host: JsonRpcHost | None = None
        self._windows = Windows()
        self._unasked: set[asyncio.Task[None]] = set()
        """What runs for notifications."""

    @property
    def is_host(self) -> bool:
        """Whether it keeps sessions and variables itself."""
        return self._own_host is not None

    @property
    def connection(self) -> Connection:
        """The way to it."""
        assert self._connection is not None  # noqa: S101 - known with the first that it says
        return self._connection

    def become_host(self, observed: Callable[[Host], Host]) -> None:
        """Its tools call back to it from here on.

        Args:
            observed: makes of a host one that is traced and measured.
        """
        if self._own_host is None:
            self._own_host = JsonRpcHost(self.connection, "host.")
            self.host = observed(self._own_host)

    def telling(self, request: Request) -> AbstractContextManager[Tell]:
        """Sends the notifications of a request, as fast as the client takes them."""
        return self._windows.telling(self.connection, request)

    def notify(self, method: str) -> None:
        """Sends a notification without params, if the client has ever said anything."""
        if self._connection is not None:
            self._connection.notify(method)

    # -- Handler -------------------------------------------------------------------------------------------------

    async def request(self, connection: Connection, request: Request) -> Any:
        """See ``bridge.jsonrpc.connection.Handler``."""
        self._connection = connection
        return await self._methods.answer(self, request)

    def notification(self, connection: Connection, notification: Notification) -> None:
        """Runs what is asked for without wanting an answer."""
        if self._windows.heard(notification) or (self._own_host is not None and self._own_host.heard(notification)):
            return
        if not self._methods.is_for_notifications(notification.method):
            return
        self._connection = connection
        request = Request("", notification.method, notification.params)
        answering = self._run_unasked(self._methods.answer(self, request))
        task = begin_task(answering, asyncio.get_running_loop())
        self._unasked.add(task)
        task.add_done_callback(self._unasked.discard)

    def closed(self, connection: Connection) -> None:
        """Ends what belongs to the connection."""
        for task in self._unasked:
            task.cancel()
        self._methods.left(self)

    async def _run_unasked(self, running: Awaitable[Any]) -> None:
        try:
            await running
        except BridgeError as error:
            log.info("a notification failed: %s", error.reason or error.code.name)
