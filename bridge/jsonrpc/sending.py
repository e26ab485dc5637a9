"""The texts of a connection on their way out."""

from __future__ import annotations

import asyncio

from bridge.protocols.framing import Framing

__all__ = ["Sending"]

_SMALL = 16 * 1024
"""Bytes of a text that may wait for others."""
_TOGETHER = 64
"""Texts that go out at once, at most."""


class Sending:
    """What is written, and whether there is room for more.

    Args:
        loop: it runs in.
        framing: of the texts.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, framing: Framing) -> None:
        self._loop, self._framing = loop, framing
        self._soon: list[bytes] = []
        self._is_held = False
        self._room: asyncio.Event | None = None
        """Set when there is room again; ``None`` while there is."""
        self.transport: asyncio.Transport | None = None
        """Where they go; what is written while there is none, and after its end, goes nowhere."""

    @property
    def is_full(self) -> bool:
        """Whether the other side takes less than there is."""
        return self._room is not None

    async def room(self) -> None:
        """Returns when there is room for more, or at the end."""
        if self._room is not None:
            await self._room.wait()

    def write(self, text: bytes) -> None:
        """Sends a text, and what was to be sent soon before it."""
        if self.transport is None:
            return
        parts = self._framing.encode(text)
        if self._soon:
            self._soon.append(parts[0])
            self.flush()
            parts = parts[1:]
        for part in parts:
            self.transport.write(part)

    def write_soon(self, text: bytes, *, waits: bool) -> None:
        """Sends a text with others: each sending wakes the other side.

        Args:
            text: of a message.
            waits: for others of this turn of the loop. Otherwise it waits for ``flush``, after ``hold``, or not at all.
        """
        if not (waits or self._is_held) or len(text) > _SMALL or len(self._soon) >= _TOGETHER:
            self.write(text)
            return
        if not self._soon and not self._is_held:
            self._loop.call_soon(self.flush)
        self._soon += self._framing.encode(text)

    def hold(self) -> None:
        """What is to be sent soon waits for ``flush``."""
        self._is_held = True

    def flush(self) -> None:
        """Sends what was to be sent soon."""
        self._is_held = False
        if self._soon and self.transport is not None:
            texts, self._soon = self._soon, []
            self.transport.write(b"".join(texts))

    def pause(self) -> None:
        """There is no room."""
        self._room = asyncio.Event()

    def resume(self) -> None:
        """There is room again."""
        room, self._room = self._room, None
        if room is not None:
            # Not before what has been waiting to be read: it may be the end of what goes on writing.
            self._loop.call_soon(room.set)

    def end(self) -> None:
        """Sends what was to be sent, and nothing more; nobody waits for room any longer."""
        self.flush()
        self.transport = None
        if self._room is not None:
            self._room.set()
