"""Streams: what Elixir's callback gets, and how a stream ends that does not end well."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from bridge.stock import stock_adapter
from tests.snakepit import wire_adapters
from tests.snakepit.elixir_client import CORRELATION_ID, SESSION, ElixirClient, serving_worker
from tests.snakepit.elixir_reading import read_chunk
from tests.snakepit.stock_adapters import Plain
from tests.snakepit.wire_adapters import HANGING, Streams
from tests.support.waiting import until


async def broken(elixir: ElixirClient, tool: str, *chunks: Any, **parameters: Any) -> dict[str, Any]:
    """The payload of the status with which a stream ends, after some chunks."""
    got = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for data in elixir.start_stream(tool, parameters):
            got.append(read_chunk(data))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert got == list(chunks)
    payload: dict[str, Any] = json.loads(caught.value.details() or "")
    assert list(payload) == ["type", "message", "stacktrace", "traceback", "context"]
    return payload


async def test_exception_ends_a_stream_with_its_payload_as_an_internal_error(elixir: ElixirClient) -> None:
    payload = await broken(elixir, "breaks", {"data": 1, "is_final": False})
    assert (payload["type"], payload["message"]) == ("ValueError", "broken")
    assert payload["context"].pop("error_id")
    assert payload["context"] == {
        "tool_name": "breaks",
        "session_id": SESSION,
        "correlation_id": CORRELATION_ID,
        "code": "UNKNOWN",
        "reason": "ValueError",
    }


async def test_chunk_that_json_cannot_carry_is_a_type_error(elixir: ElixirClient) -> None:
    payload = await broken(elixir, "odd")
    assert (payload["type"], payload["context"]["reason"]) == ("TypeError", "UNSUPPORTED_RESULT")


async def test_metadata_of_a_chunk_that_is_no_text_is_a_type_error(elixir: ElixirClient) -> None:
    payload = await broken(elixir, "not_text")
    assert payload["type"] == "TypeError"
    assert payload["context"]["violations"][0]["field"] == "$.metadata"


async def test_chunk_that_is_too_large_is_an_internal_error_that_says_so() -> None:
    async with asyncio.timeout(10), serving_worker(Streams, max_message_bytes=4096) as elixir:
        (chunk, end) = await elixir.stream("large", {"size": 4000})
        assert (chunk["raw_data_base64"][:4], end) == ("AAAA", {"is_final": True})
        payload = await broken(elixir, "large", size=5000)
    assert payload["context"]["reason"] == "MESSAGE_TOO_LARGE"
    assert payload["context"]["code"] == "RESOURCE_EXHAUSTED"


async def test_tool_that_is_not_there_is_an_internal_error_that_says_so(elixir: ElixirClient) -> None:
    payload = await broken(elixir, "cuont", n=1)
    assert payload["type"] == "NotImplementedError"
    assert "'count'" in payload["message"]


async def test_parameters_that_do_not_fit_are_an_internal_error_with_their_names(elixir: ElixirClient) -> None:
    payload = await broken(elixir, "count", n="many")
    assert payload["type"] == "ValueError"
    assert [each["field"] for each in payload["context"]["violations"]] == ["$.n"]


async def test_message_too_long_for_a_status_arrives_cut_and_readable(elixir: ElixirClient) -> None:
    payload = await broken(elixir, "complain", size=100_000)
    assert payload["type"] == "ValueError"
    assert payload["message"].startswith("xxx")
    assert payload["message"].endswith("…")
    assert payload["context"]["tool_name"] == "complain"


async def test_stream_that_is_called_without_streaming_says_what_to_call(elixir: ElixirClient) -> None:
    raised = await elixir.failure("count", {"n": 1})
    assert (raised.struct, raised.context["reason"]) == ("RuntimeError", "STREAMING_TOOL")
    assert "Snakepit.execute_stream" in raised.message


async def test_stream_that_elixir_halts_ends_its_tool(elixir: ElixirClient) -> None:
    rpc = elixir.start_stream("endless")
    async for data in rpc:
        if read_chunk(data)["data"] == 3:
            break
    rpc.cancel()
    await until(lambda: "endless" in wire_adapters.ENDED)


async def test_stream_beyond_its_deadline_is_a_timeout_and_its_tool_ends(elixir: ElixirClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await elixir.stream("hang", timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: wire_adapters.ENDED == [HANGING, "hang"])


async def test_slow_reader_gets_every_chunk_in_order(elixir: ElixirClient) -> None:
    seen = []
    async for data in elixir.start_stream("count", {"n": 3000}):
        seen.append(read_chunk(data).get("data"))
        if len(seen) % 1000 == 0:
            assert await elixir.value("echo", {"value": 1}) == 1
    assert seen == [*range(3000), None]


# -- stock adapters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "parameters", "chunks"),
    [
        ("count", {"n": 2}, [{"data": 0}, {"data": 1}, {}]),
        ("agen", {}, [{"data": 0}, {"data": 1}, {"data": 2}, {}]),
        ("listed", {}, [{"data": 1}, {"data": 2}, {"data": 3}, {}]),
        (
            "chunks",
            {},
            [{"n": 1, "_metadata": {"step": "1"}}, {"raw_data_base64": "AQI="}, {"raw_data_base64": "ZW5k"}],
        ),
        ("raw", {}, [{"raw_data_base64": "AP8="}]),
        ("echo", {"value": {"a": 1}}, [{"a": 1}]),
        ("nothing", {}, [{}]),
    ],
)
async def test_stream_of_a_stock_adapter_is_what_its_callers_know(
    tool: str, parameters: dict[str, Any], chunks: list[dict[str, Any]]
) -> None:
    async with asyncio.timeout(10), serving_worker(stock_adapter(Plain), isolation="thread") as elixir:
        seen = await elixir.stream(tool, parameters)
    last = len(chunks) - 1
    assert seen == [{**chunk, "is_final": n == last} for n, chunk in enumerate(chunks)]


async def test_stream_of_a_stock_adapter_breaks_with_its_exception() -> None:
    async with asyncio.timeout(10), serving_worker(stock_adapter(Plain)) as elixir:
        payload = await broken(elixir, "breaks", {"data": 1, "is_final": False})
    assert (payload["type"], payload["message"]) == ("ValueError", "broken")
