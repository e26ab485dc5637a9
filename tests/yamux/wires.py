"""Bytes of yamux written by hand, and two peers that are connected without a wire."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence

from hypothesis import settings

from bridge.yamux.config import DEFAULT_CONFIG, YamuxConfig
from bridge.yamux.events import Event
from bridge.yamux.failures import SessionFailed
from bridge.yamux.peer import Peer

QUICK = settings(max_examples=150, deadline=None)

DATA, WINDOW, PING, AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
KIB = 1024
INITIAL = 256 * KIB


def frame(kind: int, flags: int, stream_id: int, length: int, payload: bytes = b"") -> bytes:
    """A frame, right or wrong."""
    return struct.pack(">BBHII", 0, kind, flags, stream_id, length) + payload


def data(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    """A data frame."""
    return frame(DATA, flags, stream_id, len(payload), payload)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def client(config: YamuxConfig = DEFAULT_CONFIG, clock: Clock | None = None) -> Peer:
    """A peer that opens streams 1, 3, 5..."""
    return Peer(client=True, clock=clock or Clock(), config=config)


def server(config: YamuxConfig = DEFAULT_CONFIG, clock: Clock | None = None) -> Peer:
    """A peer that opens streams 2, 4, 6..."""
    return Peer(client=False, clock=clock or Clock(), config=config)


def events(peer: Peer, *parts: bytes) -> list[Event]:
    """What bytes mean to a peer."""
    return [event for part in parts for event in peer.receive(part)]


def failure(peer: Peer, *parts: bytes) -> tuple[list[Event], SessionFailed]:
    """What happens before bytes end the session, and why they do."""
    seen: list[Event] = []
    try:
        for part in parts:
            seen += peer.receive(part)
    except SessionFailed as failed:
        return seen, failed
    raise AssertionError("the session goes on")


def frames(stream: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Type, flags, stream id, length and payload of each frame."""
    while stream:
        version, kind, flags, stream_id, length = struct.unpack_from(">BBHII", stream)
        assert version == 0
        size = length if kind == DATA else 0
        yield kind, flags, stream_id, length, stream[12 : 12 + size]
        assert len(stream) >= 12 + size
        stream = stream[12 + size :]


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """A stream in pieces."""
    marks = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[begin:end] for begin, end in itertools.pairwise(marks)]
