"""Two connections made one: what comes on the one goes out on the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, cast

__all__ = ["Splice", "SpliceEnd"]

_READ_SIZE: Final = 128 * 1024
"""Bytes read at a time. Twice as many cost more for each byte."""
_FLUSH_TIMEOUT: Final = 10.0
"""Seconds in which one connection has to take what is left for it when the other has closed."""


class Splice:
    """Bytes between two connections, both ways.

    Neither is read before both are there, nor faster than the other takes it. When one has sent its last byte, the
    other is told so and can still answer, unless one of them is TLS, which has no half-closed connections here. When
    one closes, so does the other, and when one breaks, the other is cut off.
    """

    def __init__(self) -> None:
        self.near, self.far = SpliceEnd(), SpliceEnd()
        """Their protocols."""

    async def carry(
        self, connect_near: Callable[[], Awaitable[object]], connect_far: Callable[[], Awaitable[object]]
    ) -> None:
        """Returns when both connections are closed. Cancelled, it closes them at once, and waits for that.

        Args:
            connect_near: returns when ``near`` is connected.
            connect_far: the same for ``far``; called after that.

        Raises what these two raise, or ``OSError`` if one of the connections has broken.
        """
        ends = (self.near, self.far)
        over = [end.lost for end in ends]
        try:
            await connect_near()
            await connect_far()
            self.near.join(self.far)
            self.far.join(self.near)
            await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(over, timeout=_FLUSH_TIMEOUT)
        finally:
            for end in ends:
                end.abort()
            await asyncio.wait(over)
        if error := self.near.error or self.far.error:
            raise error


class SpliceEnd(asyncio.BufferedProtocol):
    """The protocol of one of the two connections. Made by ``Splice``."""

    _other: SpliceEnd
    _to: asyncio.Transport
    """The other connection."""
    _buffer: memoryview

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is closed, or will never be made."""
        self.error: Exception | None = None
        """Why it has broken, if it has."""
        self._joined = self._ended = False

    def join(self, other: SpliceEnd) -> None:
        """What comes goes to the other connection from now on. Both are there, or have been."""
        assert self.transport is not None  # noqa: S101 - as its docstring says
        assert other.transport is not None  # noqa: S101
        self._other, self._to, self._joined = other, other.transport, True
        self._buffer = memoryview(bytearray(_READ_SIZE))
        if self.lost.done():
            self._tell_loss()
        else:
            self.transport.resume_reading()

    def abort(self) -> None:
        """Closes the connection at once, if there is one."""
        if self.lost.done():
            return
        if self.transport is None:
            self.lost.set_result(None)
        else:
            self.transport.abort()

    def pause(self) -> None:
        """The other connection takes no more for the moment."""
        if self.transport is not None:
            self.transport.pause_reading()

    def resume(self) -> None:
        """It does again."""
        if self.transport is not None:
            self.transport.resume_reading()

    # What the connection calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()
        if self.lost.done():  # it was given up while it was being made
            self.transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._to.write(self._buffer[:nbytes])
        if self._to.get_write_buffer_size():
            # It may keep this very memory until it is sent; transports of sockets do, from Python 3.12 on.
            self._buffer = memoryview(bytearray(_READ_SIZE))

    def pause_writing(self) -> None:
        self._other.pause()

    def resume_writing(self) -> None:
        self._other.resume()

    def eof_received(self) -> bool:
        self._ended = True
        if self._other._ended or not self._to.can_write_eof():
            self._to.close()
            return False
        self._to.write_eof()
        return self.transport is not None and self.transport.can_write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        if not self.lost.done():
            self.lost.set_result(None)
        if self._joined:
            self._tell_loss()

    def _tell_loss(self) -> None:
        if self.error is None:
            self._to.close()
        else:
            self._other.abort()
