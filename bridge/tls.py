"""TLS over any transport of asyncio, as a transport.

asyncio has this in ``loop.start_tls``. What that does not do, and this does: it tells the other side why a handshake
has failed (the alert that says so is sent); it calls ``connection_made`` over every kind of transport, before data
comes, so that a protocol can pause reading; and it has no buffers beside the one of the transport below.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import cached_property
from typing import Any, Final, cast

from bridge.tls_failures import tls_broken_off, tls_failure, tls_timeout, tls_unheard

__all__ = ["TlsTransport"]

_READ_SIZE: Final = 128 * 1024
"""Bytes read at a time. Twice as many cost more for each byte."""
_FLUSH_TIMEOUT: Final = 1.0
"""Seconds in which the other side has to take the alert that says why it is refused."""


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The protocol of the transport below, and the transport of the protocol above.

    ``connection_made`` of the protocol above is called when the handshake has succeeded; if it fails, nothing of it
    is. There is no half-closed TLS here: when the other side has ended, the connection closes.

    A client of TLS 1.3 hears only after its handshake whether its certificate is trusted: then ``connection_lost`` gets
    OpenSSL's error, or ``tls_unheard`` where the connection was gone before that could be read.

    Args:
        protocol: above.
        context: of the standard library.
        server_side: which of the two sides this is.
        server_hostname: what the certificate of the other side has to be for; of clients only.
    """

    def __init__(
        self,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        super().__init__()
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._received, self._unsent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._received, self._unsent, server_side=server_side, server_hostname=server_hostname
        )
        self._below: asyncio.Transport | None = None
        self._settled, self._lost = asyncio.Event(), asyncio.Event()
        self._error: Exception | None = None
        self._secured = self._closing = self._paused = self._ended = self._touched = self._heard = False

    async def handshake(self, timeout: float) -> None:
        """Returns when both sides trust each other; to be called once, when the transport below has been given to it or
        is about to be. When it raises, also for being cancelled, the transport below is closed.

        Args:
            timeout: seconds.

        Raises:
            BridgeError: as ``tls_failure`` makes them; DEADLINE_EXCEEDED, reason ``TLS_TIMEOUT``.
            ConnectionError: a client has gone without a word, as one does that only looks whether somebody listens.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._settled.wait()
        except BaseException as error:
            self.abort()
            await self._closed_below()
            if isinstance(error, TimeoutError):
                raise tls_timeout(timeout) from None
            raise
        if not self._secured:
            await self._closed_below()
            if isinstance(self._error, ssl.SSLError):
                raise tls_failure(self._error) from self._error
            if self._touched or not self._tls.server_side:
                raise tls_broken_off() from self._error
            raise self._error or ConnectionResetError("the connection was closed before anything was said on it")

    async def _closed_below(self) -> None:
        """Returns when the transport below, which is closing, is closed."""
        if self._below is None:
            return
        timer = self._loop.call_later(_FLUSH_TIMEOUT, self._below.abort)
        try:
            await self._lost.wait()
        finally:
            timer.cancel()

    # What the protocol above calls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Facts about the connection: ``ssl_object``, ``peercert``, and those of the transport below."""
        if name == "ssl_object":
            return self._tls
        if name == "peercert":
            return self._tls.getpeercert()
        return default if self._below is None else self._below.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        if not self._paused and self._below is not None:
            self._paused = True
            self._below.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and self._below is not None:
            self._paused = False
            self._below.resume_reading()
            self._loop.call_soon(self._deliver)  # what was left when it paused

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0 if self._below is None else self._below.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (0, 0) if self._below is None else self._below.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._below is not None:
            self._below.set_write_buffer_limits(high, low)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._closing or not data:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self._fail(error)
        else:
            self._flush()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # it has written our part; the other side's is not waited for
        self._flush()
        self._close_below()

    def abort(self) -> None:
        self._closing = True
        if self._below is not None:
            self._below.abort()

    # What the transport below calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast("asyncio.Transport", transport)
        if self._closing:
            self._below.abort()
        else:
            self._advance()

    @cached_property
    def _buffer(self) -> memoryview:
        """Made when something comes: a peer that says nothing costs no memory."""
        return memoryview(bytearray(_READ_SIZE))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._touched = True
        self._received.write(self._buffer[:nbytes])
        if self._secured:
            self._deliver()
        else:
            self._advance()

    def eof_received(self) -> bool:
        """The other side has gone without saying goodbye: what it has sent is delivered, then that it has ended."""
        self._received.write_eof()
        if not self._secured:
            return False
        self._deliver()
        return not self._ended

    def pause_writing(self) -> None:
        if self._secured:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._secured:
            self._protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closing:
            self._note_silence()
        self._closing = True
        if not self._ended:  # else it is our goodbye that did not arrive
            self._error = self._error or error
        self._below = None  # transports of sockets do not take it that they are aborted when they are closed
        self._lost.set()
        if self._secured:
            self._protocol.connection_lost(self._error)
        else:
            self._settled.set()

    # Its own

    def _advance(self) -> None:
        """Goes on with the handshake."""
        if self._closing:
            return
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._fail(error)
        else:
            self._flush()
            self._secured = True
            self._protocol.connection_made(self)
            self._settled.set()
            self._deliver()

    def _deliver(self) -> None:
        """Gives the protocol above what has come, as long as it reads."""
        while not (self._paused or self._closing):
            size = self._give()
            if self._ended:
                self._end()
            elif not size or not (self._received.pending or self._tls.pending()):
                break
        self._flush()  # what TLS has to say by itself

    def _give(self) -> int:
        """One buffer full. Returns how much that is."""
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            if size := self._read(memoryview(protocol.get_buffer(-1))):
                protocol.buffer_updated(size)
        elif size := self._read(self._buffer):  # what was in it is in TLS' own
            cast("asyncio.Protocol", protocol).data_received(bytes(self._buffer[:size]))
        return size

    def _read(self, buffer: memoryview) -> int:
        size = 0
        try:
            # Asked before, as it is cheaper than an exception.
            while size < len(buffer) and (self._received.pending or self._tls.pending()):
                count = cast("int", self._tls.read(len(buffer) - size, buffer[size:]))
                self._ended = not count
                if self._ended:
                    return size
                size += count
                self._heard = True
            self._ended = self._received.eof and not self._tls.pending()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:
            self._ended = True
        except ssl.SSLError as error:
            self._error, self._ended = error, True
        return size

    def _end(self) -> None:
        """The other side sends no more."""
        self._note_silence()
        if self._error is not None:
            self._fail(self._error)
        elif not self._closing:
            cast("asyncio.Protocol", self._protocol).eof_received()
            self.close()

    def _note_silence(self) -> None:
        """A server that goes without having said anything has most likely not let us in."""
        if self._secured and not (self._heard or self._error or self._tls.server_side):
            self._error = tls_unheard()

    def _flush(self) -> None:
        if self._unsent.pending and self._below is not None:
            self._below.write(self._unsent.read())

    def _close_below(self) -> None:
        if self._below is not None:
            self._below.close()

    def _fail(self, error: Exception) -> None:
        """Closes, with the alert that says why."""
        self._error, self._closing = self._error or error, True
        self._flush()
        self._close_below()
        self._settled.set()
