"""The frames of one side that wait to be sent."""

from __future__ import annotations

from bridge.errors import Code
from bridge.yamux.failures import violation
from bridge.yamux.wire import HEADER, VERSION, FrameType

__all__ = ["Outbox"]


class Outbox:
    """Frames in the order in which they go out.

    Args:
        max_bare: frames without data that may wait when the other side asks for another one.
    """

    def __init__(self, max_bare: int) -> None:
        self._max_bare = max_bare
        self._bare = 0
        self._parts: list[bytes | memoryview] = []
        self.unsent = 0
        """Bytes that wait."""

    def put(self, kind: FrameType, flags: int, stream_id: int, length: int) -> None:
        """Adds a frame that is only a header."""
        self._bare += 1
        self._put_header(kind, flags, stream_id, length)

    def put_data(self, stream_id: int, data: bytes | memoryview) -> None:
        """Adds a data frame. ``data`` is not copied before ``take``."""
        self._put_header(FrameType.DATA, 0, stream_id, len(data))
        self._parts.append(data)
        self.unsent += len(data)

    def check_room(self) -> None:
        """To be called before the other side causes another frame. Raises ``SessionFailed`` where it asks and asks and
        does not read."""
        if self._bare >= self._max_bare:
            problem = "too many pings or streams while no answer can be sent"
            raise violation("REPLY_FLOOD", problem, Code.RESOURCE_EXHAUSTED)

    def take(self) -> bytes:
        """All that waits, in one piece: a copy costs less than a second write."""
        parts, self._parts = self._parts, []
        self.unsent = self._bare = 0
        return b"".join(parts)

    def _put_header(self, kind: FrameType, flags: int, stream_id: int, length: int) -> None:
        self._parts.append(HEADER.pack(VERSION, kind, flags, stream_id, length))
        self.unsent += HEADER.size
