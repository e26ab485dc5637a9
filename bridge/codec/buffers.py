"""Large buffers outside of their message: how the codec leaves them to ``bridge.runtime.shared``, and gets them back.

``with lending(limit) as lent:`` around encoding and ``with borrowing(memory):`` around decoding say that there is a way
for them. Without, they are part of the message as always, and handles are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bridge.codec.base import Refusal, malformed
from bridge.errors import Code
from bridge.runtime.shared import HANDLE_SIZE, THRESHOLD, Memory, borrowed, borrowing, lending, lent

__all__ = ["HANDLE_SIZE", "THRESHOLD", "borrowing", "copy", "is_lent", "lend", "lending", "view"]


def is_lent(value: bytes | bytearray | memoryview) -> bool:
    """Whether a buffer leaves the message."""
    size = len(value) if type(value) is bytes else memoryview(value).nbytes
    return size >= THRESHOLD and lent() is not None


def lend(size: int, *parts: Any) -> bytes | None:
    """The handle of a buffer of so many bytes, if it is large and may leave the message."""
    if size < THRESHOLD or (lent_now := lent()) is None:
        return None
    return lent_now.lend(*parts)


def view(handle: bytes) -> memoryview:
    """The bytes of a handle, where they are. Raises ``Refusal``."""
    with _refusing():
        return _memory().view(handle)


def copy(handle: bytes) -> bytes:
    """The bytes of a handle. Raises ``Refusal``."""
    with _refusing():
        return _memory().read(handle)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise malformed(str(error)) from None
    except OSError as error:
        problem = f"shared memory cannot be had: {error.strerror}"
        raise Refusal(problem, "VALUE_REFUSED", Code.RESOURCE_EXHAUSTED) from None


def _memory() -> Memory:
    memory = borrowed()
    if memory is None:
        raise Refusal("a handle to shared memory, and none has come with the message: send the value", "VALUE_REFUSED")
    return memory
