"""Recorded exchanges of a pool with a worker: the bytes that Elixir sends, and the bytes that answer them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest

from bridge.snakepit import SERVICE, messages
from tests.snakepit.elixir_bytes import execute_request, fields, recorded, without
from tests.snakepit.elixir_client import CORRELATION_ID, SESSION, ElixirClient, serving_worker
from tests.snakepit.elixir_reading import read_answer, read_chunk
from tests.snakepit.wire_adapters import One

Case = dict[str, Any]
HERE = Path(__file__).parent
CONTRACT = """
PingRequest message=1 string
PingResponse message=1 string; server_time=2 Timestamp
InitializeSessionRequest session_id=1 string; metadata=2 map<string,string>; config=3 SessionConfig
SessionConfig enable_caching=1 bool; cache_ttl_seconds=2 int32; enable_telemetry=3 bool
InitializeSessionResponse success=1 bool; error_message=2 string; available_tools=3 map<string,ToolSpec>
CleanupSessionRequest session_id=1 string; force=2 bool
CleanupSessionResponse success=1 bool; resources_cleaned=2 int32
ToolSpec name=1 string; description=2 string; parameters=3 rep ParameterSpec; metadata=4 map<string,string>; \
supports_streaming=5 bool
ParameterSpec name=1 string; type=2 string; description=3 string; required=4 bool; default_value=5 Any; \
validation_json=6 string
ExecuteToolRequest session_id=1 string; tool_name=2 string; parameters=3 map<string,Any>; \
metadata=4 map<string,string>; stream=5 bool; binary_parameters=6 map<string,bytes>
ExecuteToolResponse success=1 bool; result=2 Any; error_message=3 string; metadata=4 map<string,string>; \
execution_time_ms=5 int64; binary_result=6 bytes
ToolChunk chunk_id=1 string; data=2 bytes; is_final=3 bool; metadata=4 map<string,string>
GetSessionRequest session_id=1 string
GetSessionResponse session_id=1 string; metadata=2 map<string,string>; created_at=3 Timestamp; tool_count=4 int32
HeartbeatRequest session_id=1 string; client_time=2 Timestamp
HeartbeatResponse server_time=1 Timestamp; session_valid=2 bool
RegisterToolsRequest session_id=1 string; tools=2 rep ToolRegistration; worker_id=3 string
ToolRegistration name=1 string; description=2 string; parameters=3 rep ParameterSpec; metadata=4 map<string,string>; \
supports_streaming=5 bool
RegisterToolsResponse success=1 bool; tool_ids=2 map<string,string>; error_message=3 string
GetExposedElixirToolsRequest session_id=1 string
GetExposedElixirToolsResponse tools=1 rep ToolSpec
ExecuteElixirToolRequest session_id=1 string; tool_name=2 string; parameters=3 map<string,Any>; \
metadata=4 map<string,string>
ExecuteElixirToolResponse success=1 bool; result=2 Any; error_message=3 string; metadata=4 map<string,string>; \
execution_time_ms=5 int64; binary_result=6 bytes
TelemetryEvent event_parts=1 rep string; measurements=2 map<string,TelemetryValue>; metadata=3 map<string,string>; \
timestamp_ns=4 int64; correlation_id=5 string
TelemetryValue int_value=1 int64; float_value=2 double; string_value=3 string
TelemetryControl toggle=1 TelemetryToggle; sampling=2 TelemetrySamplingUpdate; filter=3 TelemetryEventFilter
TelemetryToggle enabled=1 bool
TelemetrySamplingUpdate sampling_rate=1 double; event_patterns=2 rep string
TelemetryEventFilter allow=1 rep string; deny=2 rep string
"""
VARIABLES = [
    "GetVariable",
    "SetVariable",
    "GetVariables",
    "SetVariables",
    "RegisterVariable",
    "ListVariables",
    "DeleteVariable",
    "AddDependency",
    "StartOptimization",
    "StopOptimization",
    "GetVariableHistory",
    "RollbackVariable",
]


def load(name: str) -> dict[str, Case]:
    document = json.loads((HERE / "vectors" / f"{name}.json").read_text("utf-8"))
    return {case["name"]: {"headers": document.get("headers", {}), **case} for case in document["cases"]}


SESSIONS, VALUES, STREAMS = load("sessions"), load("values"), load("streams")


def cases(selected: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", selected.values(), ids=[re.sub(r"\W+", "_", name) for name in selected])


async def send(elixir: ElixirClient, case: Case) -> bytes:
    return await elixir.exchange(case["method"], recorded(case["request"]), case["headers"])


def described(value: Any) -> Any:
    """What Elixir reads, as the recordings write it."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple):
        assert value[0] == "binary"
        return {"binary": value[1].hex()}
    return value


def exact(value: Any) -> str:
    """Shows also the difference between 5 and 5.0, and 0.0 and -0.0."""
    return json.dumps(value, sort_keys=True)


# -- recordings --------------------------------------------------------------------------------------------------


@cases(SESSIONS)
async def test_recorded_request_of_a_pool_gets_the_recorded_answer(elixir: ElixirClient, case: Case) -> None:
    for name in case.get("after", ()):
        await send(elixir, SESSIONS[name])
    if "status" not in case:
        answer = await send(elixir, case)
        assert without(answer, case.get("without", ())) == recorded(case["reply"])
        return
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(elixir, case)
    assert (caught.value.code().value[0], caught.value.details()) == (case["status"], case["details"])


@cases(VALUES)
async def test_recorded_call_gets_the_recorded_answer_and_elixir_its_value(elixir: ElixirClient, case: Case) -> None:
    answer = await send(elixir, case)
    assert without(answer, [5]) == recorded(case["reply"])
    verdict, value = read_answer(answer)
    assert exact([verdict, described(value)]) == exact(case["elixir"])


@cases(STREAMS)
async def test_recorded_stream_gets_the_recorded_chunks_and_elixir_its_values(elixir: ElixirClient, case: Case) -> None:
    rpc = elixir.channel.unary_stream(SERVICE + case["method"])
    request, headers = recorded(case["request"]), tuple(case["headers"].items())
    replies = [data async for data in rpc(request, metadata=headers)]
    assert replies == [recorded(reply) for reply in case["replies"]]
    assert exact([read_chunk(data) for data in replies]) == exact(case["elixir"])


def test_recorded_bytes_are_what_elixir_writes() -> None:
    made = execute_request(
        "all_of",
        {"d": 2.5, "a": 1, "b": "x"},
        session_id="session_7",
        metadata={"correlation_id": "sp-0123456789abcdef01234567"},
        binary={"c": b"\x00\x01\x02"},
    )
    assert recorded(VALUES["parameters of several kinds"]["request"]) == made
    stream = execute_request(
        "count",
        {"n": 2},
        session_id="session_7",
        metadata={"correlation_id": "sp-0123456789abcdef01234567"},
        stream=True,
    )
    assert recorded(STREAMS["numbers and the end"]["request"]) == stream


# -- messages and methods ----------------------------------------------------------------------------------------


def kind(field: Any) -> str:
    """A field's type as the contract writes it."""
    if field.message_type is None:
        names = {1: "double", 3: "int64", 5: "int32", 8: "bool", 9: "string", 12: "bytes"}
        name = names[field.type]
    elif field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return f"map<{kind(key)},{kind(value)}>"
    else:
        name = field.message_type.name
    return f"rep {name}" if field.is_repeated else name


@pytest.mark.parametrize("line", CONTRACT.strip().splitlines(), ids=lambda line: line.split()[0])
def test_message_has_the_fields_of_the_contract(line: str) -> None:
    name, _, expected = line.partition(" ")
    message = getattr(messages, name).DESCRIPTOR
    assert "; ".join(f"{field.name}={field.number} {kind(field)}" for field in message.fields) == expected


@pytest.mark.parametrize("method", VARIABLES)
async def test_variables_are_nothing_that_a_worker_answers(elixir: ElixirClient, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await elixir.exchange(method, b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_session_that_begins_is_told_the_tools() -> None:
    async with asyncio.timeout(10), serving_worker(One) as elixir:
        answer = await elixir.exchange("InitializeSession", b"\x0a\x01x")
        described = await elixir.exchange("GetSession", b"\x0a\x01x")
    assert without(answer, [3]) == recorded(["08 01"])
    (spec,) = messages.InitializeSessionResponse.FromString(answer).available_tools.values()
    text, times = spec.parameters
    assert (spec.name, spec.description, dict(spec.metadata)) == ("shout", "Shouts.", {"group": "texts"})
    assert not spec.supports_streaming
    assert (text.name, text.type, text.description, text.required) == ("text", "str", "what.", True)
    assert not text.HasField("default_value")
    assert json.loads(text.validation_json)["type"] == "string"
    assert (times.name, times.required, times.default_value.value) == ("times", False, b"2")
    assert messages.GetSessionResponse.FromString(described).tool_count == 1


async def test_default_that_is_bytes_is_not_told_as_another(elixir: ElixirClient) -> None:
    answer = await elixir.exchange("InitializeSession", b"\x0a\x01x")
    tools = messages.InitializeSessionResponse.FromString(answer).available_tools
    defaults = {each.name: each.HasField("default_value") for each in tools["all_of"].parameters}
    assert defaults == {"a": True, "b": True, "c": False, "d": True}
    assert tools["count"].supports_streaming


async def test_time_of_execution_is_told_in_milliseconds(elixir: ElixirClient) -> None:
    data = await elixir.exchange("ExecuteTool", execute_request("pause", {}))
    assert messages.ExecuteToolResponse.FromString(data).execution_time_ms > 0
    assert [number for number, _ in fields(data)] == [1, 2, 5]


async def test_stream_of_telemetry_begins_at_once_and_tells_of_calls(elixir: ElixirClient) -> None:
    rpc = elixir.channel.stream_stream(SERVICE + "StreamTelemetry")(metadata=(("grpc-timeout", "5000m"),))
    await rpc.write(recorded(["0a 02 08 01"]))  # toggle, enabled
    await rpc.initial_metadata()
    await elixir.value("echo", {"value": 1})
    async for data in rpc:
        event = messages.TelemetryEvent.FromString(data)
        if list(event.event_parts) == ["tool", "execution", "stop"]:
            break
    assert event.correlation_id == CORRELATION_ID
    assert (event.metadata["tool"], event.metadata["session_id"]) == ("echo", SESSION)
    rpc.cancel()
