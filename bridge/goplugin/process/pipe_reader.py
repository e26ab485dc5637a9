"""What a process prints: always read, so that it never waits for a reader, and cut into lines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import IO

from bridge.goplugin.handshake import MAX_LINE

__all__ = ["LINE_LIMIT", "FirstLine", "LineSplitter", "PipeReader"]

LINE_LIMIT = 64 * 1024
"""Bytes of the longest line of a log; go-plugin's."""
_READ_BYTES = 16 * 1024
"""At once. Each may be an empty line to be logged, and the event loop has other things to do."""
_LAST_READS = 64
"""Reads of what an ended process left in its pipe: more than a pipe holds, and an end if its children go on writing."""


class PipeReader:
    """Reads a pipe in the running event loop.

    Args:
        pipe: unbuffered; belongs to the reader.
        take: called with all that comes.
        at_end: called once, when no more will come.
    """

    def __init__(self, pipe: IO[bytes], take: Callable[[bytes], None], at_end: Callable[[], None]) -> None:
        self._pipe, self._take, self._at_end = pipe, take, at_end
        os.set_blocking(pipe.fileno(), False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pipe.fileno(), self._read)

    def drain(self) -> None:
        """Reads what is there."""
        for _ in range(_LAST_READS):
            if not self._read():
                break

    def close(self) -> None:
        """Lets go of the pipe."""
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe.fileno())
            self._pipe.close()
            self._at_end()

    def _read(self) -> bool:
        """Takes what is there; whether there may be more."""
        if self._pipe.closed:
            return False
        data = self._pipe.read(_READ_BYTES)
        if data:
            self._take(data)
        elif data is not None:
            self.close()
        return bool(data)


class LineSplitter:
    """Cuts what comes into lines.

    Args:
        on_line: called with each line, without its end, and whether it is whole. One that is longer than the limit
            comes in pieces, none of which is.
        limit: bytes of the longest line.
    """

    def __init__(self, on_line: Callable[[bytes, bool], None], limit: int = LINE_LIMIT) -> None:
        self._on_line, self._limit = on_line, limit
        self._rest = b""
        self._is_begun = False
        """Whether a piece of the line was given already."""

    def feed(self, data: bytes) -> None:
        """Takes what has come."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._end_line(line)
        self._rest = self._cut(rest)

    def end(self) -> None:
        """No more will come: the last line has no end."""
        rest, self._rest = self._rest, b""
        if rest:
            self._end_line(rest)

    def _end_line(self, line: bytes) -> None:
        line = self._cut(line).removesuffix(b"\r")
        self._on_line(line, not self._is_begun)
        self._is_begun = False

    def _cut(self, line: bytes) -> bytes:
        while len(line) > self._limit:
            self._is_begun = True
            self._on_line(line[: self._limit], False)
            line = line[self._limit :]
        return line


class FirstLine:
    """The first line of what comes; the rest is dropped, and counted."""

    def __init__(self) -> None:
        self.line: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        """Without its end; ``None`` if nothing came. A line that is too long is cut, and still too long."""
        self.dropped = 0
        """Bytes that came after it."""
        self._begin = b""

    def feed(self, data: bytes) -> None:
        """Takes what has come."""
        if self.line.done():
            self.dropped += len(data)
            return
        self._begin += data
        line, end, rest = self._begin.partition(b"\n")
        if end or len(line) > MAX_LINE:
            self.dropped += len(rest)
            self.line.set_result(line[: MAX_LINE + 1])

    def end(self) -> None:
        """No more will come."""
        if not self.line.done():
            self.line.set_result(self._begin or None)
