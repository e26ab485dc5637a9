"""The streams of one side of a session: how they begin, how much may come, how they end."""

from __future__ import annotations

from bridge.errors import BridgeError, Code
from bridge.yamux.config import YamuxConfig
from bridge.yamux.failures import violation
from bridge.yamux.outbox import Outbox
from bridge.yamux.stream_state import StreamState
from bridge.yamux.timers import Timers
from bridge.yamux.wire import MAX_UINT32, Flag, FrameType

__all__ = ["Streams"]


class Streams:
    """All streams that are not over, both ways, of one side."""

    def __init__(self, *, client: bool, config: YamuxConfig, outbox: Outbox, timers: Timers) -> None:
        self._config, self._outbox, self._timers = config, outbox, timers
        self._next_id = 1 if client else 2
        self._theirs = 0
        """Streams of the other side."""
        self._unaccepted_theirs = 0
        self._unaccepted_ours = 0
        self.open: dict[int, StreamState] = {}
        self.refusing = False
        """Whether streams of the other side are refused."""

    @property
    def has_room(self) -> bool:
        """Whether fewer streams than the backlog wait to be accepted by the other side."""
        return self._unaccepted_ours < self._config.backlog

    def new_ours(self) -> StreamState:
        """Opens a stream. Raises RESOURCE_EXHAUSTED."""
        if self._next_id >= MAX_UINT32 - 1:  # Go stops there, too
            message = "yamux: the session has used up its streams; connect again"
            raise BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="STREAMS_EXHAUSTED")
        if not self.has_room:
            message = "yamux: too many streams wait to be accepted; wait for one of them"
            raise BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="TOO_MANY_UNACCEPTED")
        stream = self.open[self._next_id] = StreamState(self._next_id, ours=True)
        self._next_id += 2
        self._unaccepted_ours += 1
        self._timers.opened(stream.stream_id)
        self.grant(stream, Flag.SYN)
        return stream

    def new_theirs(self, stream_id: int) -> bool:
        """The other side opens a stream. Returns whether it can be accepted, else it was refused.

        Numbers need not come in order: Go gives them out before it sends. Raises ``SessionFailed``.
        """
        if stream_id == 0 or stream_id % 2 == self._next_id % 2:
            raise violation("BAD_STREAM_ID", "the other side opens a stream with a number of our side")
        if stream_id in self.open:
            raise violation("DUPLICATE_STREAM", "the other side opens a stream that is open")
        self._outbox.check_room()
        full = self._unaccepted_theirs >= self._config.backlog or self._theirs >= self._config.max_streams
        if full or self.refusing:
            self._outbox.put(FrameType.WINDOW_UPDATE, Flag.RST, stream_id, 0)
            return False
        self.open[stream_id] = StreamState(stream_id, ours=False)
        self._theirs += 1
        self._unaccepted_theirs += 1
        return True

    def accept(self, stream_id: int) -> None:
        """Takes a stream of the other side."""
        stream = self.open.get(stream_id)
        if stream is not None and not stream.ours and not stream.accepted:
            self._mark_accepted(stream)
            self.grant(stream, Flag.ACK)

    def accepted_by_peer(self, stream: StreamState) -> bool:
        """The other side accepts a stream. Returns whether it is the first time; Go takes others, too."""
        if not stream.ours or stream.accepted:
            return False
        self._timers.accepted(stream.stream_id)
        self._mark_accepted(stream)
        return True

    def grant(self, stream: StreamState, flags: Flag | None = None) -> None:
        """Lets the other side send more, when it is worth a frame, or when one goes out anyway, with flags."""
        delta = self._config.window - stream.unconsumed - stream.receive_window
        if flags is None and (delta < self._config.window // 2 or stream.ended or stream.discarding):
            return
        stream.receive_window += delta
        self._outbox.put(FrameType.WINDOW_UPDATE, flags or 0, stream.stream_id, delta)

    def finish(self, stream: StreamState) -> None:
        """Sends no more data."""
        if not stream.finished:
            stream.finished = True
            self._outbox.put(FrameType.WINDOW_UPDATE, Flag.FIN, stream.stream_id, 0)
            self.remove_if_done(stream)

    def remove_if_done(self, stream: StreamState) -> None:
        """Forgets a stream that both sides have ended."""
        if stream.finished and stream.ended:
            self.remove(stream)

    def remove(self, stream: StreamState) -> None:
        """Forgets a stream."""
        stream.gone = True
        del self.open[stream.stream_id]
        self._timers.gone(stream.stream_id)
        if not stream.accepted:
            self._mark_accepted(stream)
        if not stream.ours:
            self._theirs -= 1

    def _mark_accepted(self, stream: StreamState) -> None:
        stream.accepted = True
        if stream.ours:
            self._unaccepted_ours -= 1
        else:
            self._unaccepted_theirs -= 1
