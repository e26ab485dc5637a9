"""What the other side of a connection may cost."""

from __future__ import annotations

import msgspec

__all__ = ["DEFAULT_LIMITS", "ProtocolLimits"]


class ProtocolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection takes from its other side. Digits of numbers are limited where values are made of texts."""

    max_frame_bytes: int = 64 * 1024 * 1024
    """Bytes of one message, or of one batch."""
    max_header_bytes: int = 8 * 1024
    """Bytes of the header block before a message, the empty line that ends it included."""
    max_depth: int = 128
    """Containers inside one another, those of the message counted. A value may have 64 of its own (``codec.Limits``),
    and a message puts a handful around it."""
    max_batch: int = 100
    """Messages of one batch."""
    max_in_flight: int = 1000
    """Requests that run at the same time."""


DEFAULT_LIMITS = ProtocolLimits()
