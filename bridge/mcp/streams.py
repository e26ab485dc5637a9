"""MCP messages as lines, in the form of the SDK's streams."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio
import mcp_types as types
import msgspec
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from pydantic import ValidationError

from bridge.mcp.callers import Line
from bridge.protocols.framing import FramingViolation
from bridge.protocols.limits import ProtocolLimits
from bridge.protocols.newline import Newline
from bridge.protocols.rpc_errors import INVALID_REQUEST, PARSE_ERROR

__all__ = ["Incoming", "Outgoing"]

_CHUNK = 256 * 1024


class _Stream:
    """What the SDK closes; the pipes are closed by who has opened them."""

    async def aclose(self) -> None:
        return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        return None


class Outgoing(_Stream):
    """Messages to the client.

    Args:
        writer: the pipe.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._unanswered: set[types.RequestId] = set()
        self._all_answered = asyncio.Event()
        self._all_answered.set()

    def asked(self, id: types.RequestId) -> None:
        """A request has come."""
        self._unanswered.add(id)
        self._all_answered.clear()

    def answered(self, id: types.RequestId | None) -> None:
        """A request has its answer."""
        self._unanswered.discard(id)
        if not self._unanswered:
            self._all_answered.set()

    def given_up(self, id: object) -> None:
        """The client says that it waits for no answer to a request; what it names may be anything."""
        if isinstance(id, int | str):
            self.answered(id)

    async def settle(self, timeout: float) -> None:
        """Returns when all requests have their answers, at the latest after some seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._all_answered.wait()

    async def send(self, item: SessionMessage) -> None:
        """Writes a message. Raises ``anyio.BrokenResourceError`` when nobody reads any more."""
        message = item.message
        text = message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            self.answered(message.id)
        await self.write(text)

    async def write(self, text: bytes) -> None:
        """Writes a JSON text that has no line breaks."""
        try:
            self._writer.write(text + b"\n")
        except OSError as error:
            raise anyio.BrokenResourceError from error
        await self.flush()

    async def flush(self) -> None:
        """Returns when there is room for more. Raises as ``send`` does."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise anyio.BrokenResourceError from error


class Incoming(_Stream):
    """Messages from the client; ends when the pipe does, or when nobody reads our answers.

    Reads no more while answers wait to be read, so a client that does not read them fills no memory here.

    Args:
        reader: the pipe.
        answers: where a line that is no message is answered.
        max_line_bytes: of a message; after a longer one nothing more is read.
        eof_grace: seconds that requests have when the pipe ends: the SDK cancels them when this does.
    """

    def __init__(self, reader: asyncio.StreamReader, answers: Outgoing, max_line_bytes: int, eof_grace: float) -> None:
        self._reader, self._answers, self._eof_grace = reader, answers, eof_grace
        self._framing = Newline(ProtocolLimits(max_frame_bytes=max_line_bytes))
        self._messages: deque[SessionMessage] = deque()
        self._has_ended = False

    def end(self) -> None:
        """Takes nothing more."""
        self._messages.clear()
        self._has_ended = True
        self._reader.feed_eof()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        while not self._messages:
            if self._has_ended:
                raise StopAsyncIteration
            try:
                await self._answers.flush()
                await self._take(await self._reader.read(_CHUNK))
            except anyio.BrokenResourceError:
                self._has_ended = True
        return self._messages.popleft()

    async def receive(self) -> SessionMessage | Exception:
        """The next message; raises ``anyio.EndOfStream`` after the last one."""
        try:
            return await anext(self)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def _take(self, data: bytes) -> None:
        if not data and not self._has_ended:
            self._has_ended = True
            await self._answers.settle(self._eof_grace)
        try:
            for line in self._framing.feed(data):
                if (message := await self._parse(line)) is not None:
                    self._messages.append(message)
        except FramingViolation as violation:
            self._has_ended = True
            await self._refuse(PARSE_ERROR, violation.message)

    async def _parse(self, line: bytes) -> SessionMessage | None:
        try:
            message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except (ValidationError, ValueError):
            await self._refuse_line(line)
            return None
        if isinstance(message, types.JSONRPCRequest):
            self._answers.asked(message.id)
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            self._answers.given_up((message.params or {}).get("requestId"))
        return SessionMessage(message, ServerMessageMetadata(request_context=Line(len(line))))

    async def _refuse_line(self, line: bytes) -> None:
        try:
            msgspec.json.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            await self._refuse(PARSE_ERROR, "the line is not a JSON text in UTF-8")
        else:
            await self._refuse(INVALID_REQUEST, "the line is not one JSON-RPC 2.0 message, and MCP has no batches")

    async def _refuse(self, number: int, message: str) -> None:
        error = {"code": number, "message": message}
        await self._answers.write(msgspec.json.encode({"jsonrpc": "2.0", "id": None, "error": error}))
