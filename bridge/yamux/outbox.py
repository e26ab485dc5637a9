"""The frames of one side that wait to be sent."""

from __future__ import annotations

from bridge.errors import Code
from bridge.yamux.failures import violation
from bridge.yamux.wire import HEADER, VERSION, Flag, FrameType

__all__ = ["Outbox"]


class Outbox:
    """Frames in the order in which they go out.

    Args:
        max_replies: frames that the other side can cause, however little is sent, before it breaks the protocol.
    """

    def __init__(self, max_replies: int) -> None:
        self._max_replies = max_replies
        self._replies = 0
        self._parts: list[bytes | memoryview] = []
        self.unsent = 0
        """Bytes that wait."""

    def put(self, kind: FrameType, flags: int, stream_id: int, length: int) -> None:
        """Adds a frame that is only a header."""
        self._parts.append(HEADER.pack(VERSION, kind, flags, stream_id, length))
        self.unsent += HEADER.size

    def put_data(self, stream_id: int, data: bytes | memoryview) -> None:
        """Adds a data frame. ``data`` is not copied before ``take``."""
        self.put(FrameType.DATA, 0, stream_id, len(data))
        self._parts.append(data)
        self.unsent += len(data)

    def reply(self, kind: FrameType, flags: Flag, stream_id: int, length: int) -> None:
        """Adds an answer. Raises ``SessionFailed`` where the other side asks and asks and does not read."""
        self._replies += 1
        if self._replies > self._max_replies:
            problem = "too many pings or refused streams while no answer can be sent"
            raise violation("REPLY_FLOOD", problem, Code.RESOURCE_EXHAUSTED)
        self.put(kind, flags, stream_id, length)

    def take(self) -> bytes:
        """All that waits, in one piece: a copy costs less than a second write."""
        parts, self._parts = self._parts, []
        self.unsent = self._replies = 0
        return b"".join(parts)
