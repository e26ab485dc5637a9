"""A header block with ``Content-Length`` before each message (Language Server Protocol, Base Protocol).

Names of headers are compared without their case, lines end with LF or CRLF, blanks around a value and before the colon
are ignored, and so are all other headers. Everything else is a violation: a line that is no header (so a byte order
mark, too), ``Content-Length`` that is missing, signed or no number, or that comes twice with different values.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Final

from bridge.errors import Code
from bridge.protocols.framing import Framing, FramingViolation
from bridge.protocols.limits import DEFAULT_LIMITS, ProtocolLimits

__all__ = ["ContentLength"]

_MAX_DIGITS: Final = 20
"""Digits of a length; more are no length that anybody means."""
_NO_HEADER: Final = "what comes before a message is no header"

_BLANK_LINE = re.compile(rb"\n\r?\n")
# A name is a token (RFC 9110, 5.6.2), and a value has no control characters but the tab.
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:([^\x00-\x08\x0a-\x1f\x7f]*)\r?")
_NO_TOKEN = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class ContentLength(Framing):
    """Texts of a length that is said before. A text of length 0 is yielded, and is for its reader to refuse."""

    end_of_message = "each message has as many bytes as its Content-Length says"

    def __init__(self, limits: ProtocolLimits = DEFAULT_LIMITS) -> None:
        super().__init__(limits)
        # Of the message that is coming, counted from where its header begins:
        self._searched = 0
        """Bytes known not to hold the end of the header."""
        self._body = 0
        """Where the text begins; 0: not known."""
        self._end = 0
        """Where it ends."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields the texts that are complete with ``data``. As in ``Framing``."""
        if self._violation is not None:
            raise self._violation
        buffer = self._buffer
        if buffer:
            buffer += data
        source = buffer or data  # most often whole messages come: nothing is left, nothing is copied
        begin = 0
        while self._is_complete(source, begin):
            body, end = begin + self._body, begin + self._end
            self._searched = self._body = self._end = 0
            begin = end
            yield bytes(memoryview(source)[body:end])
        if source is buffer:
            del buffer[:begin]
        else:
            buffer += source[begin:]

    def encode(self, payload: bytes) -> tuple[bytes, ...]:
        """A text with its header before it."""
        return self._parts(b"Content-Length: %d\r\n\r\n" % len(payload), payload)

    def _is_complete(self, source: bytes | bytearray, begin: int) -> bool:
        """Whether a whole message begins there. Reads its header as soon as that is complete."""
        available = len(source) - begin
        if not self._body and available:
            self._read_header(source, begin, available)
        return bool(self._body) and available >= self._end

    def _read_header(self, source: bytes | bytearray, begin: int, available: int) -> None:
        limit = self._limits.max_header_bytes
        # The blank line may have begun in the last two bytes that were searched.
        found = _BLANK_LINE.search(source, begin + max(self._searched - 2, 0), begin + limit)
        if found is None:
            self._check_partial(source, begin)
            if available >= limit:
                message = f"the headers of a message have more than {limit} bytes; only Content-Length is needed"
                raise self._violate(Code.RESOURCE_EXHAUSTED, "HEADER_TOO_LARGE", message)
            self._searched = available
            return
        try:
            length = _length(bytes(source[begin : found.start()]))
        except ValueError as problem:
            raise self._bad_header(str(problem)) from None
        if length > self._limits.max_frame_bytes:
            raise self._too_large()
        self._body = found.end() - begin
        self._end = self._body + length

    def _check_partial(self, source: bytes | bytearray, begin: int) -> None:
        """What is no header is refused with its first bytes: its sender may wait for an answer for ever."""
        if _NO_TOKEN.match(source, begin) or _CONTROL.search(source, begin + self._searched):
            raise self._bad_header(_NO_HEADER)

    def _bad_header(self, problem: str) -> FramingViolation:
        return self._violate(Code.DATA_LOSS, "BAD_HEADER", f"{problem}; send 'Content-Length: BYTES', an empty line")


@functools.lru_cache(maxsize=64)
def _length(block: bytes) -> int:
    """Bytes of the text after a header block. Raises ``ValueError``, the problem.

    Cached as most texts are short and of few different lengths.
    """
    lengths = set()
    for line in block.split(b"\n"):
        header = _LINE.fullmatch(line)
        if header is None:
            raise ValueError(_NO_HEADER)
        if header[1].lower() == b"content-length":
            value = header[2].strip(b" \t")
            if not value.isdigit() or len(value) > _MAX_DIGITS:
                raise ValueError("Content-Length is no number of bytes")
            lengths.add(int(value))
    if len(lengths) != 1:
        raise ValueError("a message needs one Content-Length, and not two that differ")
    return lengths.pop()
