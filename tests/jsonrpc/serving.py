"""Talking to a handler server of this process over a socket of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridge.jsonrpc import Server
from bridge.jsonrpc.server import FramingName
from tests.jsonrpc.ends import FRAMINGS, Wire


class Client(Wire):
    """Says requests and hears answers."""

    async def ask(self, method: str, params: Any = None, id: Any = 1) -> Any:
        """The answer to a request, whose id it checks; nothing else may come before it."""
        self.request(method, params, id)
        answer = await self.hear()
        assert answer.pop("id") == id, answer
        assert answer.pop("jsonrpc") == "2.0"
        return answer

    async def result(self, method: str, params: Any = None) -> Any:
        """The result of a request."""
        answer = await self.ask(method, params)
        assert set(answer) == {"result"}, answer
        return answer["result"]

    async def error(self, method: str, params: Any = None) -> Any:
        """The error of a request."""
        answer = await self.ask(method, params)
        assert set(answer) == {"error"}, answer
        return answer["error"]

    def request(self, method: str, params: Any = None, id: Any = 1) -> None:
        """Says a request and does not wait."""
        self.say({"id": id, "method": method, **({} if params is None else {"params": params})})

    def notify(self, method: str, params: Any = None) -> None:
        """Says a notification."""
        self.say({"method": method, **({} if params is None else {"params": params})})


@asynccontextmanager
async def serving(server: Server, path: Path, framing: FramingName = "content-length") -> AsyncIterator[str]:
    """Serves on a socket until the block ends; gives its path."""
    address = await server.start(f"unix:{path}", framing=framing)
    try:
        yield address.removeprefix("unix:")
    finally:
        async with asyncio.timeout(10):
            await server.stop(0.5)


@asynccontextmanager
async def connected(path: str, framing: FramingName = "content-length") -> AsyncIterator[Client]:
    """A client of a socket."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        async with asyncio.timeout(10):
            yield Client(reader, writer, FRAMINGS[framing]())
    finally:
        writer.close()


@asynccontextmanager
async def talking(server: Server, path: Path, framing: FramingName = "content-length") -> AsyncIterator[Client]:
    """A server, and its only client."""
    async with serving(server, path, framing) as address, connected(address, framing) as client:
        yield client
