"""The frames of yamux: 12 bytes of header in network order, and behind a data frame its payload (spec.md, Framing)."""

from __future__ import annotations

import enum
import struct
from typing import Final

__all__ = [
    "HEADER",
    "INITIAL_WINDOW",
    "KNOWN_FLAGS",
    "MAX_UINT32",
    "VERSION",
    "Flag",
    "FrameType",
    "GoAwayCode",
]

HEADER: Final = struct.Struct(">BBHII")
"""Version, type, flags, stream id, length."""
VERSION: Final = 0
INITIAL_WINDOW: Final = 256 * 1024
"""Bytes of data that each side of a stream may send before it hears of more (spec.md, Flow Control)."""
MAX_UINT32: Final = 2**32 - 1


class FrameType(enum.IntEnum):
    """What a frame is, and so what its length means."""

    DATA = 0
    """Length: bytes of payload behind the header."""
    WINDOW_UPDATE = 1
    """Length: bytes more that the receiver may send."""
    PING = 2
    """Length: any value, which comes back."""
    GO_AWAY = 3
    """Length: a ``GoAwayCode``."""


class Flag(enum.IntFlag):
    """On a data or window update frame what happens to its stream; on a ping whether it asks or answers."""

    SYN = 1
    """The stream begins; a ping asks."""
    ACK = 2
    """The stream is accepted; a ping answers."""
    FIN = 4
    """The sender sends no more data."""
    RST = 8
    """The stream is over, both ways, at once."""


KNOWN_FLAGS: Final = 0xF


class GoAwayCode(enum.IntEnum):
    """Why a side ends the session (spec.md, Session termination)."""

    NORMAL = 0
    """No more streams are accepted; those that are open go on."""
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
