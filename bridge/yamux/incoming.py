"""What the other side of a session sends, from bytes to events."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.yamux.events import (
    DataReceived,
    Event,
    GoneAway,
    PongReceived,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamReset,
    WindowOpened,
)
from bridge.yamux.failures import peer_gave_up, violation
from bridge.yamux.outbox import Outbox
from bridge.yamux.stream_state import StreamState
from bridge.yamux.streams import Streams
from bridge.yamux.timers import Timers
from bridge.yamux.wire import HEADER, KNOWN_FLAGS, MAX_UINT32, VERSION, Flag, FrameType, GoAwayCode

__all__ = ["Incoming"]

# Plain numbers: operators of enumerations cost more than all else in a header.
_SYN, _ACK, _FIN, _RST = (int(flag) for flag in Flag)
_DATA, _WINDOW_UPDATE, _PING = int(FrameType.DATA), int(FrameType.WINDOW_UPDATE), int(FrameType.PING)


class Incoming:
    """Cuts what comes into frames, however it arrives in pieces. Payload is passed on as it comes and never kept."""

    def __init__(self, streams: Streams, outbox: Outbox, timers: Timers) -> None:
        self._streams, self._outbox, self._timers = streams, outbox, timers
        self._header = bytearray()
        """The beginning of a header of which the rest has not come."""
        self._payload = 0
        """Bytes of the payload of a frame that have not come."""
        self._payload_of: StreamState | None = None
        """Whose they are; ``None``: they are thrown away."""
        self._ends = False
        """Whether its stream ends behind them."""
        self.gone_away = False
        """Whether the other side takes no more streams."""

    def feed(self, data: memoryview) -> Iterator[Event]:
        """Yields what has happened. Raises ``SessionFailed``, after the events before it."""
        place, end = 0, len(data)
        while place < end:
            if self._payload:
                size = min(self._payload, end - place)
                yield from self._pass_on(data[place : place + size])
                place += size
            elif self._header or end - place < HEADER.size:
                size = min(HEADER.size - len(self._header), end - place)
                self._header += data[place : place + size]
                place += size
                if len(self._header) == HEADER.size:
                    header, self._header = self._header, bytearray()
                    yield from self._begin(*HEADER.unpack(header))
            else:
                place += HEADER.size
                yield from self._begin(*HEADER.unpack_from(data, place - HEADER.size))

    def _pass_on(self, data: memoryview) -> Iterator[Event]:
        self._payload -= len(data)
        stream = self._payload_of
        if stream is None:
            return
        if _is_wanted(stream):
            yield DataReceived(stream.stream_id, bytes(data))
        if not self._payload and self._ends and not stream.gone:
            self._end(stream)
            if not stream.discarding:
                yield StreamEnded(stream.stream_id)

    def _begin(self, version: int, kind: int, flags: int, stream_id: int, length: int) -> list[Event]:
        if version != VERSION:
            raise violation("BAD_VERSION", "the other side sends a version that is not 0")
        if flags > KNOWN_FLAGS:
            raise violation("BAD_FLAGS", "the other side sends flags that nobody has defined")
        if kind in (_DATA, _WINDOW_UPDATE):
            return self._stream_frame(kind, flags, stream_id, length)
        if kind > FrameType.GO_AWAY:
            raise violation("BAD_TYPE", "the other side sends a type of frame that nobody has defined")
        if stream_id:
            raise violation("BAD_STREAM_ID", "the other side sends a ping or go-away in a stream")
        return self._ping(flags, length) if kind == _PING else self._go_away(length)

    def _ping(self, flags: int, value: int) -> list[Event]:
        if flags & _SYN:
            self._outbox.check_room()
            self._outbox.put(FrameType.PING, Flag.ACK, 0, value)
            return []
        return [PongReceived(value)]

    def _go_away(self, code: int) -> list[Event]:
        if code != GoAwayCode.NORMAL:
            raise peer_gave_up(code)
        self.gone_away = True
        return [GoneAway()]

    def _stream_frame(self, kind: int, flags: int, stream_id: int, length: int) -> list[Event]:
        events: list[Event] = []
        if flags & _SYN and self._streams.new_theirs(stream_id):
            events.append(StreamOpened(stream_id))
        stream = self._streams.open.get(stream_id)
        payload = length if kind == _DATA else 0
        if stream is None:
            if stream_id == 0:
                raise violation("BAD_STREAM_ID", "the other side sends data in no stream")
            self._expect(payload, None)  # it was refused or reset, of which the other side may not have heard
            return events
        if flags & _ACK and self._streams.accepted_by_peer(stream):
            events.append(StreamAccepted(stream_id))
        if flags & _RST:
            self._streams.remove(stream)
            self._expect(payload, None)
            return events if stream.discarding else [*events, StreamReset(stream_id)]
        if flags & _FIN and stream.ended:
            raise violation("UNEXPECTED_FIN", "the other side ends a stream twice")
        if payload:
            self._charge(stream, payload, ends=bool(flags & _FIN))
        elif length:
            self._widen(stream, length)
            if not stream.discarding:
                events.append(WindowOpened(stream_id))
        if flags & _FIN and not payload:
            self._end(stream)
            if not stream.discarding:
                events.append(StreamEnded(stream_id))
        return events

    def _charge(self, stream: StreamState, payload: int, *, ends: bool) -> None:
        if payload > stream.receive_window:
            raise violation("WINDOW_EXCEEDED", "the other side sends more in a stream than it may")
        if stream.ended:
            # A write that runs beside the close of its stream can come out behind that, in Go.
            self._expect(payload, None)
            return
        stream.receive_window -= payload
        stream.unconsumed += payload
        self._expect(payload, stream, ends=ends)

    def _widen(self, stream: StreamState, delta: int) -> None:
        stream.send_window += delta
        if stream.send_window > MAX_UINT32:
            raise violation("WINDOW_OVERFLOW", "the other side takes more in a stream than can be counted")

    def _end(self, stream: StreamState) -> None:
        stream.ended = True
        self._streams.remove_if_done(stream)

    def _expect(self, payload: int, stream: StreamState | None, *, ends: bool = False) -> None:
        self._payload, self._payload_of, self._ends = payload, stream, ends


def _is_wanted(stream: StreamState) -> bool:
    """Whether nobody has reset or released a stream since the frame began."""
    return not stream.gone and not stream.discarding
