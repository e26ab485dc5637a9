"""A pool's end of the telemetry stream, and calls that make events."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import msgspec

from bridge import Adapter, engines, tool
from bridge.call import ToolCall
from bridge.engines.base import ServerOptions
from bridge.host import NoHost
from bridge.interceptors import chain
from bridge.snakepit import SERVICE, messages
from bridge.snakepit.telemetry import TelemetrySource
from bridge.snakepit.telemetry_relay import StockBackend, is_collected
from bridge.telemetry.propagation import CORRELATION


class Event(msgspec.Struct):
    """A telemetry event as Elixir reads it."""

    name: str
    measurements: dict[str, Any]
    metadata: dict[str, str]
    correlation_id: str
    timestamp: int


def read(data: bytes) -> Event:
    message = messages.TelemetryEvent.FromString(data)
    values = {key: getattr(value, value.WhichOneof("value")) for key, value in message.measurements.items()}
    name = ".".join(message.event_parts)
    return Event(name, values, dict(message.metadata), message.correlation_id, message.timestamp_ns)


class Stream:
    """One ``StreamTelemetry`` as its client has it."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def control(self, **fields: Any) -> None:
        await self.raw(messages.TelemetryControl(**fields).SerializeToString())

    async def raw(self, data: bytes) -> None:
        await self.call.write(data)

    async def next(self) -> Event:
        data = await self.call.read()
        assert data is not grpc.aio.EOF, "the stream has ended"
        return read(data)

    async def names(self, count: int) -> list[str]:
        return [(await self.next()).name for _ in range(count)]

    async def rest(self) -> list[Event]:
        """What still comes until the server ends the stream well."""
        events = []
        while (data := await self.call.read()) is not grpc.aio.EOF:
            events.append(read(data))
        assert await self.call.code() == grpc.StatusCode.OK
        return events


class Pool:
    """A client of a server that has one source of telemetry and nothing else."""

    def __init__(self, channel: Any) -> None:
        self._open = channel.stream_stream(SERVICE + "StreamTelemetry")

    async def open(self, timeout: float | None = None) -> Stream:
        """A stream whose headers have come, as Elixir waits for them."""
        call = self._open(timeout=timeout)
        await call.initial_metadata()
        return Stream(call)


@asynccontextmanager
async def serving(source: TelemetrySource) -> AsyncIterator[Pool]:
    options = ServerOptions(max_message_bytes=2**20, max_metadata_bytes=2**14, max_concurrent_streams=100)
    server = engines.serve(options)
    address = server.listen("127.0.0.1:0")
    await server.start(source.methods())
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            yield Pool(channel)
        finally:
            source.close()
            await server.aclose(1.0)


async def run(source: TelemetrySource, outcome: Any = "done", **fields: Any) -> None:
    """Makes a call whose tool returns or raises an outcome."""

    async def proceed(call: ToolCall) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    headers: Mapping[str, str] = {CORRELATION: fields.pop("correlation_id", "")}
    call = ToolCall("word_count", {"text": "the secret text"}, NoHost(), headers=headers, **fields)
    await chain((source,), proceed)(call)


class Emitting(Adapter):
    """Emits events as the tools of stock adapters do."""

    @tool
    def emit(self, event: str) -> tuple[int, bool]:
        """Emits an event; in which process, and whether events are collected there."""
        StockBackend().emit(event, {"bytes": 42, "duration": 0.5}, {"operation": "scan", "step": 3}, "sp-7")
        return os.getpid(), is_collected()
