"""A message a line, as MCP has it over stdio (modelcontextprotocol.io, Transports): UTF-8, ended by LF or CRLF."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.protocols.framing import Framing

__all__ = ["Newline"]

# Between the tokens of a JSON text both are white space, and inside of its strings neither can stand (RFC 8259).
_IN_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


class Newline(Framing):
    """Newline-delimited JSON. Empty lines mean nothing.

    Whatever stands in a line, the next line begins a message again; so the only violation is a line that is too long.
    A last line without its end is a cut message.
    """

    end_of_message = "each message ends with a newline"

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields the lines that are complete with ``data``. As in ``Framing``."""
        if self._violation is not None:
            raise self._violation
        begin = 0
        while (end := data.find(b"\n", begin)) >= 0:
            self._check(end - begin)
            line = self._complete(data[begin:end])
            begin = end + 1
            if line and not line.isspace():
                yield line
        self._check(len(data) - begin)
        self._buffer += data[begin:]

    def encode(self, payload: bytes) -> tuple[bytes, ...]:
        """A JSON text as a line. Line breaks between its tokens become blanks."""
        if b"\n" in payload or b"\r" in payload:
            payload = payload.translate(_IN_ONE_LINE)
        return self._parts(payload, b"\n")

    def _check(self, more: int) -> None:
        if len(self._buffer) + more > self._limits.max_frame_bytes:
            raise self._too_large()

    def _complete(self, rest: bytes) -> bytes:
        """The line that ends with ``rest``, without what ends it."""
        buffer = self._buffer
        if not buffer:
            return rest.removesuffix(b"\r")
        buffer += rest
        if buffer.endswith(b"\r"):
            buffer.pop()
        line = bytes(buffer)
        buffer.clear()
        return line
