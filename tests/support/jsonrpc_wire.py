"""A JSON-RPC client without a library: JSON in, JSON out, as a program in another language would have it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["Wire", "wire_to"]

LIMIT = 5.0
"""Seconds that no answer takes."""


class Wire:
    """One connection.

    Args:
        reader: from the server.
        writer: to it.
        framing: ``content-length`` or ``newline``.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framing: str) -> None:
        self._reader, self._writer, self._framing = reader, writer, framing
        self._ids = itertools.count(1)
        self.heard: list[dict[str, Any]] = []
        """What came while an answer was waited for and was another message."""

    def send(self, *messages: Any) -> None:
        """Sends messages as they are."""
        for message in messages:
            text = json.dumps(message).encode()
            head = b"" if self._framing == "newline" else b"Content-Length: %d\r\n\r\n" % len(text)
            self._writer.write(head + text + (b"\n" if self._framing == "newline" else b""))

    def ask(self, method: str, params: Any = None) -> int:
        """Sends a request and returns its id."""
        id = next(self._ids)
        self.send({"jsonrpc": "2.0", "id": id, "method": method} | ({} if params is None else {"params": params}))
        return id

    def tell(self, method: str, params: Any = None) -> None:
        """Sends a notification."""
        self.send({"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params}))

    async def next(self) -> Any:
        """The next message; raises ``EOFError`` at the end."""
        async with asyncio.timeout(LIMIT):
            try:
                if self._framing == "newline":
                    text = await self._reader.readuntil(b"\n")
                else:
                    head = await self._reader.readuntil(b"\r\n\r\n")
                    text = await self._reader.readexactly(int(head.split(b":")[1]))
            except asyncio.IncompleteReadError:
                raise EOFError from None
        return json.loads(text)

    async def answer(self, id: int) -> dict[str, Any]:
        """The answer to a request."""
        for place, message in enumerate(self.heard):
            if message.get("id") == id and "method" not in message:
                return self.heard.pop(place)
        while (message := await self.next()).get("id") != id or "method" in message:
            self.heard.append(message)
        found: dict[str, Any] = message
        return found

    async def call(self, method: str, params: Any = None) -> Any:
        """The result of a request."""
        answer = await self.answer(self.ask(method, params))
        assert "error" not in answer, answer
        return answer["result"]

    async def error(self, method: str, params: Any = None) -> dict[str, Any]:
        """The error of a request."""
        answer = await self.answer(self.ask(method, params))
        assert "result" not in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    def close(self) -> None:
        """Leaves."""
        self._writer.close()


@asynccontextmanager
async def wire_to(address: str, framing: str = "content-length") -> AsyncIterator[Wire]:
    """A connection to ``unix:/path`` as long as the block runs."""
    reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"), limit=2**20)
    try:
        yield Wire(reader, writer, framing)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass  # the server was first
