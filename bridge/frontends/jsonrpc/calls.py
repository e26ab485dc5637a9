"""Tools by JSON-RPC: ``tools.call``, ``tools.stream``, and every tool as a method of its own name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any

import msgspec
from msgspec import UNSET

from bridge.call import NO_VALUE, Chunk, Progress, ToolCall
from bridge.dispatcher import Dispatcher
from bridge.errors import BridgeError, invalid_argument
from bridge.frontends.jsonrpc.client import Client
from bridge.frontends.stream_writer import StreamWriter
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.host_messages import CHUNK, META, write_chunk
from bridge.jsonrpc.params import NO_META, Meta, Params, bind, by_position
from bridge.jsonrpc.values import read_params, write_value
from bridge.protocols.messages import Id, Request
from bridge.tool_messages import message_too_large, unsupported_result

__all__ = ["TOOLS", "ToolCalls"]

TOOLS = "tools."
"""Before the methods and notifications that are about any tool."""


class _Call(Params):
    name: str
    arguments: dict[str, Any] | list[Any] = msgspec.field(default_factory=dict)


class _About(Params):
    """Of the params of a direct call, what is no argument."""


class ToolCalls:
    """Runs tools.

    Args:
        dispatcher: runs the calls.
        max_message_bytes: most bytes of a value on its way out.
        max_timeout: seconds a call may take, whatever its caller says.
        on_response: told the tool and the bytes of each value.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        max_message_bytes: int,
        max_timeout: float,
        on_response: Callable[[str, int], None] | None = None,
    ) -> None:
        self._dispatcher, self._registry = dispatcher, dispatcher.registry
        self._max_message_bytes, self._max_timeout = max_message_bytes, max_timeout
        self._on_response = on_response

    async def direct(self, client: Client, request: Request) -> bytes:
        """A tool as a method: its arguments are the params."""
        params = read_params(request.params)
        meta = NO_META
        if type(params) is dict and META in params:
            about = {META: params.pop(META)}
            meta = bind(request.method, about, _About).meta
        return await self._run(client, request, request.method, params, meta)

    async def call(self, client: Client, request: Request) -> bytes:
        """``tools.call``: the result of a tool."""
        params = bind(request.method, read_params(request.params), _Call)
        return await self._run(client, request, params.name, params.arguments, params.meta)

    async def stream(self, client: Client, request: Request) -> dict[str, int]:
        """``tools.stream``: what a tool yields as notifications, and then how many they were."""
        params = bind(request.method, read_params(request.params), _Call)
        meta = params.meta
        call = self._call(client, request, params.name, params.arguments, meta)
        call.streaming = True
        stream = _Stream(client.connection, request.id, meta, self._alive(call, meta))
        with client.telling(request) as tell:
            writer = StreamWriter(
                partial(tell, TOOLS + CHUNK),
                self._max_message_bytes if self._on_response is None else -1,
                partial(self._check, call.tool),
                stream.pack,
            )
            stream.write = writer.emit
            call.emit = stream.emit
            try:
                value = await self._dispatcher.run(call)
                if value is not NO_VALUE:
                    await writer.emit(Chunk(value))
            except BridgeError as error:
                if error.reason == "UNSUPPORTED_VALUE":
                    raise unsupported_result(call.tool, error) from error
                raise
        return {"chunks": stream.count}

    async def _run(self, client: Client, request: Request, tool: str, arguments: Any, meta: Meta) -> bytes:
        call = self._call(client, request, tool, arguments, meta)
        if meta.progress_token is not UNSET or meta.idle_timeout is not None:
            self._hear_progress(call, client.connection, meta)
        value = await self._dispatcher.run(call)
        try:
            text = write_value(value)
        except BridgeError as error:
            raise unsupported_result(tool, error) from error
        if len(text) > self._max_message_bytes or self._on_response is not None:
            self._check(tool, text)
        return text

    def _call(self, client: Client, request: Request, tool: str, arguments: Any, meta: Meta) -> ToolCall:
        if type(arguments) is list:
            arguments = by_position(f"tool {tool!r}", arguments, self._positions(tool))
        size = 0 if request.params is None else len(request.params)
        call = ToolCall(
            tool=tool,
            arguments={} if arguments is None else arguments,
            host=client.host,
            answer=partial(client.connection.fail, request.id, asyncio.current_task()),
            size=size,
            frontend="jsonrpc",
        )
        if meta is not NO_META:
            call.session_id, call.metadata, call.headers = meta.session_id, meta.metadata, meta.headers
            seconds = [each for each in (meta.timeout, meta.idle_timeout) if each is not None]
            call.deadline = monotonic() + min(seconds) if seconds else None
        return call

    def _positions(self, tool: str) -> list[str]:
        entry = self._registry[tool]
        if entry.tool.dynamic:
            raise invalid_argument("$", f"tool {tool!r} takes what it takes by name: send an object")
        return [parameter.name for parameter in entry.tool.parameters]

    def _hear_progress(self, call: ToolCall, connection: Connection, meta: Meta) -> None:
        """Lets a tool that gives one result tell how far it is."""
        entry = self._registry.get(call.tool)
        if entry is None or entry.tool.streaming or entry.tool.dynamic:
            return
        alive = self._alive(call, meta)

        async def emit(chunk: Chunk) -> None:
            alive()
            if chunk.progress is not None:
                await tell_progress(connection, meta, chunk.progress)

        call.streaming, call.emit = True, emit

    def _alive(self, call: ToolCall, meta: Meta) -> Callable[[], None]:
        """What a sign of life does to the time that is left."""
        idle = meta.idle_timeout
        if idle is None:
            return _nothing
        entry = self._registry.get(call.tool)
        limits = (meta.timeout, None if entry is None else entry.tool.options.timeout, self._max_timeout)
        last = monotonic() + min(each for each in limits if each is not None)

        def alive() -> None:
            call.deadline = min(monotonic() + idle, last)

        return alive

    def _check(self, tool: str, text: bytes) -> None:
        """Looks at a value before it goes."""
        if len(text) > self._max_message_bytes:
            raise message_too_large(tool, len(text), self._max_message_bytes)
        if self._on_response is not None:
            self._on_response(tool, len(text))


class _Stream:
    """Where the chunks of one call go."""

    def __init__(self, connection: Connection, id: Id, meta: Meta, alive: Callable[[], None]) -> None:
        self.count = 0
        self._connection, self._id, self._meta, self._alive = connection, id, meta, alive
        self.write: Callable[[Chunk], Any]

    def pack(self, chunk: Chunk, sequence: int, final: bool) -> bytes:
        """Params of the notification."""
        text = write_chunk(self._id, sequence, chunk.value, chunk.metadata)
        self.count = sequence + 1
        return text

    async def emit(self, chunk: Chunk) -> None:
        """Sends a chunk; returns when there is room for the next one."""
        self._alive()
        if chunk.progress is not None:
            await tell_progress(self._connection, self._meta, chunk.progress)
        if chunk.value is not NO_VALUE:
            await self.write(chunk)


async def tell_progress(connection: Connection, meta: Meta, progress: Progress) -> None:
    """Sends ``$/progress``, if the client wants to hear of it."""
    if meta.progress_token is not UNSET:
        connection.progress(meta.progress_token, _progress(progress))
        await connection.drained()


def _progress(progress: Progress) -> Mapping[str, Any]:
    if progress.fraction is None:
        return {"message": progress.message}
    return {"fraction": progress.fraction, "message": progress.message}


def _nothing() -> None:
    pass
