"""One JSON-RPC 2.0 connection on an asyncio transport: a ``Peer`` that reads, writes, and runs what it is asked for.

Both sides may ask, so servers and clients have the same connection. Requests run beside each other, each in a task of
its own; what is asked here while they run goes the same way back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Raw

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.asking import Asking
from bridge.jsonrpc.eager import begin_task
from bridge.jsonrpc.pipe_transport import read_less
from bridge.jsonrpc.sending import Sending
from bridge.jsonrpc.slow_sender import PARTIAL_TIMEOUT, SlowSender
from bridge.protocols.framing import Framing, FramingViolation
from bridge.protocols.jsonrpc import Peer, parse_error
from bridge.protocols.limits import DEFAULT_LIMITS, ProtocolLimits
from bridge.protocols.messages import (
    Cancel,
    Event,
    Id,
    Invalid,
    Notification,
    Outgoing,
    Request,
    Response,
    Unmatched,
    encode,
)
from bridge.protocols.rpc_errors import to_rpc_error

__all__ = ["Connection", "Handler"]

log = logging.getLogger("bridge.jsonrpc")

LINGER = 5.0
"""Seconds in which the other side has to take what was written before the end."""

CANCEL_LINGER = 0.02
"""Seconds a cancelled request has to end before it is answered without that."""


class Handler(Protocol):
    """What a connection has its requests answered by. All of it is called in the event loop."""

    async def request(self, connection: Connection, request: Request) -> Any:
        """Answers: returns ``msgspec.Raw`` or ``bytes`` (a JSON text), or a value that becomes one; raises
        ``BridgeError`` for an error. Is cancelled if nobody waits any more."""

    def notification(self, connection: Connection, notification: Notification) -> None:
        """Takes note."""

    def closed(self, connection: Connection) -> None:
        """Nothing more is heard or said on the connection, and its requests are being cancelled."""


class Connection(asyncio.Protocol):
    """A ``Peer`` on a transport, as a protocol of asyncio.

    Args:
        framing: of both directions.
        handler: answers requests of the other side.
        limits: of what the other side may cost.
        on_made: called with the connection when its transport is there.
        drops_cancelled: a request that was cancelled is not answered (MCP) instead of by REQUEST_CANCELLED (LSP).
        reads_always: for the side that has connected. The other one hears nothing while what it has said is not
            taken; if both did so, two large messages that cross would wait for each other.
        eof_grace: seconds in which what was asked before the end of the other side's stream is still answered.
        partial_timeout: as ``SlowSender`` says.
    """

    def __init__(
        self,
        framing: Framing,
        handler: Handler,
        limits: ProtocolLimits = DEFAULT_LIMITS,
        *,
        on_made: Callable[[Connection], None] | None = None,
        drops_cancelled: bool = False,
        reads_always: bool = False,
        eof_grace: float = 0.0,
        partial_timeout: float = PARTIAL_TIMEOUT,
    ) -> None:
        self._framing, self._handler = framing, handler
        self._peer = Peer(limits)
        self._on_made = on_made
        self._drops_cancelled = drops_cancelled
        self._reads_always = reads_always
        self.eof_grace = eof_grace
        """As in the arguments; may be changed."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._tasks: dict[Id, asyncio.Task[None]] = {}
        self._lingering: set[asyncio.Task[None]] = set()
        """Those that go on after their requests were answered."""
        self._cancelled: set[Id] = set()
        """Requests whose asker has given up."""
        self._sending = Sending(self._loop, framing)
        self._asking = Asking(self._peer, self._sending)
        self._slow_sender = SlowSender(self._loop, partial_timeout, self._give_up_sender)
        self._last_words = b""
        self._end_timer: asyncio.TimerHandle | None = None
        self._is_eof = self._is_closing = False
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when the transport is gone."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the transport is gone and all requests have ended."""

    # -- for those who have it -----------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the other side may still hear us."""
        return not self._is_closing

    @property
    def complaint(self) -> str:
        """What the other side has said at last that is no answer to anything, such as why it ends the connection."""
        return self._asking.complaint

    @property
    def running(self) -> int:
        """Requests of the other side that have not ended."""
        return len(self._tasks) + len(self._lingering)

    @property
    def transport(self) -> asyncio.Transport:
        """What it stands on."""
        assert self._transport is not None  # noqa: S101 - it is there as long as anybody knows of the connection
        return self._transport

    async def request(
        self,
        method: str,
        params: Any = None,
        *,
        timeout: float | None = None,
        on_id: Callable[[int], object] | None = None,
    ) -> Raw | None:
        """Asks the other side and returns the text of its result.

        Args:
            method: what to do.
            params: ``Raw`` or ``bytes``: a JSON text; else a value; ``None``: without.
            timeout: seconds to wait. Then, and if cancelled, the other side is told that nobody waits any more.
            on_id: told the id before anything is sent, for notifications that name it.

        Raises:
            BridgeError: what the other side answered; DEADLINE_EXCEEDED; UNAVAILABLE, reason ``CONNECTION_LOST``;
                INVALID_ARGUMENT, reason ``UNSUPPORTED_VALUE``, for params that have no JSON text.
        """
        result: Raw | None = await self._asking.ask(method, params, timeout, on_id)
        return result

    def notify(self, method: str, params: Any = None) -> None:
        """Tells the other side something, or nobody if it is gone. ``await drained()`` before the next of many."""
        self._sending.write(self._peer.notify(method, params))

    def progress(self, token: Id, value: Any) -> None:
        """Tells the progress of a request that brought a token."""
        self._sending.write(self._peer.progress(token, value))

    async def drained(self) -> None:
        """Returns when the other side has taken so much that there is room for more.

        Raises:
            BridgeError: CANCELLED, reason ``CLIENT_GONE``, if it takes nothing any more.
        """
        if self._sending.is_full:
            await self._sending.room()
        if self._is_closing:
            raise BridgeError(Code.CANCELLED, "the other side is gone", reason="CLIENT_GONE")

    def fail(self, id: Id, task: asyncio.Task[Any] | None, error: BridgeError) -> None:
        """Answers a request at once, while what it has started is still ending.

        Args:
            id: of the request.
            task: in which its handler runs: another request may have this id by then.
            error: the answer; nothing is sent if there was one.
        """
        if task is None or self._tasks.get(id) is not task or self._is_closing:
            return
        self._lingering.add(self._tasks.pop(id))
        self._answer(id, None, error)

    def close(self) -> None:
        """Ends the connection when what was written is on its way; running requests are cancelled."""
        if not self._is_closing:
            self._shut()
            if self._transport is not None:
                self._end_timer = self._loop.call_later(LINGER, self._transport.abort)
                self._transport.close()

    def refuse(self, error: BridgeError) -> None:
        """Says why nothing is answered here, and ends the connection; as soon as there is one, if there is none yet."""
        self._last_words = encode(Outgoing(id=None, error=to_rpc_error(error)))
        self._sending.write(self._last_words)
        self.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        self._shut()
        if self._transport is not None:
            self._transport.abort()

    async def drain(self, grace: float) -> bool:
        """Ends the connection when nothing runs, or after ``grace`` seconds; returns whether nothing was cut off.

        What is asked meanwhile is for the handler to refuse.
        """
        end = self._loop.time() + grace
        while self.running and (left := end - self._loop.time()) > 0:
            await asyncio.wait((*self._tasks.values(), *self._lingering), timeout=left)
        is_idle = not self.running
        self.close()
        return is_idle

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        read_less(transport)
        if self._is_closing:
            self.transport.writelines(self._framing.encode(self._last_words) if self._last_words else ())
            transport.close()
            return
        self._sending.transport = self._transport
        if self._on_made is not None:
            self._on_made(self)

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        is_first = not self._slow_sender.is_watched
        self._sending.hold()
        try:
            for frame in self._framing.feed(data):
                is_first = True
                for event in self._peer.receive(frame):
                    self._handle(event)
        except FramingViolation as violation:
            self._sending.write(parse_error(violation))
            self.close()
            return
        self._sending.flush()
        if not self._framing.has_partial or self._sending.is_full:
            self._slow_sender.end()
        elif is_first:
            self._slow_sender.begin()
        else:
            self._slow_sender.heard(len(data))

    def eof_received(self) -> bool:
        if not self._framing.at_end():
            log.warning("the last message is cut off, and so left out: %s", self._framing.end_of_message)
        if self._tasks and self.eof_grace and not self._is_closing:
            self._is_eof = True
            self._end_timer = self._loop.call_later(self.eof_grace, self._end_after_eof)
        else:
            self.close()
        return True  # the transport is ours to close

    def pause_writing(self) -> None:
        self._sending.pause()
        if not self._reads_always:
            self._slow_sender.end()
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._sending.resume()
        if not self._reads_always and not self._is_closing:
            if self._framing.has_partial:
                self._slow_sender.begin()
            self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._shut()
        self._end_if_idle()

    # -- inside --------------------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        match event:
            case Request():
                self._begin(event)
            case Response():
                self._asking.answered(event)
            case Notification():
                self._take_note(event)
            case Cancel():
                if event.id in self._tasks and event.id not in self._cancelled:
                    self._cancelled.add(event.id)
                    task = self._tasks[event.id]
                    self._cancel(task)
                    # A thread cannot be stopped, and whoever has given up does not want to wait for it.
                    self._loop.call_later(CANCEL_LINGER, self.fail, event.id, task, _cancelled())
            case Invalid():
                if event.answer is not None:
                    self._sending.write(event.answer)
            case Unmatched():
                self._asking.unmatched(event)

    def _begin(self, request: Request) -> None:
        task = begin_task(self._serve(request), self._loop)
        if not task.done():
            self._tasks[request.id] = task
            if self._is_closing:  # by what has run of it
                self._cancel(task)

    async def _serve(self, request: Request) -> None:
        result, error = None, None
        try:
            result = await self._handler.request(self, request)
        except BridgeError as failure:
            error = failure
        except asyncio.CancelledError:
            error = _cancelled()
        except (Exception, SystemExit) as bug:  # nobody may be left waiting
            log.error("a bug: %r failed", request.method, exc_info=bug)
            message = "the server failed in its own code; its log has the details"
            error = BridgeError(Code.INTERNAL, message, reason="INTERNAL")
        if self._lingering and (task := asyncio.current_task()) in self._lingering:
            self._lingering.discard(task)
            self._end_if_idle()
            return
        self._tasks.pop(request.id, None)  # it is not there yet if its task has ended with its first step
        if self._is_closing:
            self._end_if_idle()
        else:
            self._answer(request.id, result, error)

    def _answer(self, id: Id, result: Any, error: BridgeError | None) -> None:
        was_cancelled = id in self._cancelled
        self._cancelled.discard(id)
        if was_cancelled and self._drops_cancelled:
            text = self._peer.drop(id)
        elif error is not None:
            text = self._peer.fail(id, error)
        else:
            try:
                text = self._peer.answer(id, result)
            except BridgeError as unsupported:
                text = self._peer.fail(id, unsupported)
        if text is not None:
            self._sending.write_soon(text, waits=bool(self._tasks))
        if self._is_eof and not self._tasks:
            self.close()

    def _take_note(self, notification: Notification) -> None:
        try:
            self._handler.notification(self, notification)
        except Exception:  # nobody is to be told
            log.exception("a bug: the notification %r failed", notification.method)

    def _give_up_sender(self) -> None:
        message = "the message that has begun was not completed in time; the connection is closed"
        self.refuse(BridgeError(Code.DEADLINE_EXCEEDED, message, reason="MESSAGE_TIMEOUT"))

    def _end_after_eof(self) -> None:
        self._end_timer = None
        self.close()

    def _shut(self) -> None:
        """From here on nothing is heard or said."""
        if self._is_closing:
            return
        self._is_closing = True
        self._slow_sender.end()
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._sending.end()
        self._asking.end()
        for id, task in self._tasks.items():
            if id not in self._cancelled:
                self._cancel(task)
        self._handler.closed(self)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        # Not before it has begun: what is cancelled before its first line never comes to its last.
        self._loop.call_soon(task.cancel)

    def _end_if_idle(self) -> None:
        if self.lost.done() and not self.running and not self.ended.done():
            self.ended.set_result(None)


def _cancelled() -> BridgeError:
    return BridgeError(Code.CANCELLED, "the request was cancelled", reason="CANCELLED")
