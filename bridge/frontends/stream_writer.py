"""From a tool that yields to an RPC that streams: numbering and order.

Each chunk is handed to the engine before the tool goes on, so that a caller sees it even if the tool computes for a
minute without giving way to the event loop. A few chunks of room between the two would save little.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bridge.call import Chunk
from bridge.errors import BridgeError, Code
from bridge.tool_messages import pack_chunk

__all__ = ["StreamWriter"]


class StreamWriter:
    """Sends the chunks of one call one after the other.

    Values and notes of progress come from different tasks, hence the turns.

    Args:
        write: sends a message; returns when flow control has room for more.
        limit: bytes of a message that need no look.
        check: looks at longer ones; raises ``BridgeError`` to refuse one.
        pack: makes a message of a chunk, its number, and whether it is the last.
    """

    __slots__ = ("_busy", "_check", "_limit", "_pack", "_sequence", "_turn", "_write")

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        limit: int,
        check: Callable[[bytes], None],
        pack: Callable[[Chunk, int, bool], bytes] = pack_chunk,
    ) -> None:
        self._pack = pack
        self._write = write
        self._limit = limit
        self._check = check
        self._sequence = 0
        self._busy = False
        self._turn: asyncio.Event | None = None

    async def emit(self, chunk: Chunk, final: bool = False) -> None:
        """Sends a chunk; returns when there is room for the next one.

        Raises ``BridgeError``: CANCELLED, reason ``CLIENT_GONE``, if nobody takes it any more; INVALID_ARGUMENT, reason
        ``UNSUPPORTED_VALUE``, for a value that cannot be carried; what ``check`` raises.
        """
        while self._busy:
            if self._turn is None:
                self._turn = asyncio.Event()
            await self._turn.wait()
        self._busy = True
        try:
            message = self._pack(chunk, self._sequence, final)
            if len(message) > self._limit:
                self._check(message)
            self._sequence += 1
            try:
                await self._write(message)
            except BridgeError:
                raise
            except Exception as error:  # whatever an engine raises here: nobody takes the message
                raise BridgeError(Code.CANCELLED, "the client is gone", reason="CLIENT_GONE") from error
        finally:
            self._busy = False
            if self._turn is not None:
                turn, self._turn = self._turn, None
                turn.set()
