"""Snakepit's service as a program in another language sees it: requests and answers, and nothing of ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from bridge.snakepit import messages
from bridge.testing import serving

TYPE = "type.googleapis.com/snakepit."

_ANSWERS = {
    "GetVariables": "BatchGetVariables",
    "SetVariables": "BatchSetVariables",
}
_STREAMS = {"WatchVariables": "VariableUpdate", "ExecuteStreamingTool": "ToolChunk"}


class Stub:
    """``await stub.Ping(message="x")`` sends a request and returns the answer; streams return the call."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._channel, self._metadata = channel, metadata

    def __getattr__(self, method: str) -> Any:
        path = f"/snakepit.bridge.BridgeService/{method}"
        base = "ExecuteTool" if method == "ExecuteStreamingTool" else _ANSWERS.get(method, method)
        request = getattr(messages, base + "Request")
        answer = getattr(messages, _STREAMS.get(method, base + "Response"))
        make = self._channel.unary_stream if method in _STREAMS else self._channel.unary_unary
        call = make(path, lambda message: message.SerializeToString(), answer.FromString)

        def send(*, timeout: float = 10, **fields: Any) -> Any:
            return call(request(**fields), timeout=timeout, metadata=self._metadata)

        return send


class SessionStub:
    """The same within a session: no request names it."""

    def __init__(self, stub: Stub, session_id: str) -> None:
        self.stub, self.session_id = stub, session_id

    def __getattr__(self, method: str) -> Any:
        send = getattr(self.stub, method)
        return lambda **fields: send(session_id=self.session_id, **fields)


def packed(value: Any, type_: str = "string") -> dict[str, Any]:
    """A value as stock programs write it."""
    return {"type_url": TYPE + type_, "value": json.dumps(value).encode()}


def value_of(message: Any) -> Any:
    """The value in a variable."""
    assert message.value.type_url == TYPE + message.type
    return json.loads(message.value.value)


@asynccontextmanager
async def host_stub(*adapters: type, **settings: Any) -> AsyncIterator[Stub]:
    """A host that speaks Snakepit's wire, with the tools of some adapters, on a port of its own."""
    settings = {"listen": ("127.0.0.1:0",), "snakepit": True, **settings}
    async with (
        serving(*adapters, role="host", **settings) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        yield Stub(channel)


async def register(session: SessionStub, name: str, type_: str, value: Any, **fields: Any) -> str:
    """Registers a variable and returns its id."""
    answer = await session.RegisterVariable(name=name, type=type_, initial_value=packed(value, type_), **fields)
    assert (answer.success, answer.error_message) == (True, "")
    return str(answer.variable_id)


async def get(session: SessionStub, identifier: str) -> Any:
    """The variable."""
    return (await session.GetVariable(variable_identifier=identifier)).variable


async def write(session: SessionStub, identifier: str, value: Any, type_: str = "string", **fields: Any) -> Any:
    """Writes a variable."""
    return await session.SetVariable(variable_identifier=identifier, value=packed(value, type_), **fields)


async def status(call: Awaitable[Any]) -> tuple[str, str]:
    """The code and the message of the status by which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details() or ""
