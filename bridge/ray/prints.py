"""What the processes of a cluster print, without what Ray adds to each line when it hands it on."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["tidied"]

_PREFIX = re.compile(r"\(RemoteWorker pid=\d+(?:, ip=[^)]*)?\) ")
_DEATH = re.compile(r"\(raylet(?:, ip=[^)]*)?\) A worker died or was killed")
"""How a notice begins that a relay gives by itself, and shorter."""


class _Tidy(io.TextIOBase):
    """A stream that leaves out what Ray adds. It writes a line with one call, and its end with another."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if _DEATH.match(text) is None:
            self._stream.write(_PREFIX.sub("", text, count=1))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def tidied() -> Iterator[None]:
    """Tidies stdout and stderr as long as the block runs."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Tidy(sys.stdout), _Tidy(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
