"""What a client of another make sees on the wire: generated stubs, blocking and asyncio, and nothing of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.wrappers_pb2 import Int32Value, Int64Value, StringValue, UInt32Value
from google.rpc import error_details_pb2, status_pb2

from bridge.v1 import bridge_pb2, bridge_pb2_grpc, values_pb2
from tests.support import probes


@pytest.fixture
async def address(start: Any) -> str:
    server = await start(probes.Inline)
    return str(server.addresses[0])


@pytest.fixture
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel


def packed(message: Any) -> AnyMessage:
    value = AnyMessage()
    value.Pack(message)
    return value


def request(tool: str, **parameters: Any) -> bridge_pb2.ExecuteToolRequest:
    return bridge_pb2.ExecuteToolRequest(
        tool_name=tool, parameters={name: packed(value) for name, value in parameters.items()}
    )


@pytest.mark.parametrize("number", [Int32Value(value=2), Int64Value(value=2), UInt32Value(value=2)], ids=repr)
async def test_integers_of_every_width_are_integers(channel: grpc.aio.Channel, number: Any) -> None:
    stub = bridge_pb2_grpc.BridgeServiceStub(channel)
    response = await stub.ExecuteTool(request("add", a=number), timeout=5)
    result = Int64Value()
    assert response.result.Unpack(result)
    assert result.value == 3
    assert not response.HasField("binary_result")


async def test_struct_and_json_arguments_arrive(channel: grpc.aio.Channel) -> None:
    stub = bridge_pb2_grpc.BridgeServiceStub(channel)
    struct = Struct()
    struct.update({"a": [1, "b", None]})
    response = await stub.ExecuteTool(request("echo", value=struct), timeout=5)
    json = values_pb2.Json()
    assert response.result.Unpack(json)
    assert json.document == b'{"a":[1.0,"b",null]}'
    document = values_pb2.Json(document=b'{"n": 9007199254740993}')
    response = await stub.ExecuteTool(request("echo", value=document), timeout=5)
    assert response.result.Unpack(json)
    assert json.document == b'{"n":9007199254740993}'


async def test_nothing_is_a_null_value(channel: grpc.aio.Channel) -> None:
    response = await bridge_pb2_grpc.BridgeServiceStub(channel).ExecuteTool(request("echo"), timeout=5)
    value = Value()
    assert response.result.Unpack(value)
    assert value.WhichOneof("kind") == "null_value"


async def test_plain_bytes_travel_beside_any(channel: grpc.aio.Channel) -> None:
    stub = bridge_pb2_grpc.BridgeServiceStub(channel)
    call = bridge_pb2.ExecuteToolRequest(tool_name="echo", binary_parameters={"value": b"\x00\xff"})
    response = await stub.ExecuteTool(call, timeout=5)
    assert (response.binary_result, response.HasField("result")) == (b"\x00\xff", False)
    chunks = [chunk async for chunk in stub.ExecuteStreamingTool(call, timeout=5)]
    assert [(chunk.data, chunk.is_final) for chunk in chunks] == [(b"\x00\xff", True)]


async def test_a_stream_is_numbered_and_ends_once(channel: grpc.aio.Channel) -> None:
    stub = bridge_pb2_grpc.BridgeServiceStub(channel)
    chunks = [chunk async for chunk in stub.ExecuteStreamingTool(request("count", n=Int64Value(value=3)), timeout=5)]
    assert [chunk.sequence for chunk in chunks] == [0, 1, 2, 3]
    assert [chunk.is_final for chunk in chunks] == [False, False, False, True]
    assert not chunks[-1].HasField("value")


async def test_an_error_is_a_status_with_details(channel: grpc.aio.Channel) -> None:
    stub = bridge_pb2_grpc.BridgeServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ExecuteTool(request("add", a=StringValue(value="x")), timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailers = dict(caught.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert any(detail.Unpack(info) for detail in status.details)
    assert any(detail.Unpack(bad) for detail in status.details)
    assert (info.domain, info.reason) == ("tool-bridge", "INVALID_ARGUMENT")
    assert [violation.field for violation in bad.field_violations] == ["$.a"]


async def test_the_list_has_schemas_and_defaults(channel: grpc.aio.Channel) -> None:
    listing = await bridge_pb2_grpc.BridgeServiceStub(channel).ListTools(bridge_pb2.ListToolsRequest(), timeout=5)
    add = next(tool for tool in listing.tools if tool.name == "add")
    assert [(p.name, p.type, p.required) for p in add.parameters] == [("a", "int", True), ("b", "int", False)]
    default = Int64Value()
    assert add.parameters[1].default_value.Unpack(default)
    assert (default.value, add.parameters[1].description) == (1, "another.")
    assert [tool.name for tool in listing.tools] == sorted(tool.name for tool in listing.tools)
    assert listing.etag


async def test_rpcs_of_later_versions_are_unimplemented(channel: grpc.aio.Channel) -> None:
    method = channel.unary_unary("/bridge.v1.HostService/NotThoughtOfYet")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_blocking_client_works_as_well(address: str) -> None:
    def call() -> int:
        with grpc.insecure_channel(address) as channel:
            response = bridge_pb2_grpc.BridgeServiceStub(channel).ExecuteTool(
                request("add", a=Int64Value(value=1)), timeout=5
            )
        result = Int64Value()
        response.result.Unpack(result)
        return int(result.value)

    assert await asyncio.to_thread(call) == 2


async def test_a_deadline_in_the_past_is_exceeded_and_harmless(channel: grpc.aio.Channel) -> None:
    stub = bridge_pb2_grpc.BridgeServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ExecuteTool(request("echo"), timeout=-1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await stub.ExecuteTool(request("echo"), timeout=5)
