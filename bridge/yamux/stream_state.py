"""What one side of a session knows of one stream."""

from __future__ import annotations

from bridge.yamux.wire import INITIAL_WINDOW

__all__ = ["StreamState"]


class StreamState:
    """Counts and states of a stream; ``Peer`` changes them."""

    __slots__ = (
        "accepted",
        "discarding",
        "ended",
        "finished",
        "gone",
        "ours",
        "receive_window",
        "send_window",
        "stream_id",
        "unconsumed",
    )

    def __init__(self, stream_id: int, *, ours: bool) -> None:
        self.stream_id = stream_id
        self.ours = ours
        """Whether this side has opened it."""
        self.accepted = False
        """Whether the side that has not opened it has accepted it."""
        self.send_window = INITIAL_WINDOW
        """Bytes that we may send."""
        self.receive_window = INITIAL_WINDOW
        """Bytes that the other side may send."""
        self.unconsumed = 0
        """Bytes that it has sent, or has announced in the header of a frame, and that nobody has dealt with."""
        self.finished = False
        """Whether we have sent our FIN."""
        self.ended = False
        """Whether the other side has sent its FIN."""
        self.discarding = False
        """Whether nobody reads what comes."""
        self.gone = False
        """Whether it is over, both ways."""
