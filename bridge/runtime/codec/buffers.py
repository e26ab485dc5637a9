"""Large buffers beside their message: how values are left to ``shared``, and got back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import Code
from ..shared import HANDLE_SIZE, THRESHOLD, Memory, borrowed, lent
from .base import Refusal, malformed, refused

__all__ = ["HANDLE_SIZE", "THRESHOLD", "copy", "is_lent", "lend", "view"]


def is_lent(value: Any) -> bool:
    """Whether a buffer leaves the message: it is large, and the sender has said so."""
    size = len(value) if type(value) is bytes else memoryview(value).nbytes
    return size >= THRESHOLD and lent() is not None


def lend(size: int, *parts: Any) -> bytes | None:
    """The handle of a buffer of so many bytes; ``None`` if it has to go into the message."""
    lender = lent() if size >= THRESHOLD else None
    return None if lender is None else lender.lend(*parts)


def view(handle: bytes) -> memoryview:
    """The bytes of a handle, where they are. Raises ``Refusal``."""
    with _refusing():
        return _memory(handle).view(handle)


def copy(handle: bytes) -> bytes:
    """The bytes of a handle. Raises ``Refusal``."""
    with _refusing():
        return _memory(handle).read(handle)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise malformed(str(error)) from None
    except (OSError, MemoryError) as error:
        problem = f"shared memory cannot be had: {getattr(error, 'strerror', None) or 'out of memory'}"
        raise Refusal(problem, "VALUE_REFUSED", Code.RESOURCE_EXHAUSTED) from None


def _memory(handle: bytes) -> Memory:
    memory = borrowed()
    if memory is None:
        raise refused("a handle to shared memory, and none has come with the message: send the value")
    if len(handle) > HANDLE_SIZE:
        raise malformed("something follows the handle")
    return memory
