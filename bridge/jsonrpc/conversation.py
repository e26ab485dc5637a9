"""One client's messages as calls of handlers.

Requests run beside each other. Notifications are handled one after the other, in the order they came, and a request
begins when those before it are done: what a client has told is known to what it asks afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from bridge.call import ToolCall
from bridge.dispatcher import Dispatcher
from bridge.errors import BridgeError, Code
from bridge.host import Host
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.context import ABOUT, About
from bridge.jsonrpc.eager import begin_task
from bridge.jsonrpc.handlers import Handled, Handlers
from bridge.protocols.messages import Id, Notification, Request, plain, progress_token

__all__ = ["Conversation"]

log = logging.getLogger("bridge.jsonrpc")

MAX_WAITING = 10_000
"""Notifications that wait for their turn."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Bytes of their params."""

_encode = msgspec.json.Encoder().encode


class Conversation:
    """Answers one connection. A ``bridge.jsonrpc.connection.Handler``.

    Args:
        number: of the connection.
        session_id: whose variables the handlers have.
        handlers: the methods.
        dispatcher: runs them.
        host: keeps the variables, and asks the clients.
        on_closed: called with the connection when it is closed.
    """

    def __init__(
        self,
        number: int,
        session_id: str,
        handlers: Handlers,
        dispatcher: Dispatcher,
        host: Host,
        on_closed: Callable[[Conversation, Connection], None],
    ) -> None:
        self.number, self.session_id = number, session_id
        self._handlers, self._dispatcher, self._host = handlers, dispatcher, host
        self._on_closed = on_closed
        self._last_note: asyncio.Task[None] | None = None
        """The notification that came last."""
        self._notes: set[asyncio.Task[None]] = set()
        """Notifications that are not done."""
        self._note_bytes = 0

    async def request(self, connection: Connection, request: Request) -> Any:
        """Answers a request by its handler's result."""
        await self._turn()
        handled = self._handlers.find(request.method)
        call = self._call(handled, request.method, request.params, request.id)
        call.answer = partial(connection.fail, request.id, asyncio.current_task())
        return _result(request.method, await self._dispatcher.run(call))

    def notification(self, connection: Connection, notification: Notification) -> None:
        """Gives a notification to its handler, if there is one, when it is its turn."""
        if self._handlers.get(notification.method) is None:
            log.debug("nobody handles the notification %r", notification.method)
            return
        size = len(notification.params or b"")
        if self._notes and (len(self._notes) >= MAX_WAITING or self._note_bytes + size > MAX_WAITING_BYTES):
            message = "too many notifications wait for their turn; send fewer, or ask for something from time to time"
            connection.refuse(BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="TOO_MANY_NOTIFICATIONS"))
            return
        self._note_bytes += size
        task = begin_task(self._take(notification, size), asyncio.get_running_loop())
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    def closed(self, connection: Connection) -> None:
        """The client is gone. What it has told is handled all the same."""
        self._on_closed(self, connection)

    async def finish_notes(self) -> None:
        """Returns when all notifications that have come are handled."""
        while self._notes:
            await asyncio.wait(tuple(self._notes))

    # -- inside --------------------------------------------------------------------------------------------------

    async def _take(self, notification: Notification, size: int) -> None:
        # In the first step of the task, as requests do it: so all begin in the order they came.
        before, self._last_note = self._last_note, asyncio.current_task()
        try:
            if before is not None:
                await asyncio.wait((before,))
            handled = self._handlers.get(notification.method)
            if handled is not None:  # else it was removed meanwhile
                await self._dispatcher.run(self._call(handled, notification.method, notification.params))
        except BridgeError as error:
            log.warning("the notification %r was not handled: %s", notification.method, error)
        finally:
            self._note_bytes -= size

    async def _turn(self) -> None:
        """Returns when the notifications before are done."""
        if self._last_note is not None and not self._last_note.done():
            await asyncio.wait((self._last_note,))

    def _call(self, handled: Handled, method: str, params: Raw | None, id: Id | None = None) -> ToolCall:
        values = None if params is None else plain(params)
        about = About(method, values, id, self.number, None if id is None else progress_token(params))
        ABOUT.set(about)  # the task is the message's own
        return ToolCall(
            tool=method,
            arguments=handled.arguments(about),
            host=self._host,
            session_id=self.session_id,
            # Without a limit of its own it has the server's, and with one that alone.
            deadline=None if handled.tool.options.timeout is None else math.inf,
            size=len(params or b""),
            frontend="jsonrpc-server",
        )


def _result(method: str, value: Any) -> Raw:
    try:
        return Raw(_encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        problem = f"{type(error).__name__}: it takes what msgspec writes as JSON"
        message = f"the handler of {method!r} gave a value that cannot be carried: {problem}"
        raise BridgeError(Code.UNKNOWN, message, reason="UNSUPPORTED_RESULT") from error
