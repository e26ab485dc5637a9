"""A stream of a session as a transport of asyncio."""

from __future__ import annotations

import asyncio
import typing
from collections import deque
from typing import Any, Final

from bridge.yamux.peer import Peer
from bridge.yamux.write_queue import WriteQueue

__all__ = ["StreamOwner", "StreamTransport"]

_FRAME: Final = 64 * 1024
"""Bytes of data in one frame, so that streams take turns."""


class StreamOwner(typing.Protocol):
    """What a stream needs of its session."""

    peer: Peer

    def send_soon(self, stream: StreamTransport) -> None:
        """Calls ``send_frame`` when the connection takes more."""

    def flush(self) -> None:
        """Sends what the peer has to send."""

    def forget(self, stream: StreamTransport) -> None:
        """There is nothing more to tell this stream."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of the connection."""


class StreamTransport(asyncio.Transport):
    """One stream. ``Session`` makes them; ``loop.start_tls`` takes them.

    As with sockets, ``close`` sends what was written and then no more is received, and ``write_eof`` closes one
    direction. ``abort`` resets the stream. Its protocol's ``connection_lost`` gets ``ConnectionResetError`` when the
    other side has reset the stream, and ``ConnectionAbortedError``, with the failure as its cause, when the session is
    over; then what had come before is delivered first, also to who has paused.
    """

    _start_tls_compatible = True  # asyncio's own mark for transports that TLS can run on

    def __init__(self, owner: StreamOwner, stream_id: int) -> None:
        super().__init__()
        self._owner, self._stream_id = owner, stream_id
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()
        self._queue = WriteQueue(self._pause_writer, self._resume_writer)
        self._received: deque[bytes] = deque()
        self._reading = False
        self._ended = False
        """Whether the other side sends nothing more, of which the protocol was not told."""
        self._failure: Exception | None = None
        """Why nothing more comes or goes, of which the protocol was not told."""
        self._closing = self._lost = self._eof_written = False
        self._close_timer: asyncio.TimerHandle | None = None
        self.is_sending = False
        """Whether its turn to send is to come; kept by its owner."""

    @property
    def stream_id(self) -> int:
        """Its number, odd when the client has opened it."""
        return self._stream_id

    # What a protocol calls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Facts about the connection of the session, such as ``peername``."""
        return self._owner.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._deliver)

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self._queue.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._queue.limits

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._queue.set_limits(high, low)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._eof_written:
            raise RuntimeError("write() after write_eof()")
        if data and not self._closing and self._failure is None:
            self._queue.put(bytes(data))  # of bytes, that is no copy
            self._owner.send_soon(self)

    def write_eof(self) -> None:
        if not self._eof_written and not self._closing:
            self._eof_written = True
            self._finish_if_sent()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._received.clear()
            timeout = self._owner.peer.config.close_timeout
            if self._queue.size and timeout:
                self._close_timer = self._loop.call_later(timeout, self.abort)
            self._finish_if_sent()

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, error: Exception | None) -> None:
        # asyncio's TLS calls this by name.
        if not self._lost:
            self._owner.peer.reset(self._stream_id)
            self._owner.flush()
            self._lose(error)

    # What the session calls

    def attach(self, protocol: asyncio.BaseProtocol) -> None:
        """Gives it its protocol, to which it delivers from the next turn of the loop on."""
        self._protocol = protocol
        self._reading = True
        protocol.connection_made(self)
        self._loop.call_soon(self._deliver)

    def send_frame(self) -> bool:
        """Sends one frame, if there is something to send and the other side takes it. Returns whether there is more."""
        peer, queue = self._owner.peer, self._queue
        limit = min(peer.window(self._stream_id), _FRAME)
        if not limit or not queue.size:
            return False
        peer.send(self._stream_id, queue.take(limit))
        queue.resume_if_low()
        if not queue.size:
            self._finish_if_sent()
        return queue.size > 0

    def data_came(self, data: bytes) -> None:
        """The other side has sent data."""
        if not self._closing:
            self._received.append(data)
            self._deliver()

    def ended(self) -> None:
        """The other side sends no more."""
        self._ended = True
        self._deliver()

    def reset(self) -> None:
        """The other side has reset the stream."""
        self._lose(ConnectionResetError("yamux: the other side has reset the stream"))

    def session_failed(self, failure: Exception) -> None:
        """The session is over."""
        self._failure = ConnectionAbortedError(str(failure))
        self._failure.__cause__ = failure
        self._queue.clear()
        if self._closing:
            self._lose(self._failure)
        else:
            self._deliver()

    # To the protocol

    def _deliver(self) -> None:
        while self._received and self.is_reading():
            data = self._received.popleft()
            self._call(self._give, data)
            self._owner.peer.consumed(self._stream_id, len(data))
        if not self._received and self.is_reading():
            if self._ended:
                self._ended = False
                self._call(self._give_end)
            if self._failure is not None:
                self._lose(self._failure)
        self._owner.flush()

    def _give(self, data: bytes) -> None:
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            typing.cast("asyncio.Protocol", protocol).data_received(data)
            return
        rest = memoryview(data)
        while rest:
            buffer = memoryview(protocol.get_buffer(len(rest))).cast("B")
            size = min(len(buffer), len(rest))
            buffer[:size] = rest[:size]
            protocol.buffer_updated(size)
            rest = rest[size:]

    def _give_end(self) -> None:
        if not typing.cast("asyncio.Protocol", self._protocol).eof_received():
            self.close()

    def _call(self, function: typing.Callable[..., None], *arguments: Any) -> None:
        """Calls the protocol, whose error ends this stream and no other."""
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - told to the loop
            message = "the protocol of a yamux stream has failed"
            self._loop.call_exception_handler(
                {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
            )
            self._force_close(error)

    def _pause_writer(self) -> None:
        self._call(self._protocol.pause_writing)

    def _resume_writer(self) -> None:
        self._call(self._protocol.resume_writing)

    # To its end

    def _finish_if_sent(self) -> None:
        if self._queue.size or self._lost:
            return
        if self._closing:
            self._owner.peer.release(self._stream_id)
            self._lose(None)
        elif self._eof_written:
            self._owner.peer.finish(self._stream_id)
        self._owner.flush()

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._closing = self._lost = True
        self._received.clear()
        self._queue.clear()
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._owner.forget(self)
        self._loop.call_soon(self._protocol.connection_lost, error)
