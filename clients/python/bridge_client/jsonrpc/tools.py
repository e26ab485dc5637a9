"""Calls of tools as requests: ``tools.call``, ``tools.stream`` and ``tools.list``."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import msgspec
from msgspec import Raw

from bridge.call import NO_VALUE, Chunk, Progress, time_remaining
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.jsonrpc.host_messages import ChunkNote, decode_as
from bridge.jsonrpc.streams import PROGRESS
from bridge.jsonrpc.values import read_value, write_value
from bridge.protocols.messages import Notification
from bridge.telemetry import semconv
from bridge.telemetry.propagation import client_span
from bridge_client.caller import nested
from bridge_client.info import ParameterInfo, ToolInfo
from bridge_client.jsonrpc.link import Link

__all__ = ["ToolCaller", "read_tools"]

CALL = "tools.call"
STREAM = "tools.stream"

Linked = Callable[[float | None], AbstractAsyncContextManager[Link]]


class _Progress(msgspec.Struct):
    fraction: float | None = None
    message: str = ""


class _ProgressNote(msgspec.Struct):
    value: _Progress


class _Ended(msgspec.Struct):
    chunks: int


class _Tool(msgspec.Struct):
    name: str
    description: str = ""
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] | None = None
    parameters: list[str] = []
    streaming: bool = False
    collects: bool = False
    idempotent: bool = False
    read_only: bool = False
    isolation: str = ""
    timeout: float | None = None
    metadata: dict[str, str] = {}


class _Listing(msgspec.Struct):
    tools: list[_Tool]


class ToolCaller:
    """Calls tools.

    Args:
        linked: gives a connection to ask by, before a deadline.
    """

    def __init__(self, linked: Linked) -> None:
        self._linked = linked
        self._tokens = itertools.count(1)

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        deadline: float | None,
        session_id: str,
        metadata: Mapping[str, str] | None,
    ) -> Any:
        """The result of a tool; ``deadline`` is of ``time.monotonic()``."""
        nesting, timeout = nested(tool, time_remaining(deadline))
        with client_span(CALL, _attributes(tool)) as span:
            async with self._linked(deadline) as link:
                params = _params(tool, arguments, session_id, metadata, timeout, (*nesting, *span.headers().items()))
                text = await link.connection.request(CALL, params, timeout=timeout)
        return None if text is None else read_value(text)

    async def stream(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        deadline: float | None,
        session_id: str,
        metadata: Mapping[str, str] | None,
    ) -> AsyncGenerator[Chunk, None]:
        """What a tool yields, and notes of its progress. Closing it cancels the call."""
        nesting, timeout = nested(tool, time_remaining(deadline))
        with client_span(STREAM, _attributes(tool)) as span:
            async with self._linked(deadline) as link:
                params = _params(tool, arguments, session_id, metadata, timeout, (*nesting, *span.headers().items()))
                notes = link.streams.open(STREAM, params, timeout=timeout, token=f"progress-{next(self._tokens)}")
                async with aclosing(_chunks(notes)) as chunks:
                    async for chunk in chunks:
                        yield chunk


def read_tools(text: Raw) -> list[ToolInfo]:
    """The result of ``tools.list``. Raises DATA_LOSS, reason ``BAD_RESPONSE``."""
    return sorted(map(_info, decode_as(text, _Listing).tools), key=lambda tool: tool.name)


def _info(tool: _Tool) -> ToolInfo:
    fields = msgspec.structs.asdict(tool)
    properties = tool.input_schema.get("properties", {})
    required = tool.input_schema.get("required", ())
    fields["parameters"] = tuple(
        _parameter(name, properties.get(name, {}), name in required) for name in tool.parameters
    )
    return ToolInfo(**fields)


def _parameter(name: str, schema: dict[str, Any], required: bool) -> ParameterInfo:
    """A parameter, as far as its schema tells of it."""
    kind, default = schema.get("type", ""), schema.get("default", NO_VALUE)
    return ParameterInfo(name, str(kind), schema.get("description", ""), required, default, schema)


async def _chunks(notes: AsyncGenerator[Notification | Raw, None]) -> AsyncGenerator[Chunk, None]:
    expected = 0
    async with aclosing(notes):
        async for note in notes:
            if isinstance(note, Raw):
                if decode_as(note, _Ended).chunks != expected:
                    raise _missing()
            elif note.method == PROGRESS:
                progress = decode_as(note.params, _ProgressNote).value
                yield Chunk(progress=Progress(progress.fraction, progress.message))
            else:
                chunk = decode_as(note.params, ChunkNote)
                if chunk.sequence != expected:
                    raise _missing()
                expected += 1
                yield Chunk(read_value(chunk.value), metadata=chunk.metadata or None)


def _missing() -> BridgeError:
    message = "chunks of the stream are missing: the server does not follow the protocol"
    return BridgeError(Code.DATA_LOSS, message, reason="BAD_RESPONSE")


def _params(
    tool: str,
    arguments: Mapping[str, Any],
    session_id: str,
    metadata: Mapping[str, str] | None,
    timeout: float | None,
    headers: tuple[tuple[str, str], ...],
) -> dict[str, Any]:
    meta: dict[str, Any] = dict(headers)
    if session_id:
        meta["session_id"] = session_id
    if metadata:
        meta["metadata"] = dict(metadata)
    if timeout is not None:
        meta["timeout"] = timeout
    params = {"name": tool, "arguments": {name: _value(name, value) for name, value in arguments.items()}}
    return {**params, "_meta": meta} if meta else params


def _value(name: str, value: Any) -> Raw:
    try:
        return Raw(write_value(value))
    except BridgeError as error:
        if not error.violations:
            raise
        where = error.violations[0]
        raise invalid_argument(f"$.{name}{where.field[1:]}", where.description, reason=error.reason) from error


def _attributes(tool: str) -> dict[str, str | int | float | bool]:
    return {semconv.RPC_SYSTEM: "jsonrpc", semconv.TOOL: tool}
