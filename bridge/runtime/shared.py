"""Large values beside a message: in sealed memory that travels with it as a descriptor.

A buffer of ``THRESHOLD`` bytes or more does not go through the pipe. All such buffers of one frame stand one after the
other in one memfd, each at a multiple of ``ALIGNMENT``; the frame's ``shared`` is the size of that memory, and its
descriptor comes as SCM_RIGHTS with the first byte of the frame. In the message stands a handle, an ``Any`` with one of
these type URLs, which nothing else gives a meaning::

    shared.bridge/bytes          bytes, bytearray, memoryview
    shared.bridge/Tensor         an array; after the handle stands a bridge.v1.Tensor that has no data
    shared.bridge/ArrowStream    a table: the IPC stream

whose value is offset and size, 8 bytes each, little-endian, and the header, if the type has one. Arguments and results
of type bytes that are shared stand in ``parameters``, ``result`` and ``value``, not in ``binary_parameters``,
``binary_result`` and ``data``. A handle where no memory has come is refused (VALUE_REFUSED).

The sender fills the memory and seals it for good, so nobody can change or cut what the receiver reads; the receiver
checks that, and that no page of it is missing, so that reading can never raise SIGBUS. It has no name and is gone with
the last process that has it, however that ends.

    sender                                        receiver
    with lending(limit) as lent:                  memory = Memory(fd, frame.shared)    # ValueError: not what it must be
        message = pack(...)                       with memory, borrowing(memory):
    if lent.size:                                     value = read(message)
        fd = lent.write()                         # arrays are views, and keep the mapping
    send(Frame(message, lent.size), fd), close(fd)

Facts: memfd_create(2), fcntl(2) "File Sealing", unix(7) SCM_RIGHTS.
"""

from __future__ import annotations

import functools
import mmap
import os
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

try:
    import fcntl
except ImportError:  # Windows, where nothing is shared
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "ALIGNMENT",
    "ANCILLARY_SIZE",
    "ARROW_URL",
    "BYTES_URL",
    "CLOEXEC",
    "HANDLE_SIZE",
    "TENSOR_URL",
    "THRESHOLD",
    "Lent",
    "Memory",
    "available",
    "borrowed",
    "borrowing",
    "descriptors",
    "lending",
    "lent",
    "send",
]

THRESHOLD = 256 * 1024
"""Bytes from which a buffer is shared. Making, passing and mapping memory costs some ten microseconds."""
ALIGNMENT = 64
"""What offsets are multiples of; Arrow recommends it for its buffers."""

BYTES_URL = "shared.bridge/bytes"
TENSOR_URL = "shared.bridge/Tensor"
ARROW_URL = "shared.bridge/ArrowStream"

_HANDLE = struct.Struct("<QQ")
HANDLE_SIZE = _HANDLE.size
"""Bytes of offset and size; the header follows."""

_MAX_WRITE = 1 << 30
_MAP_FIXED = 0x10
"""From mman.h, the same on all architectures; the mmap module does not have it."""

_FD = struct.Struct("i")

ANCILLARY_SIZE = 64
"""Bytes for what ``recvmsg`` gets beside bytes: a descriptor, and some that nobody asked for; the kernel closes those
beyond."""
CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""What ``recvmsg`` is told, so that no child inherits a descriptor."""


class _Here(threading.local):
    """What is so in this thread."""

    lent: Lent | None = None
    memory: Memory | None = None


_here = _Here()


@functools.lru_cache(maxsize=1)
def available() -> bool:
    """Whether this platform has what it takes."""
    try:
        sent = Lent(1)
        handle = sent.lend(b"\1")
        with Memory(sent.write(), sent.size) as memory:
            return bytes(memory.view(handle)) == b"\1"
    except (AttributeError, ImportError, OSError, ValueError):
        return False


# -- sender --------------------------------------------------------------------------------------------------------


class Lent:
    """Buffers that go beside a message. They must not change until they are written. A context manager: ``lending``.

    Args:
        limit: most bytes of all of them.
    """

    __slots__ = ("_before", "limit", "parts", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        """Bytes of the memory they need; 0: there are none. May be more than the limit: who sends looks."""
        self.parts: list[memoryview] = []

    def __enter__(self) -> Lent:  # noqa: PYI034 - Self is of 3.11
        self._before = _here.lent
        _here.lent = self if self.limit > 0 and available() else None
        return self

    def __exit__(self, *_: object) -> None:
        _here.lent = self._before

    def lend(self, *parts: Any) -> bytes:
        """Takes a buffer, given in one or more contiguous parts, and returns its handle."""
        if gap := -self.size % ALIGNMENT:
            self.parts.append(memoryview(bytes(gap)))
        offset = self.size + gap
        size = 0
        for part in parts:
            view = memoryview(part)
            if view.nbytes:
                size += view.nbytes
                self.parts.append(view.cast("B"))
        self.size = offset + size
        return _HANDLE.pack(offset, size)

    def write(self) -> int:
        """Copies the buffers into memory of their own, without the GIL, and seals it.

        Returns a descriptor, which is the caller's to close. Raises ``OSError``.
        """
        fd = os.memfd_create("bridge", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            for part in self.parts:
                done = 0
                while done < len(part):  # the kernel takes at most 2 GiB at once
                    done += os.write(fd, part[done : done + _MAX_WRITE])
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | _seals())
        except BaseException:
            os.close(fd)
            raise
        self.parts.clear()
        return fd


def lending(limit: int) -> Lent:
    """For ``with``: meanwhile, what this thread encodes may leave large buffers to the ``Lent`` it gives.

    Args:
        limit: most bytes of all of them; 0: everything stays in the message, as where memory cannot be shared.
    """
    return Lent(limit)


def lent() -> Lent | None:
    """Where this thread's large buffers go; ``None``: into the message."""
    return _here.lent


# -- receiver ------------------------------------------------------------------------------------------------------


class Memory:
    """Memory that came with a frame. A context manager, which closes it.

    Args:
        fd: its descriptor, which belongs to this object from the first, also if it raises.
        size: what the frame has announced.

    Raises ``ValueError`` if it is not what it must be.
    """

    __slots__ = ("_fd", "_left", "_view", "is_misused", "size")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = self._left = size
        self._view: memoryview | None = None
        self.is_misused = False
        """Whether a handle was not good."""
        try:
            problem = _problem(fd, size)
        except OSError as error:  # no memfd
            problem = f"cannot be looked at: {error.strerror}"
        if problem:
            self.close()
            raise ValueError(f"memory that {problem}")

    def view(self, handle: bytes) -> memoryview:
        """The bytes of a handle, read-only, where they are. Raises ``ValueError`` for one that is not good.

        The view, and all views of it, stay good after ``close``: the last one frees the memory.
        """
        offset, size = self._claim(handle)
        if self._view is None:
            self._view = _map(self._fd, self.size)
        return self._view[offset : offset + size]

    def read(self, handle: bytes) -> bytes:
        """A copy of the bytes of a handle, made without the GIL. Raises ``ValueError`` for one that is not good."""
        offset, size = self._claim(handle)
        parts: list[bytes] = []
        while size:
            part = os.pread(self._fd, min(size, _MAX_WRITE), offset)
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _claim(self, handle: bytes) -> tuple[int, int]:
        offset, size = _HANDLE.unpack_from(handle) if len(handle) >= HANDLE_SIZE else (0, self.size + 1)
        self._left -= size
        if offset % ALIGNMENT or offset + size > self.size or self._left < 0:
            # The last: a short message could ask for the same gigabytes again and again.
            self.is_misused = True
            raise ValueError("a handle points outside of the memory, or to what another one has")
        return offset, size

    def close(self) -> None:
        """Closes the descriptor. Nothing can be taken after that."""
        self._view = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    __del__ = close

    def __enter__(self) -> Memory:  # noqa: PYI034 - Self is of 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def borrowing(memory: Memory | None) -> Iterator[None]:
    """While it lasts, handles in what this thread decodes are of this memory."""
    before = borrowed()
    _here.memory = memory
    try:
        yield
    finally:
        _here.memory = before


def borrowed() -> Memory | None:
    """The memory that this thread's handles are of; ``None``: there is none."""
    return _here.memory


def _seals() -> int:
    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def _problem(fd: int, size: int) -> str:
    """What is wrong with memory from another process; empty: nothing."""
    if ~fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _seals():
        return "is not sealed"
    stat = os.fstat(fd)
    if stat.st_size != size:
        return f"has {stat.st_size} bytes, and {size} were announced"
    if stat.st_blocks * 512 < size:
        return "has holes"  # filled when they are read, and SIGBUS if there is no memory to fill them
    return ""


@functools.lru_cache(maxsize=1)
def _libc_mmap() -> Any:
    import ctypes  # takes some milliseconds

    libc_mmap = ctypes.CDLL(None, use_errno=True).mmap
    number = ctypes.c_int
    libc_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, number, number, number, ctypes.c_long)
    libc_mmap.restype = ctypes.c_void_p
    return libc_mmap


def _map(fd: int, size: int) -> memoryview:
    """Maps memory for reading; the mapping goes with the last view of it.

    ``mmap.mmap(fd)`` would keep a descriptor as long (before Python 3.13). So it only finds a place, as anonymous
    memory, and gives it back in the end; the memory is mapped over it.
    """
    import ctypes

    place = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(place))
    if _libc_mmap()(address, size, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, fd, 0) != address:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return memoryview(place).toreadonly()


# -- the socket ----------------------------------------------------------------------------------------------------


def send(sock: socket.socket, buffers: Sequence[Any], fd: int = -1) -> int:
    """Sends buffers and returns how many bytes went.

    Args:
        sock: a Unix stream socket.
        buffers: what to send, one after the other.
        fd: a descriptor that goes with the first byte; stays the caller's. -1: none does.
    """
    return sock.sendmsg(buffers, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _FD.pack(fd))] if fd >= 0 else ())


def descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that have come by ``recvmsg(..., ANCILLARY_SIZE, CLOEXEC)``, in order."""
    found: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found += [fd for (fd,) in _FD.iter_unpack(data[: len(data) // _FD.size * _FD.size])]
    return found
