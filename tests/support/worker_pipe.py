"""The server's end of a worker's pipe, by hand."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing, nullcontext
from typing import Any

import pytest

from bridge.call import NO_VALUE
from bridge.errors import BridgeError
from bridge.host import CallScope, Host
from bridge.hosts.relay import answer, answer_stream
from bridge.runtime.shared import Memory, borrowing
from bridge.status import read_status, to_status
from bridge.tool_messages import pack_call, read_result
from bridge.v1.bridge_pb2 import ToolChunk
from bridge.worker import frames
from bridge.worker.connection import Connection

__all__ = ["Pipe", "refusal"]


class Pipe:
    """Sends calls and takes what comes.

    Args:
        host: answers what tools ask; ``None``: the questions wait in ``asked``.
    """

    def __init__(self, host: Host | None = None) -> None:
        self.host = host
        self.ready = asyncio.Event()
        self.failed: BridgeError | None = None
        self.lost = asyncio.Event()
        self.logs: list[frames.Log] = []
        self.logged: dict[int, int] = {}
        """By call, the records that had come when it was answered."""
        self.asked: asyncio.Queue[Any] = asyncio.Queue()
        """``Ask``, ``AskCancel`` and ``AskCredit`` as they came."""
        self.pongs: asyncio.Queue[int] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Queue[Any]] = {}
        self._answers: dict[int, asyncio.Task[None]] = {}
        self._scopes: dict[int, CallScope] = {}
        self._memories: dict[int, Memory] = {}
        """By call, what came with its result."""
        self._connection: Connection

    @classmethod
    async def open(cls, sock: socket.socket, host: Host | None = None) -> Pipe:
        """A pipe whose other end has a worker that is ready, or has failed."""
        pipe = cls(host)
        pipe._connection = await Connection.open(
            sock, frames.FromWorker, 2**31, pipe._on_message, lambda _: pipe._on_lost()
        )
        async with asyncio.timeout(10):
            await pipe.ready.wait()
        return pipe

    def send(self, message: Any) -> None:
        """Sends a message."""
        self._connection.send(message)

    def send_bytes(self, data: bytes) -> None:
        """Sends what may be no message."""
        self._connection.write(data)

    def close(self) -> None:
        """Ends the pipe, as the end of a server does."""
        self._connection.close()

    def begin(
        self,
        tool: str,
        /,
        *,
        streaming: bool = False,
        session_id: str = "",
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        remaining: float | None = None,
        principal: str = "",
        **arguments: Any,
    ) -> int:
        """Sends a call; returns its number."""
        number = next(self._numbers)
        self._calls[number] = asyncio.Queue()
        self._scopes[number] = CallScope(session_id, changed_by=f"tool:{tool}", principal=principal)
        request = pack_call(tool, arguments, session_id, metadata)
        self.send(frames.Call(number, request, dict(headers or {}), remaining, principal, streaming))
        return number

    async def next(self, number: int) -> frames.Chunk | frames.Result | frames.Error:
        """What comes next of a call."""
        async with asyncio.timeout(10):
            message: frames.Chunk | frames.Result | frames.Error = await self._calls[number].get()
        return message

    def has_more(self, number: int) -> bool:
        """Whether something of a call has come and was not taken."""
        return not self._calls[number].empty()

    async def end(self, number: int) -> Any:
        """The result of a call, ``NO_VALUE`` if there is none. Raises its error."""
        message = await self.next(number)
        assert not isinstance(message, frames.Chunk)
        if isinstance(message, frames.Error):
            raise read_status(message.status)
        if not message.response:
            return NO_VALUE
        with self._memories.pop(number, None) or nullcontext() as memory, borrowing(memory):
            return read_result(message.response)

    async def call(self, tool: str, /, **options: Any) -> Any:
        """Calls a tool and returns its result."""
        return await self.end(self.begin(tool, **options))

    async def chunks(self, number: int) -> AsyncGenerator[ToolChunk, None]:
        """The chunks of a call, which gets credit for each that is taken; raises its error."""
        while isinstance(message := await self.next(number), frames.Chunk):
            chunk = ToolChunk.FromString(message.chunk)
            yield chunk
            if not chunk.HasField("progress"):
                self.send(frames.Credit(number, 1))
        if isinstance(message, frames.Error):
            raise read_status(message.status)
        assert message.response == b""

    def _on_lost(self) -> None:
        self.lost.set()
        self.ready.set()

    def _on_message(self, message: Any) -> None:
        match message:
            case frames.Ready():
                self.ready.set()
            case frames.Failed():
                self.failed = read_status(message.status)
                self.ready.set()
            case frames.Log():
                self.logs.append(message)
            case frames.Pong():
                self.pongs.put_nowait(message.id)
            case frames.Ask() if self.host is not None:
                self._answers[message.id] = asyncio.create_task(self._answer(self.host, message))
            case frames.Ask() | frames.AskCancel() | frames.AskCredit():
                if message.id in self._answers and isinstance(message, frames.AskCancel):
                    self._answers[message.id].cancel()
                self.asked.put_nowait(message)
            case _:
                if (memory := self._connection.claim()) is not None:
                    self._memories[message.id] = memory
                self.logged[message.id] = len(self.logs)
                self._calls[message.id].put_nowait(message)

    async def _answer(self, host: Host, ask: frames.Ask) -> None:
        scope = self._scopes[ask.call]
        try:
            if ask.streaming:
                async with aclosing(answer_stream(host, scope, ask.path, ask.request)) as messages:
                    async for message in messages:
                        self.send(frames.Answer(ask.id, message))
                self.send(frames.AnswerEnd(ask.id, b""))
            else:
                self.send(frames.Answer(ask.id, await answer(host, scope, ask.path, ask.request)))
        except BridgeError as error:
            self.send(frames.AnswerEnd(ask.id, to_status(error)))


async def refusal(awaitable: Awaitable[Any]) -> BridgeError:
    """The error it raises."""
    with pytest.raises(BridgeError) as refused:
        await awaitable
    return refused.value
