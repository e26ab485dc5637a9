"""The other end of ``targets.obey``."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from bridge.worker.nursery import Newborn


class Talk:
    """Tells a worker what to do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.prepared: Any = None
        """What its zygote holds: of adapters, their names."""

    @classmethod
    async def open(cls, newborn: Newborn) -> Talk:
        """Takes the socket; returns when the worker is ready."""
        talk = cls(*await asyncio.open_connection(sock=newborn.sock, limit=1 << 20))
        talk.prepared = await talk.answer()
        return talk

    def tell(self, *command: object) -> None:
        """Sends a command."""
        self._writer.write(json.dumps(command).encode() + b"\n")

    async def answer(self) -> Any:
        """The next answer; ``EOFError`` if there will be none."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            line = b""
        if not line:
            raise EOFError
        return json.loads(line)

    async def ask(self, *command: object) -> Any:
        """A command and its answer."""
        self.tell(*command)
        return await self.answer()

    async def aclose(self) -> None:
        """Hangs up."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass  # the worker was faster
