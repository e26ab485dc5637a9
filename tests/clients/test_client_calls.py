"""What a client sends and what it makes of the answers, without a network."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bridge import codec
from bridge.call import NO_VALUE, Chunk, Progress
from bridge.errors import BridgeError, Code
from bridge.v1 import bridge_pb2
from bridge_client import BridgeClient
from bridge_client.pool import ChannelPool
from tests.clients.memory import LOST, MemoryChannel, MemoryServer, chunk, result


def server(*outcomes: object) -> MemoryServer:
    made = MemoryServer()
    made.outcomes.extend(outcomes)  # type: ignore[arg-type]
    return made


async def sent(*args: Any, client: dict[str, Any] | None = None, **kwargs: Any) -> bridge_pb2.ExecuteToolRequest:
    """The request that a call sends."""
    memory = server(result(None))
    async with memory.client(**(client or {})) as caller:
        await caller.call(*args, **kwargs)
    return memory.calls[0].message


# -- requests ----------------------------------------------------------------------------------------------------


async def test_arguments_come_as_mapping_as_keywords_or_both() -> None:
    for request in (
        await sent("tool", {"a": 1, "b": "x"}),
        await sent("tool", a=1, b="x"),
        await sent("tool", {"a": 1}, b="x"),
    ):
        assert {name: codec.decode(value) for name, value in request.parameters.items()} == {"a": 1, "b": "x"}


async def test_argument_given_twice_is_a_type_error_as_in_python() -> None:
    with pytest.raises(TypeError, match=r"given twice.*: a"):
        await sent("tool", {"a": 1}, a=2)


async def test_parameters_with_the_names_of_options_go_into_the_mapping() -> None:
    request = await sent("tool", {"timeout": 1, "session": "s", "metadata": {}, "tool": 2}, timeout=5)
    assert set(request.parameters) == {"timeout", "session", "metadata", "tool"}


@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
async def test_bytes_go_the_short_way(data: object) -> None:
    request = await sent("tool", data=data)
    assert dict(request.binary_parameters) == {"data": b"abc"}
    assert not request.parameters


async def test_session_and_metadata_are_sent_and_metadata_of_the_call_wins() -> None:
    request = await sent("tool", client={"metadata": {"a": "1", "b": "1"}}, session="s" * 32, metadata={"b": "2"})
    assert request.session_id == "s" * 32
    assert dict(request.metadata) == {"a": "1", "b": "2"}


async def test_argument_that_cannot_be_carried_is_refused_with_its_path() -> None:
    with pytest.raises(BridgeError) as caught:
        await sent("tool", rows=[{"when": object()}])
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.violations[0].field == "$.rows[0].when"
    assert caught.value.message.startswith("$.rows[0].when: ")


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (("tool", {1: 2}), {}),
        (("tool", {"\ud800": 2}), {}),
        (("tool", {"a": "\ud800"}), {}),
        (("tool",), {"metadata": {"a": 1}}),
        (("tool",), {"session": 5}),
        ((None,), {}),
        (("tool",), {"timeout": -1}),
        (("tool",), {"timeout": math.nan}),
        (("tool",), {"timeout": "5"}),
    ],
)
async def test_what_is_no_text_or_no_time_is_refused_before_anything_is_sent(
    args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    memory = server(result(None))
    async with memory.client() as client:
        with pytest.raises(BridgeError) as caught:
            await client.call(*args, **options)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert memory.calls == []


async def test_timeouts_default_to_that_of_the_client_and_infinity_is_none() -> None:
    memory = server(result(None))
    async with memory.client(timeout=7) as client:
        await client.call("tool")
        await client.call("tool", timeout=2)
        await client.call("tool", timeout=math.inf)
        with pytest.raises(BridgeError) as caught:
            await client.call("tool", timeout=0)
    assert [call.timeout for call in memory.calls] == [7.0, 2.0, None]
    assert caught.value.code is Code.DEADLINE_EXCEEDED


# -- responses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "text", b"bytes", {"a": [1, b"x"]}])
async def test_values_come_back_as_they_are(value: object) -> None:
    async with server(result(value)).client() as client:
        assert await client.call("tool") == value


async def test_short_bytes_empty_bytes_and_no_result_are_told_apart() -> None:
    response = bridge_pb2.ExecuteToolResponse
    memory = server(
        response(binary_result=b"abc").SerializeToString(),
        response(binary_result=b"").SerializeToString(),
        response().SerializeToString(),
    )
    async with memory.client() as client:
        assert [await client.call("tool") for _ in range(3)] == [b"abc", b"", None]


async def test_damaged_answer_is_data_loss_and_the_next_call_works() -> None:
    unknown = bridge_pb2.ExecuteToolResponse()
    unknown.result.type_url = "type.googleapis.com/nobody.Knows"
    memory = server(b"\xff\xff\xff", unknown.SerializeToString(), result(1))
    async with memory.client() as client:
        for _ in range(2):
            with pytest.raises(BridgeError) as caught:
                await client.call("tool")
            assert (caught.value.code, caught.value.reason) == (Code.DATA_LOSS, "BAD_RESPONSE")
        assert await client.call("tool") == 1


# -- streams -----------------------------------------------------------------------------------------------------


async def values(*messages: bytes | BridgeError) -> list[Any]:
    async with server(list(messages)).client() as client:
        return [value async for value in client.stream("tool")]


async def test_stream_gives_values_and_keeps_the_latest_progress() -> None:
    messages = [
        chunk(0, progress=0.5),
        chunk(1, "a"),
        chunk(2, None),
        chunk(3, "b", progress=1.0),
        chunk(4, final=True),
    ]
    memory, notes = server(messages), []
    async with memory.client() as client:
        stream = client.stream("tool", on_progress=notes.append)
        assert stream.progress is None
        assert [value async for value in stream] == ["a", None, "b"]
        assert stream.progress == Progress(1.0)
        assert repr(stream) == "<ToolStream 'tool' ended>"
        assert [value async for value in stream] == [], "a stream is iterated once"
    assert notes == [Progress(0.5), Progress(1.0)]
    assert memory.closed == 1


async def test_chunks_show_progress_between_values() -> None:
    memory = server([chunk(0, progress=0.5), chunk(1, "a"), chunk(2, "b", final=True)])
    async with memory.client() as client:
        chunks = [part async for part in client.stream("tool").chunks()]
    assert chunks == [Chunk(NO_VALUE, Progress(0.5)), Chunk("a"), Chunk("b")]


async def test_final_chunk_may_carry_a_value_or_none() -> None:
    assert await values(chunk(0, 1), chunk(1, 2, final=True)) == [1, 2]
    assert await values(chunk(0, 1), chunk(1, final=True)) == [1]
    assert await values(chunk(0, final=True)) == []


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [chunk(0, 1)],
        [chunk(0, 1), chunk(2, 2, final=True)],
        [chunk(1, 1, final=True)],
        [chunk(0, 1), chunk(0, 1), chunk(1, final=True)],
        [chunk(0, final=True), chunk(1, 1)],
        [chunk(0, final=True), chunk(1, final=True)],
        [b"\xff\xff\xff"],
    ],
)
async def test_missing_repeated_or_surplus_chunks_are_data_loss(messages: list[bytes]) -> None:
    memory = server(messages)
    async with memory.client() as client:
        with pytest.raises(BridgeError) as caught:
            async for _ in client.stream("tool"):
                pass
    assert (caught.value.code, caught.value.reason) == (Code.DATA_LOSS, "BAD_RESPONSE")
    assert memory.closed == 1


async def test_error_in_the_middle_comes_after_the_values_before_it() -> None:
    got = []
    async with server([chunk(0, 1), chunk(1, 2), LOST]).client() as client:
        stream = client.stream("tool")
        with pytest.raises(BridgeError) as caught:
            async for value in stream:
                got.append(value)
    assert got == [1, 2]
    assert caught.value is LOST
    assert repr(stream) == "<ToolStream 'tool' failed>"


async def test_leaving_a_stream_early_closes_it_once() -> None:
    memory = server([chunk(0, 1), chunk(1, 2), chunk(2, final=True)])
    async with memory.client() as client:
        async with client.stream("tool") as stream:
            assert await anext(stream) == 1
        await stream.aclose()
        assert memory.closed == 1
        never_started = client.stream("tool")
        await never_started.aclose()
        assert repr(never_started) == "<ToolStream 'tool' closed>"
    assert memory.executed == 1


# -- the client itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["", "nowhere", "two words:1", "host:1\n", None, 5])
def test_target_that_is_no_address_is_refused(target: Any) -> None:
    with pytest.raises(BridgeError) as caught:
        BridgeClient(target)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "BAD_TARGET")


@pytest.mark.parametrize(
    "options", [{"connections": 0}, {"connections": 1000}, {"timeout": -1}, {"host": "x"}, {"token": ""}]
)
def test_option_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BridgeError) as caught:
        BridgeClient("memory:1", **options)
    assert caught.value.code is Code.INVALID_ARGUMENT


async def test_closed_client_says_so() -> None:
    client = server(result(1)).client()
    assert repr(client) == "<BridgeClient memory:1 new>"
    async with client:
        assert repr(client) == "<BridgeClient memory:1 open>"
    await client.aclose()
    assert repr(client) == "<BridgeClient memory:1 closed>"
    with pytest.raises(BridgeError) as caught:
        await client.call("tool")
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "CLIENT_CLOSED")
    with pytest.raises(BridgeError):
        client.stream("tool")


async def test_tools_are_read_once_and_kept_while_their_etag_is_the_same() -> None:
    memory = server()
    memory.tools = [bridge_pb2.ToolSpec(name="one", input_schema='{"type": "object"}')]
    async with memory.client() as client:
        first = await client.tools()
        assert first[0].input_schema == {"type": "object"}
        assert first[0].output_schema is None
        assert (await client.tools())[0] is first[0]
        assert memory.methods() == ["ListTools"]
        assert (await client.tools(refresh=True))[0] is first[0]
        memory.etag = "2"
        assert (await client.tools(refresh=True))[0] is not first[0]
    assert memory.methods() == ["ListTools"] * 3


async def test_tool_with_a_damaged_schema_is_data_loss() -> None:
    memory = server()
    memory.tools = [bridge_pb2.ToolSpec(name="one", input_schema="[]")]
    async with memory.client() as client:
        with pytest.raises(BridgeError) as caught:
            await client.tools()
    assert caught.value.code is Code.DATA_LOSS


async def test_pool_gives_a_call_to_the_connection_with_the_fewest() -> None:
    memory = server([chunk(0, 1), chunk(1, final=True)])
    pool = ChannelPool([MemoryChannel(memory), MemoryChannel(memory), MemoryChannel(memory)])
    streams = [pool.stream("/x/ExecuteStreamingTool", b"") for _ in range(4)]
    for stream in streams:
        await anext(stream)
    assert pool.in_flight == (2, 1, 1)
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]
    assert pool.in_flight == (0, 0, 0)
    await pool.aclose()


async def test_pool_lets_go_of_failed_calls() -> None:
    pool = ChannelPool([MemoryChannel(server(LOST)), MemoryChannel(server(LOST))])
    for _ in range(3):
        with pytest.raises(BridgeError):
            await pool.unary("/x/ExecuteTool", b"")
    assert pool.in_flight == (0, 0)
