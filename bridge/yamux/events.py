"""What the other side of a session has done."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = [
    "DataReceived",
    "Event",
    "GoneAway",
    "PongReceived",
    "StreamAccepted",
    "StreamEnded",
    "StreamOpened",
    "StreamReset",
    "WindowOpened",
]


class StreamOpened(msgspec.Struct, frozen=True, gc=False):
    """It has opened a stream: to be accepted (``Peer.accept``) or refused (``Peer.reset``)."""

    stream_id: int


class StreamAccepted(msgspec.Struct, frozen=True, gc=False):
    """It has accepted a stream of ours."""

    stream_id: int


class DataReceived(msgspec.Struct, frozen=True, gc=False):
    """Data came, in the pieces in which it arrived: where frames begin and end does not show."""

    stream_id: int
    data: bytes
    """Never empty. To be given back with ``Peer.consumed`` when it was dealt with."""


class WindowOpened(msgspec.Struct, frozen=True, gc=False):
    """More can be sent in a stream."""

    stream_id: int


class StreamEnded(msgspec.Struct, frozen=True, gc=False):
    """It sends no more data in a stream; it still receives."""

    stream_id: int


class StreamReset(msgspec.Struct, frozen=True, gc=False):
    """It has ended a stream, both ways, or has refused it."""

    stream_id: int


class PongReceived(msgspec.Struct, frozen=True, gc=False):
    """It has answered a ping, of ours or of its dreams."""

    value: int


class GoneAway(msgspec.Struct, frozen=True, gc=False):
    """It takes no more streams; those that are open go on."""


Event: TypeAlias = (
    StreamOpened | StreamAccepted | DataReceived | WindowOpened | StreamEnded | StreamReset | PongReceived | GoneAway
)
