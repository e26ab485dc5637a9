"""Printing to a stderr that perhaps nobody reads."""

from __future__ import annotations

import io
import os
import select
import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["lossy_stream"]

PATIENCE = 0.2
"""Seconds that a write waits for a reader, unless the one before it has waited in vain."""
_ROOM = select.PIPE_BUF
"""Bytes that can be written to what is writable without waiting (pipe(7))."""


def lossy_stream(fd: int) -> TextIO:
    """A text stream, UTF-8 whatever the locale is, that loses what nobody reads rather than wait for ever.

    How much was lost is told where it is missing, if somebody reads again.

    Args:
        fd: stays open, and as it is; what others write to it waits as ever.
    """
    return io.TextIOWrapper(io.BufferedWriter(_Lossy(fd)), "utf-8", "backslashreplace", line_buffering=True)


class _Lossy(io.RawIOBase):
    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lock = threading.Lock()
        self._is_stuck = False
        self._lost = 0

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, data: ReadableBuffer) -> int:
        view = memoryview(data).cast("B")
        with self._lock:
            for begin in range(0, len(view), _ROOM):
                self._put(view[begin : begin + _ROOM])
        return len(view)

    def _put(self, part: memoryview) -> None:
        if self._lost and self._try(b"\nbridge: %d bytes are missing here: nobody read stderr\n" % self._lost):
            self._lost = 0
        if not self._try(part):
            self._lost += len(part)

    def _try(self, part: bytes | memoryview) -> bool:
        self._is_stuck = not self._poll.poll(0 if self._is_stuck else PATIENCE * 1000)
        if self._is_stuck:
            return False
        try:
            os.write(self._fd, part)
        except OSError:
            return False  # its reader is gone, or it is non-blocking and somebody else was faster
        return True
