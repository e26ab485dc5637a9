"""A yamux session on a transport of asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from bridge.errors import BridgeError, Code
from bridge.yamux.config import DEFAULT_CONFIG, YamuxConfig
from bridge.yamux.events import (
    DataReceived,
    Event,
    PongReceived,
    StreamEnded,
    StreamOpened,
    StreamReset,
    WindowOpened,
)
from bridge.yamux.failures import SessionFailed
from bridge.yamux.peer import Peer
from bridge.yamux.stream_transport import StreamTransport

__all__ = ["Session"]

_READ_SIZE: Final = 256 * 1024
"""Bytes read at a time."""
_BATCH: Final = 128 * 1024
"""Bytes of frames that go out in one write."""

_P = TypeVar("_P", bound=asyncio.BaseProtocol)


class Session(asyncio.BufferedProtocol):
    """Many streams over one connection: the protocol of its transport.

    ``await loop.create_unix_connection(lambda: Session(client=True), path)``; or ``transport.set_protocol(session)``
    and ``session.connection_made(transport)`` on one that is connected. It lives in one event loop.

    Args:
        client: which of the two sides this is. Of go-plugin's, the host is the client.
        config: limits and times.
        opened: called with each stream of the other side when it is opened, in that order, before anything comes in it
            or it can be accepted.
    """

    peer: Peer
    _transport: asyncio.Transport
    _loop: asyncio.AbstractEventLoop

    def __init__(
        self,
        *,
        client: bool,
        config: YamuxConfig = DEFAULT_CONFIG,
        opened: Callable[[StreamTransport], None] | None = None,
    ) -> None:
        self._client, self._config, self._opened = client, config, opened
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self._streams: dict[int, StreamTransport] = {}
        self._incoming: dict[int, StreamTransport] = {}
        """Streams of the other side that nobody has accepted."""
        self._arrived, self._room, self._closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._sending: deque[StreamTransport] = deque()
        """Streams that may have something to send, each once; they take turns."""
        self._paused = self._busy = self._ended = False
        self._pings: dict[int, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._abort_timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()

    @property
    def failure(self) -> SessionFailed | None:
        """Why the session is over, or ``None``."""
        return self.peer.failure

    @property
    def stream_count(self) -> int:
        """Streams that are not over, both ways; also those that this side has closed and the other has not."""
        return self.peer.stream_count

    async def open_stream(self, protocol_factory: Callable[[], _P]) -> tuple[StreamTransport, _P]:
        """Opens a stream, in which can be written at once; waits while too many wait to be accepted.

        Raises ``SessionFailed``, or as ``Peer.open_stream``: ``GONE_AWAY``, ``STREAMS_EXHAUSTED``.
        """
        while not self.peer.can_open:
            self._room.clear()
            await self._room.wait()
        stream = self._new_stream(self.peer.open_stream())
        self._settle()
        return stream, self._attach(stream, protocol_factory)

    async def next_stream(self) -> StreamTransport:
        """Waits for a stream of the other side. ``accept_stream``, called at once, then accepts that one without
        waiting. Raises ``SessionFailed``."""
        while not self._incoming:
            self.peer.check()
            self._arrived.clear()
            await self._arrived.wait()
        return next(iter(self._incoming.values()))

    async def accept_stream(self, protocol_factory: Callable[[], _P]) -> tuple[StreamTransport, _P]:
        """Waits for a stream of the other side, and accepts it. Raises ``SessionFailed``."""
        stream = self._incoming.pop((await self.next_stream()).stream_id)
        self.peer.accept(stream.stream_id)
        self._settle()
        return stream, self._attach(stream, protocol_factory)

    async def ping(self, timeout: float | None = None) -> float:
        """Seconds until the other side has answered. Raises ``SessionFailed``, or DEADLINE_EXCEEDED ``PING_TIMEOUT``.

        Args:
            timeout: seconds to wait; ``ping_timeout`` of the configuration, if not given.
        """
        self.peer.check()
        value, began = self.peer.ping(), self._loop.time()
        answer = self._pings[value] = self._loop.create_future()
        self._settle()
        try:
            async with asyncio.timeout(self._config.ping_timeout if timeout is None else timeout):
                await answer
        except TimeoutError:
            message = "yamux: a ping was not answered in time; check that the other side still runs"
            raise BridgeError(Code.DEADLINE_EXCEEDED, message, reason="PING_TIMEOUT") from None
        finally:
            del self._pings[value]
        return self._loop.time() - began

    def go_away(self) -> None:
        """Takes no more streams, and tells the other side. Those that are open, or wait to be accepted, go on."""
        self.peer.go_away()
        self._settle()

    def close(self) -> None:
        """Ends the session at once, with all of its streams and what they have not sent. Close those before."""
        self.peer.close()
        self._end()

    async def wait_closed(self) -> None:
        """Returns when the connection is closed."""
        await self._closed.wait()

    # What streams call

    def send_soon(self, stream: StreamTransport) -> None:
        """Has a stream send what it can, now or when the connection takes it."""
        if not stream.is_sending:
            stream.is_sending = True
            self._sending.append(stream)
        self._settle()

    def flush(self) -> None:
        """Sends what is to be sent, unless that is about to happen anyway."""
        self._settle()

    def forget(self, stream: StreamTransport) -> None:
        """A stream that needs to hear of nothing any more."""
        self._streams.pop(stream.stream_id, None)
        self._incoming.pop(stream.stream_id, None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Facts about the connection."""
        return self._transport.get_extra_info(name, default)

    # What the connection calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self.peer = Peer(client=self._client, clock=self._loop.time, config=self._config)
        self._settle()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._busy = True
        try:
            for event in self.peer.receive(self._buffer[:nbytes]):
                self._handle(event)
        except SessionFailed:
            self._end()
        finally:
            self._busy = False
        self._settle()

    def eof_received(self) -> None:
        """Nothing more comes, so nothing can go on: the transport closes itself."""

    def connection_lost(self, error: Exception | None) -> None:
        self.peer.at_end()
        self._end()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._closed.set()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._settle()

    # Its own

    def _new_stream(self, stream_id: int) -> StreamTransport:
        stream = self._streams[stream_id] = StreamTransport(self, stream_id)
        return stream

    def _attach(self, stream: StreamTransport, protocol_factory: Callable[[], _P]) -> _P:
        try:
            protocol = protocol_factory()
            stream.attach(protocol)
        except BaseException:
            stream.abort()
            raise
        return protocol

    def _handle(self, event: Event) -> None:
        # A stream that is not there was closed by this side a moment ago.
        match event:
            case DataReceived(stream_id, data) if stream := self._streams.get(stream_id):
                stream.data_came(data)
            case WindowOpened(stream_id) if stream := self._streams.get(stream_id):
                self.send_soon(stream)
            case StreamEnded(stream_id) if stream := self._streams.get(stream_id):
                stream.ended()
            case StreamReset(stream_id) if stream := self._streams.get(stream_id):
                stream.reset()
            case StreamOpened(stream_id):
                stream = self._incoming[stream_id] = self._new_stream(stream_id)
                if self._opened is not None:
                    self._opened(stream)
                self._arrived.set()
            case PongReceived(value) if (answer := self._pings.get(value)) and not answer.done():
                answer.set_result(None)
            case _:
                pass  # whether streams can be opened is asked after each read

    def _settle(self) -> None:
        """Sends what the connection takes, and looks what there is to wait for."""
        if self._busy or self.peer.failure is not None:
            return
        self._busy = True
        try:
            while self._sending and self._can_write():
                stream = self._sending.popleft()
                stream.is_sending = stream.send_frame()
                if stream.is_sending:
                    self._sending.append(stream)
                if self.peer.unsent >= _BATCH:
                    self._transport.write(self.peer.take())
            if self.peer.unsent and self._can_write():
                self._transport.write(self.peer.take())
        finally:
            self._busy = False
        if self.peer.can_open:
            self._room.set()
        self._wake_at(self.peer.deadline)

    def _can_write(self) -> bool:
        """Whether the connection takes more. One that has broken says so a turn of the loop later."""
        return not self._paused and not self._transport.is_closing()

    def _wake_at(self, deadline: float | None) -> None:
        if deadline is None or (self._timer is not None and self._timer.when() <= deadline):
            return  # a timer that is too early finds nothing to do
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            self.peer.tick()
        except SessionFailed:
            self._end()
        self._settle()

    def _end(self) -> None:
        """The session is over: everybody is told, once, and the connection is closed."""
        failure = self.peer.failure
        if failure is None or self._ended:
            return
        self._ended = True
        if self.peer.unsent and not self._transport.is_closing():
            self._transport.write(self.peer.take())  # with the last go-away
        self._transport.close()
        self._abort_timer = self._loop.call_later(self._config.flush_timeout, self._transport.abort)
        if self._timer is not None:
            self._timer.cancel()
        self._incoming.clear()
        self._sending.clear()
        for stream in list(self._streams.values()):
            stream.session_failed(failure)
        for answer in self._pings.values():
            if not answer.done():
                answer.set_exception(failure)
        self._arrived.set()
        self._room.set()
