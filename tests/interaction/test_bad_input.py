"""Bad input gets a clear error, and the next call works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue

from bridge import Adapter, BridgeError, Code, engines, tool
from bridge.codec import encode
from bridge.v1.bridge_pb2 import ExecuteToolRequest, ExecuteToolResponse
from bridge.v1.values_pb2 import BigNumber, Json, List
from tests.conftest import Connect
from tests.support import probes

EXECUTE = "/bridge.v1.BridgeService/ExecuteTool"
STREAM = "/bridge.v1.BridgeService/ExecuteStreamingTool"


class Wire:
    """A client that can send anything."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    async def execute(self, request: ExecuteToolRequest | bytes) -> ExecuteToolResponse:
        data = request if isinstance(request, bytes) else request.SerializeToString()
        return ExecuteToolResponse.FromString(await self.channel.unary(EXECUTE, data, timeout=5))

    async def refused(self, request: ExecuteToolRequest | bytes) -> BridgeError:
        with pytest.raises(BridgeError) as caught:
            await self.execute(request)
        good = ExecuteToolRequest(tool_name="add")
        encode(1, good.parameters["a"])
        assert (await self.execute(good)).result.type_url.endswith("Int64Value")
        return caught.value


@pytest.fixture
async def wire(start: Any) -> AsyncIterator[Wire]:
    server = await start(probes.Inline, max_message_bytes=1024 * 1024)
    channel = engines.connect(server.addresses[0])
    yield Wire(channel)
    await channel.aclose()


def packed(message: Any) -> AnyMessage:
    value = AnyMessage()
    value.Pack(message)
    return value


MALFORMED = {
    "unknown type": AnyMessage(type_url="type.googleapis.com/acme.Secret", value=b"\x01"),
    "no type": AnyMessage(value=b"x"),
    "not the message it claims": AnyMessage(type_url="type.googleapis.com/google.protobuf.StringValue", value=b"\xff"),
    "invalid UTF-8": AnyMessage(type_url="type.googleapis.com/google.protobuf.StringValue", value=b"\x0a\x02\xff\xfe"),
    "NaN in JSON": packed(Json(document=b'{"a": NaN}')),
    "not JSON": packed(Json(document=b"{")),
    "JSON too deep": packed(Json(document=b"[" * 1000 + b"]" * 1000)),
    "JSON very deep": packed(Json(document=b"[" * 100_000)),
    "10,000 digits": packed(BigNumber(integer="9" * 10_000)),
    "10,000 digits in JSON": packed(Json(document=b"9" * 10_000)),
    "not a number": packed(BigNumber(decimal="one")),
}


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_value_is_refused_with_its_place(wire: Wire, value: AnyMessage) -> None:
    error = await wire.refused(ExecuteToolRequest(tool_name="echo", parameters={"value": value}))
    assert error.code is Code.INVALID_ARGUMENT
    assert error.violations[0].field.startswith("$.value")
    assert "Secret\x01" not in error.message


async def test_values_nested_too_deep_are_refused(wire: Wire) -> None:
    value = packed(StringValue(value="bottom"))
    for _ in range(100):
        value = packed(List(items=[value]))
    error = await wire.refused(ExecuteToolRequest(tool_name="echo", parameters={"value": value}))
    assert error.code is Code.INVALID_ARGUMENT


async def test_bytes_that_are_no_request_are_refused(wire: Wire) -> None:
    error = await wire.refused(b"\xff\xff\xff")
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "MALFORMED_REQUEST")


async def test_an_argument_given_twice_is_refused(wire: Wire) -> None:
    request = ExecuteToolRequest(tool_name="echo", binary_parameters={"value": b"x"})
    encode(1, request.parameters["value"])
    error = await wire.refused(request)
    assert error.violations[0].field == "$.value"


async def test_a_request_over_the_limit_is_refused(wire: Wire) -> None:
    request = ExecuteToolRequest(tool_name="echo", binary_parameters={"value": bytes(2 * 1024 * 1024)})
    assert (await wire.refused(request)).code is Code.RESOURCE_EXHAUSTED


async def test_a_result_over_the_limit_names_the_limit(connect: Connect, probe: type) -> None:
    client = await connect(BigResult, max_message_bytes=1024 * 1024)
    with pytest.raises(BridgeError, match="--max-message-bytes") as caught:
        await client.call("big")
    assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")


class BigResult(Adapter):
    @tool
    async def big(self) -> bytes:
        return bytes(2 * 1024 * 1024)

    @tool
    async def strange(self) -> Any:
        return {"rows": [1, {"when": object()}]}

    @tool
    async def generator(self) -> Any:
        return (n for n in range(3))

    @tool
    async def circle(self) -> Any:
        circle: list[Any] = []
        circle.append(circle)
        return circle


@pytest.mark.parametrize("name", ["strange", "generator", "circle"])
async def test_a_result_that_cannot_be_carried_is_the_tools_error(connect: Connect, name: str) -> None:
    client = await connect(BigResult)
    for call in (client.call(name), anext(aiter(client.stream(name)))):
        with pytest.raises(BridgeError, match="cannot be carried") as caught:
            await call
        assert (caught.value.code, caught.value.reason) == (Code.UNKNOWN, "UNSUPPORTED_RESULT")
    if name == "strange":
        assert caught.value.violations[0].field == "$.rows[1].when"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({}, "$.a"), ({"a": "2"}, "$.a"), ({"a": 1.5}, "$.a"), ({"a": 1, "c": 2}, "$.c"), ({"a": 1, "b": None}, "$.b")],
    ids=["missing", "text", "fraction", "unknown", "null"],
)
async def test_wrong_arguments_are_named(connect: Connect, probe: type, arguments: dict[str, Any], field: str) -> None:
    client = await connect(probe)
    with pytest.raises(BridgeError) as caught:
        await client.call("add", arguments)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [violation.field for violation in caught.value.violations] == [field]
    assert await client.call("add", a=1) == 2


async def test_an_unknown_tool_is_not_found_with_a_hint(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    with pytest.raises(BridgeError, match="did you mean 'add'") as caught:
        await client.call("ad")
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "TOOL_NOT_FOUND")
    with pytest.raises(BridgeError):
        await client.call("__init__")
    with pytest.raises(BridgeError):
        await client.call("x" * 100_000)


@pytest.mark.parametrize("kind", probes.FAILURES)
async def test_whatever_a_tool_raises_the_caller_gets_an_error_and_the_next_call_works(
    connect: Connect, probe: type, journal: probes.Journal, kind: str
) -> None:
    client = await connect(probe, client={"retry": None})
    with pytest.raises(BridgeError) as caught:
        await client.call("fail", kind=kind)
    assert caught.value.code is Code.UNKNOWN
    assert caught.value.reason
    assert caught.value.details.metadata["error_id"]
    assert len(caught.value.message) < 5000
    assert journal.count("cleanup") == 1
    assert await client.call("add", a=1) == 2


async def test_a_tool_error_carries_its_code_reason_and_facts(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    with pytest.raises(BridgeError, match="no such planet") as caught:
        await client.call("fail", kind="tool")
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "NO_PLANET")
    assert caught.value.details.metadata == {"planet": "Vulcan"}


async def test_a_tool_that_prints_harms_nobody(connect: Connect, probe: type, capfd: Any) -> None:
    client = await connect(probe)
    assert await client.call("fail", kind="print") is None


async def test_tracebacks_travel_only_with_debug(connect: Connect, probe: type) -> None:
    for debug in (False, True):
        client = await connect(probe, debug=debug)
        with pytest.raises(BridgeError) as caught:
            await client.call("fail", kind="value")
        assert ("explode" in (caught.value.details.debug or "")) is debug


async def test_messages_can_be_hidden(connect: Connect, probe: type) -> None:
    client = await connect(probe, redact_errors=True)
    with pytest.raises(BridgeError) as caught:
        await client.call("fail", kind="value")
    assert "plain mistake" not in caught.value.message
    assert caught.value.details.metadata["error_id"] in caught.value.message


async def test_an_oversize_header_is_refused(connect: Connect, start: Any) -> None:
    server = await start(probes.Inline)
    channel = engines.connect(server.addresses[0])
    request = ExecuteToolRequest(tool_name="echo").SerializeToString()
    with pytest.raises(BridgeError) as caught:
        await channel.unary(EXECUTE, request, headers=[("x", "y" * 20_000)], timeout=5)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert await channel.unary(EXECUTE, request, timeout=5)
    await channel.aclose()


async def test_a_client_that_vanishes_mid_stream_leaves_nothing_running(
    start: Any, probe: type, journal: probes.Journal
) -> None:
    server = await start(probe)
    channel = engines.connect(server.addresses[0])
    stream = channel.stream(STREAM, ExecuteToolRequest(tool_name="endless").SerializeToString())
    async with asyncio.timeout(5):
        await anext(stream)
        await channel.aclose()
        await journal.wait("closed")
        await journal.wait("cleanup")
    with pytest.raises((BridgeError, asyncio.CancelledError)):
        await anext(stream)
