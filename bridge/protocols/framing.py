"""How a stream of bytes is cut into texts: what the two framings share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Final

from bridge.errors import BridgeError, Code
from bridge.protocols.limits import DEFAULT_LIMITS, ProtocolLimits

__all__ = ["Framing", "FramingViolation"]

_COPIED: Final = 32 * 1024
"""Bytes up to which one write of a copy costs less than two writes."""


class FramingViolation(BridgeError):
    """The stream cannot be cut any further: nobody knows where its next message begins.

    The receiver sends ``jsonrpc.parse_error(violation)`` and closes. DATA_LOSS, reason ``BAD_HEADER``, for a header
    that is none; RESOURCE_EXHAUSTED, reason ``HEADER_TOO_LARGE`` or ``FRAME_TOO_LARGE``.
    """


class Framing(ABC):
    """Cuts what comes from the other side, however it arrives in pieces, and wraps what goes there.

    Args:
        limits: checked before what is over them is waited for or kept.
    """

    end_of_message: ClassVar[str]
    """What ends a message, for people."""

    def __init__(self, limits: ProtocolLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._violation: FramingViolation | None = None

    @abstractmethod
    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields the texts that are complete with ``data``. To be iterated to its end before more is fed.

        Raises ``FramingViolation``, after the texts before it were yielded; and again, whatever is fed then.
        """

    @abstractmethod
    def encode(self, payload: bytes) -> tuple[bytes, ...]:
        """A JSON text as it goes out, in parts to be written one after the other, so that nothing large is copied."""

    @property
    def has_partial(self) -> bool:
        """Whether a message has begun to come and is not complete: it should not stay so for long."""
        return bool(self._buffer)

    def at_end(self) -> bool:
        """Whether the stream may end here; ``False``: that cuts a message, which is not to be acted upon."""
        return not self._buffer

    @staticmethod
    def _parts(first: bytes, second: bytes) -> tuple[bytes, ...]:
        return (first + second,) if len(first) + len(second) <= _COPIED else (first, second)

    def _violate(self, code: Code, reason: str, message: str) -> FramingViolation:
        """The violation to raise. It is the end of the stream."""
        self._buffer.clear()
        self._violation = FramingViolation(code, message, reason=reason)
        return self._violation

    def _too_large(self) -> FramingViolation:
        limit = self._limits.max_frame_bytes
        message = f"a message has more than {limit} bytes; send a smaller one, or raise the limit of this side"
        return self._violate(Code.RESOURCE_EXHAUSTED, "FRAME_TOO_LARGE", message)
