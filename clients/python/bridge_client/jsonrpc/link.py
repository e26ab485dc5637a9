"""One connection to a server, and what hears and answers what comes by it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code, invalid_argument
from bridge.host import Host
from bridge.hosts.jsonrpc import JsonRpcHost
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.host_messages import CHUNK
from bridge.jsonrpc.host_methods import HostMethods, unknown_method
from bridge.jsonrpc.streams import Streams, Windows
from bridge.protocols.framings import FRAMINGS
from bridge.protocols.limits import DEFAULT_LIMITS, ProtocolLimits
from bridge.protocols.messages import Notification, Request, plain

__all__ = ["Hears", "Link", "OnNotification", "OnRequest", "check_options"]

OnRequest = Callable[[str, Any], Any]
"""Answers a method with its params; may be ``async``."""
OnNotification = Callable[[str, Any], object]
"""Takes note of a method with its params."""

HOST = "host."
SESSION = "session."
TOOLS = "tools."


class Hears(msgspec.Struct, frozen=True):
    """What a client takes of its server; the same for all its connections."""

    framing: str = "content-length"
    limits: ProtocolLimits = DEFAULT_LIMITS
    host: Host | None = None
    on_request: OnRequest | None = None
    on_notification: OnNotification | None = None


def check_options(framing: str, on_notification: OnNotification | None) -> None:
    """Raises INVALID_ARGUMENT, reason ``CONFIG``, for what cannot be used."""
    if framing not in FRAMINGS:
        raise invalid_argument("framing", f"is one of {', '.join(FRAMINGS)}", reason="CONFIG")
    if inspect.iscoroutinefunction(on_notification):
        problem = "is called in the order of the notifications, so it cannot be async; let it start a task"
        raise invalid_argument("on_notification", problem, reason="CONFIG")


class Link:
    """A connection. The ``Handler`` of itself.

    Args:
        hears: what is done with what comes.
    """

    def __init__(self, hears: Hears) -> None:
        self._hears = hears
        self._host = None if hears.host is None else HostMethods(hears.host, HOST, with_tools=True)
        self._windows = Windows()
        framing = FRAMINGS[hears.framing](hears.limits)
        self.connection = Connection(framing, self, hears.limits, reads_always=True)
        self.sessions = JsonRpcHost(self.connection, SESSION)
        """The server, as who keeps sessions."""
        self.streams = Streams(self.connection, (TOOLS + CHUNK,))
        """Of tools."""

    async def greet(self) -> None:
        """Says what a server has to know first."""
        if self._host is not None:
            await self.connection.request("system.initialize", {"host": True})

    # -- Handler -------------------------------------------------------------------------------------------------

    async def request(self, connection: Connection, request: Request) -> Any:
        """See ``bridge.jsonrpc.connection.Handler``."""
        if self._host is not None and request.method in self._host:
            with self._windows.telling(connection, request) as tell:
                return await self._host.answer(request, tell)
        if self._hears.on_request is None:
            raise unknown_method(request.method)
        try:
            answer = self._hears.on_request(request.method, _value(request))
            return await answer if inspect.isawaitable(answer) else answer
        except BridgeError:
            raise
        except Exception as error:
            # The text may be about what is nobody's business on the other side.
            message = f"{request.method[:128]!r} failed on the side of the client by {type(error).__name__}"
            raise BridgeError(Code.UNKNOWN, message, reason=type(error).__name__) from error

    def notification(self, connection: Connection, notification: Notification) -> None:
        """See ``bridge.jsonrpc.connection.Handler``."""
        for part in (self.streams, self.sessions, self._windows):
            if part.heard(notification):
                return
        if self._hears.on_notification is not None:
            self._hears.on_notification(notification.method, _value(notification))

    def closed(self, connection: Connection) -> None:
        """See ``bridge.jsonrpc.connection.Handler``."""


def _value(event: Request | Notification) -> Any:
    return None if event.params is None else plain(event.params)
