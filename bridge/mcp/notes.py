"""What a tool gives before it ends, as progress; and what it yields, as the list that its result is."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

from bridge.call import NO_VALUE, Chunk
from bridge.errors import BridgeError, Code
from bridge.invocation import MAX_COLLECTED
from bridge.mcp.plain import plain_json

__all__ = ["Notes", "Report"]

Report = Callable[[float, float | None, str | None], Awaitable[None]]
"""Tells progress, total and a message."""

MAX_MESSAGE = 2000
"""Characters of a value that are shown as progress."""


class Notes:
    """Takes the chunks of a call.

    Progress has to grow with every note (MCP, Progress): values count one each, unless the tool says how far it is.

    Args:
        tool: its name.
        report: sends a note to the client; ``None`` if it asked for none.
    """

    def __init__(self, tool: str, report: Report | None) -> None:
        self.values: list[Any] = []
        """What the tool yielded."""
        self._tool, self._report = tool, report
        self._progress = -math.inf
        self._total: float | None = None

    async def emit(self, chunk: Chunk) -> None:
        """Takes a chunk; returns when there is room for the next one."""
        fraction, message = None, None
        if chunk.value is not NO_VALUE:
            if len(self.values) >= MAX_COLLECTED:
                raise _too_many(self._tool)
            self.values.append(chunk.value)
            message = None if self._report is None else self._shown(chunk.value)
        if chunk.progress is not None:
            fraction, message = chunk.progress.fraction, chunk.progress.message or message
        if self._report is not None:
            self._advance(fraction)
            await self._report(self._progress, self._total, message)

    def _advance(self, fraction: float | None) -> None:
        wanted = self._progress if self._total else max(self._progress, 0.0) + 1.0
        if fraction is not None and math.isfinite(fraction):
            self._total, wanted = 1.0, fraction
        self._progress = max(wanted, math.nextafter(self._progress, math.inf))

    def _shown(self, value: Any) -> str | None:
        if isinstance(value, bytes | bytearray | memoryview):
            return None
        try:
            text = value if isinstance(value, str) else plain_json(self._tool, value).decode()
            text.encode()
        except (BridgeError, UnicodeEncodeError):
            return None  # the result will say so
        return text if len(text) <= MAX_MESSAGE else None


def _too_many(tool: str) -> BridgeError:
    message = f"tool {tool!r} yielded more than {MAX_COLLECTED} values, and MCP has no streams: take fewer at a time"
    return BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="TOO_MANY_VALUES")
