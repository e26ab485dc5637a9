"""Results and chunks on their way into frames: within the limits, and large values in memory beside them."""

from __future__ import annotations

import os
from typing import Any, Callable

from .calls import unsupported_result
from .errors import BridgeError, Code
from .failures import Settings, message_too_large
from .frames import frame
from .shared import THRESHOLD, lending

__all__ = ["packed_frame"]

_SMALL = frozenset((type(None), bool, int, float))
_SIZED = frozenset((bytes, str))


def packed_frame(
    kind: int, number: int, tool: str, settings: Settings, pack: Callable[..., bytes], *args: Any
) -> tuple[bytes, int]:
    """A frame with what a tool gave, and the descriptor that goes with it, which is the caller's; -1: none.

    Args:
        kind: of the frame.
        number: of the call.
        tool: its name.
        settings: the limits.
        pack: makes the message.
        args: what of, the value first.

    Raises ``BridgeError``: UNKNOWN, reason ``UNSUPPORTED_RESULT``; RESOURCE_EXHAUSTED, reason ``MESSAGE_TOO_LARGE``.
    """
    value = args[0]
    try:
        if type(value) in _SMALL or (type(value) in _SIZED and len(value) < THRESHOLD):
            message, memory = pack(*args), None
        else:
            with lending(settings.max_shared_bytes) as memory:
                message = pack(*args)
    except BridgeError as error:
        raise unsupported_result(tool, error) from error
    size = memory.size if memory is not None else 0
    if size > settings.max_shared_bytes:
        raise _too_much(tool, size, settings.max_shared_bytes)
    fd = -1
    if memory is not None and size:
        try:
            fd = memory.write()
        except OSError:  # no descriptor is left, or the process may not have so much memory
            message, size = pack(*args), 0
    if len(message) > settings.max_message_bytes:
        if fd >= 0:
            os.close(fd)
        raise message_too_large(tool, len(message), settings.max_message_bytes)
    return (frame(kind, number, message, size) if size else frame(kind, number, message)), fd


def _too_much(tool: str, size: int, limit: int) -> BridgeError:
    return BridgeError(
        Code.RESOURCE_EXHAUSTED,
        f"tool {tool!r} gave values of {size} bytes in shared memory, and {limit} are allowed (max_shared_bytes): "
        "return less at once, or stream it in parts",
        reason="MESSAGE_TOO_LARGE",
    )
