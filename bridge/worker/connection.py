"""One end of the pipe between a server and a worker, on an event loop.

It reads and writes the socket itself: the transports of asyncio cannot pass descriptors.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from mmap import MAP_PRIVATE, mmap
from typing import Any

from bridge.errors import BridgeError
from bridge.runtime import shared
from bridge.worker.frames import Call, Chunk, FrameReader, FromServer, FromWorker, Result, bad_frame, encode

__all__ = ["Connection"]

READ_SIZE = 256 * 1024
"""Bytes that are read at once."""
HIGH_WATER, LOW_WATER = 64 * 1024, 16 * 1024
"""Bytes that wait to be sent when there is no more room, and when there is again."""
TOGETHER = 16 * 1024
"""Bytes of the longest frame that is put together with those before it when they wait."""

_WITH_MEMORY = frozenset({Call, Chunk, Result})


class Connection:
    """Sends and receives messages.

    Args:
        sock: connected; belongs to the connection.
        kinds: what comes in: ``FromServer`` or ``FromWorker``.
        limit: bytes of the longest frame.
        on_message: called with each message; ``claim`` then gives the memory that came with it.
        on_lost: called once, when nothing will come any more; with the error, if it was one.
        max_shared: most bytes of memory that come with a frame.
    """

    def __init__(
        self,
        sock: socket.socket,
        kinds: object,
        limit: int,
        on_message: Callable[[Any], None],
        on_lost: Callable[[BaseException | None], None],
        max_shared: int = 2**63,
    ) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._frames = FrameReader(kinds, limit)
        self._on_message = on_message
        self._on_lost = on_lost
        self._max_shared = max_shared
        self._into = [memoryview(mmap(-1, READ_SIZE, MAP_PRIVATE))]  # of which nothing is there that was never needed
        self._descriptors: deque[int] = deque()
        """Those that came, and whose frames are not complete."""
        self._memory: shared.Memory | None = None
        self._outbox: deque[tuple[bytearray | memoryview, int]] = deque()
        """What waits to be sent, each with the descriptor that goes with its first byte, or -1."""
        self._waiting = 0
        """Bytes of it."""
        self._room = asyncio.Event()
        self._room.set()
        self._is_closing = self._is_over = False

    @classmethod
    async def open(cls, sock: socket.socket, *args: Any) -> Connection:
        """A connection on a connected socket, which then belongs to it."""
        sock.setblocking(False)
        connection = cls(sock, *args)
        connection._loop.add_reader(sock, connection._read)
        return connection

    def send(self, message: FromServer | FromWorker, fd: int = -1) -> None:
        """Sends a message; does nothing if the other side is gone, which ``on_lost`` tells.

        Args:
            message: what to send.
            fd: a descriptor to go with it, which then belongs to the connection; -1: none does.
        """
        if self._is_closing:
            _close(fd)
        else:
            self.write(encode(message), fd)

    def send_later(self, message: FromServer | FromWorker, fd: int = -1) -> None:
        """As ``send``, but together with what else is sent in this turn of the loop: to be woken costs the other side
        more than most messages."""
        if self._is_closing:
            _close(fd)
            return
        if not self._outbox:
            self._loop.call_soon(self._send_waiting)
        self._wait_with(memoryview(encode(message)), fd)

    @property
    def is_open(self) -> bool:
        """Whether what is sent may reach the other side; not if it is gone, as far as that has shown."""
        return not self._is_closing

    @property
    def has_room(self) -> bool:
        """Whether what is sent goes on its way at once, more or less."""
        return self._room.is_set()

    async def drain(self) -> None:
        """Returns when there is room for more, or nobody to take it."""
        await self._room.wait()

    def claim(self) -> shared.Memory | None:
        """The memory that came with the message that is being delivered, which then belongs to the caller."""
        memory, self._memory = self._memory, None
        return memory

    def close(self) -> None:
        """Ends the connection when what was sent is on its way."""
        if not self._is_closing:
            self._is_closing = True
            self._loop.remove_reader(self._sock)
            if not self._outbox:
                self._end(None)

    # -- out -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes, fd: int = -1) -> None:
        """Sends bytes, which should be a frame."""
        if self._outbox:
            self._wait_with(memoryview(data), fd)
            return
        try:
            sent = self._sock.send(data) if fd < 0 else shared.send(self._sock, [data], fd)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            _close(fd)
            self._break(error)
            return
        if sent and fd >= 0:
            os.close(fd)
            fd = -1
        if sent < len(data):
            self._loop.add_writer(self._sock, self._write)
            self._wait_with(memoryview(data)[sent:], fd)

    def _wait_with(self, data: memoryview, fd: int) -> None:
        if fd >= 0 or len(data) > TOGETHER:
            self._outbox.append((data, fd))
        else:
            last = self._outbox[-1][0] if self._outbox else None
            if isinstance(last, bytearray):
                last += data
            else:
                self._outbox.append((bytearray(data), -1))
        self._waiting += len(data)
        if self._waiting > HIGH_WATER:
            self._room.clear()

    def _send_waiting(self) -> None:
        if self._outbox:
            self._write()
        if self._outbox:
            self._loop.add_writer(self._sock, self._write)

    def _write(self) -> None:
        """Sends what waits, as far as it goes."""
        data, fd = self._outbox.popleft()
        try:
            sent = self._sock.send(data) if fd < 0 else shared.send(self._sock, [data], fd)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            _close(fd)
            self._break(error)
            return
        if sent:
            _close(fd)
            self._waiting -= sent
            fd = -1
        if sent < len(data):
            self._outbox.appendleft((data[sent:], fd))
        if self._waiting <= LOW_WATER:
            self._room.set()
        if not self._outbox:
            self._loop.remove_writer(self._sock)
            if self._is_closing:
                self._end(None)

    def _break(self, error: OSError) -> None:
        """Nothing can be sent any more: the other side is gone. What it said before is still to be read."""
        self._drop_outbox()
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._read_out, error)
        else:
            self._end(error)

    def _drop_outbox(self) -> None:
        self._loop.remove_writer(self._sock)
        while self._outbox:
            _close(self._outbox.popleft()[1])
        self._waiting = 0
        self._room.set()

    # -- in ------------------------------------------------------------------------------------------------------

    def _read_out(self, error: OSError) -> None:
        while self._read():
            pass
        self._end(error)

    def _read(self) -> bool:
        """Takes what has come; whether there was something, and may be more."""
        if self._is_over:
            return False
        try:
            count, ancillary, _, _ = self._sock.recvmsg_into(self._into, shared.ANCILLARY_SIZE, shared.CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._end(error)
            return False
        if ancillary:
            self._descriptors += shared.descriptors(ancillary)
        if not count:
            self._end(None)
            return False
        try:
            for message in self._frames.feed(self._into[0][:count]):
                self._deliver(message)
            if self._descriptors and (len(self._descriptors) > 1 or not self._frames.is_inside):
                raise bad_frame("a descriptor that no frame has announced")
        except BridgeError as error:
            self._end(error)
            return False
        except Exception as error:
            self._end(error)
            raise
        return True

    def _deliver(self, message: Any) -> None:
        if self._is_over:
            return
        if type(message) not in _WITH_MEMORY or not message.shared:
            self._on_message(message)
            return
        self._memory = self._take(message.shared)
        try:
            self._on_message(message)
        finally:
            self._memory = None  # what nobody has claimed is closed with it

    def _take(self, size: int) -> shared.Memory:
        if not self._descriptors:
            raise bad_frame("a frame without the memory it announces")
        fd = self._descriptors.popleft()
        if size > self._max_shared:
            os.close(fd)
            raise bad_frame(f"memory of {size} bytes, and {self._max_shared} are allowed")
        try:
            return shared.Memory(fd, size)
        except ValueError as error:
            raise bad_frame(str(error)) from None

    def _end(self, error: BaseException | None) -> None:
        if self._is_over:
            return
        self._is_closing = self._is_over = True
        self._loop.remove_reader(self._sock)
        self._drop_outbox()
        while self._descriptors:
            _close(self._descriptors.popleft())
        self._sock.close()
        self._loop.call_soon(self._on_lost, error)


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
