"""One side of a yamux session as a plain state machine: bytes in, events and bytes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bridge.errors import BridgeError, Code
from bridge.yamux.config import DEFAULT_CONFIG, YamuxConfig
from bridge.yamux.events import Event
from bridge.yamux.failures import SessionFailed, gone_away, session_closed
from bridge.yamux.incoming import Incoming
from bridge.yamux.outbox import Outbox
from bridge.yamux.stream_state import StreamState
from bridge.yamux.streams import Streams
from bridge.yamux.timers import Timers
from bridge.yamux.wire import Flag, FrameType, GoAwayCode

__all__ = ["Peer"]


class Peer:
    """One side of a session. It never blocks, and keeps no data but what waits for ``take``.

    Its owner feeds ``receive``, sends what ``take`` gives, after each call and when it can, and calls ``tick`` at
    ``deadline``. Methods about a stream do nothing when that is over, as the other side can reset it at any time.

    Args:
        client: which of the two sides this is; it has connected, most often. It opens the streams with odd numbers.
        clock: seconds, from any start, that never go back.
    """

    def __init__(self, *, client: bool, clock: Callable[[], float], config: YamuxConfig = DEFAULT_CONFIG) -> None:
        self.config = config
        self._outbox = Outbox(config.max_unsent_replies)
        self._timers = Timers(config, clock)
        self._streams = Streams(client=client, config=config, outbox=self._outbox, timers=self._timers)
        self._incoming = Incoming(self._streams, self._outbox, self._timers)
        self._next_ping = 0
        self._failure: SessionFailed | None = None

    @property
    def failure(self) -> SessionFailed | None:
        """Why the session is over, or ``None``."""
        return self._failure

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is to be called, on the clock; ``None``: not as things are."""
        return None if self._failure is not None else self._timers.deadline

    @property
    def stream_count(self) -> int:
        """Streams that are not over, both ways."""
        return len(self._streams.open)

    @property
    def can_open(self) -> bool:
        """Whether ``open_stream`` would not raise ``TOO_MANY_UNACCEPTED``."""
        return self._streams.has_room or self._incoming.gone_away or self._failure is not None

    @property
    def unsent(self) -> int:
        """Bytes that ``take`` would give."""
        return self._outbox.unsent

    def check(self) -> None:
        """Raises ``SessionFailed`` when the session is over."""
        if self._failure is not None:
            raise self._failure.with_traceback(None)  # else it grows each time

    def take(self) -> bytes:
        """All that is to be sent. After a failure there may be a last go-away in it."""
        return self._outbox.take()

    def receive(self, data: bytes | bytearray | memoryview) -> Iterator[Event]:
        """Yields what has happened. To be iterated to its end before more is fed; ``data`` is not kept.

        Raises ``SessionFailed``, after the events before it were yielded, and whatever is fed then.
        """
        self.check()
        self._timers.heard()
        try:
            for event in self._incoming.feed(memoryview(data)):
                yield event
                if self._failure is not None:  # its owner has closed the session meanwhile
                    return
        except SessionFailed as failure:
            self._fail(failure)
            raise

    def at_end(self) -> SessionFailed:
        """The other side sends nothing more, or the connection is gone. Returns the failure of the session."""
        return self._fail(session_closed())

    def close(self) -> None:
        """Ends the session, with all of its streams, and says so."""
        if self._failure is None:
            self._fail(session_closed())
            self._outbox.put(FrameType.GO_AWAY, 0, 0, GoAwayCode.NORMAL)

    def tick(self) -> None:
        """Does what is due. Raises ``SessionFailed`` when the other side has not done in time what it has to do."""
        if self._failure is not None:
            return
        try:
            for stream_id in self._timers.overdue():
                self.reset(stream_id)
            if self._timers.ping_is_due():
                self.ping()
        except SessionFailed as failure:
            self._fail(failure)
            raise

    def ping(self) -> int:
        """Asks the other side for a sign of life: a ``PongReceived`` with the value that is returned."""
        value, self._next_ping = self._next_ping, (self._next_ping + 1) & 0xFFFF_FFFF
        self._outbox.put(FrameType.PING, Flag.SYN, 0, value)
        return value

    def go_away(self) -> None:
        """Takes no more streams, and says so. Those that are open go on."""
        if not self._streams.refusing:
            self._streams.refusing = True
            self._outbox.put(FrameType.GO_AWAY, 0, 0, GoAwayCode.NORMAL)

    def open_stream(self) -> int:
        """Opens a stream, in which can be sent at once, and returns its number.

        Raises ``SessionFailed``, UNAVAILABLE ``GONE_AWAY`` when the other side takes no more, or RESOURCE_EXHAUSTED:
        ``TOO_MANY_UNACCEPTED`` while as many as the backlog wait to be accepted, ``STREAMS_EXHAUSTED`` when the
        session has no more numbers.
        """
        self.check()
        if self._incoming.gone_away:
            raise gone_away()
        return self._streams.new_ours().stream_id

    def accept(self, stream_id: int) -> None:
        """Takes a stream of the other side."""
        self._streams.accept(stream_id)

    def window(self, stream_id: int) -> int:
        """Bytes that can be sent in a stream; 0 when that is over."""
        stream = self._find(stream_id)
        return 0 if stream is None or stream.finished else stream.send_window

    def send(self, stream_id: int, data: bytes | memoryview) -> None:
        """Sends data in one frame. It must not change before ``take``. Raises FAILED_PRECONDITION over ``window``."""
        if not data:
            return
        stream = self._find(stream_id)
        if stream is None:
            return
        if stream.finished or len(data) > stream.send_window:
            message = "yamux: more is sent than the other side takes; ask for the window before each frame"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="WINDOW_EXCEEDED")
        stream.send_window -= len(data)
        self._outbox.put_data(stream_id, data)

    def consumed(self, stream_id: int, count: int) -> None:
        """Data of that many bytes was dealt with, and as much may come again."""
        stream = self._find(stream_id)
        if stream is not None:
            stream.unconsumed -= count
            self._streams.grant(stream)

    def finish(self, stream_id: int) -> None:
        """Sends no more data in a stream; what comes is still received."""
        stream = self._find(stream_id)
        if stream is not None:
            self._streams.finish(stream)

    def release(self, stream_id: int) -> None:
        """Sends no more data in a stream, and takes no more: there are no more events of it.

        It is reset when the other side does not end it in time. Not at once: in Go, a reset throws away what has come
        and was not read.
        """
        stream = self._find(stream_id)
        if stream is not None and not stream.discarding:
            stream.discarding = True
            self._streams.finish(stream)
            if not stream.gone:
                self._timers.closed(stream_id)

    def reset(self, stream_id: int) -> None:
        """Ends a stream, both ways, at once."""
        stream = self._find(stream_id)
        if stream is not None:
            self._outbox.put(FrameType.WINDOW_UPDATE, Flag.RST, stream_id, 0)
            self._streams.remove(stream)

    def _find(self, stream_id: int) -> StreamState | None:
        return None if self._failure is not None else self._streams.open.get(stream_id)

    def _fail(self, failure: SessionFailed) -> SessionFailed:
        if self._failure is None:
            self._failure = failure
            if failure.code in (Code.DATA_LOSS, Code.RESOURCE_EXHAUSTED):
                self._outbox.put(FrameType.GO_AWAY, 0, 0, GoAwayCode.PROTOCOL_ERROR)
            self._streams.open.clear()
        return self._failure
