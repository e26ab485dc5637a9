"""What JSON does not have is the same for Elixir wherever a tool runs: in a worker process or in the server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from bridge.config import ServerConfig
from bridge.server import run_server
from bridge.stock import stock_adapter
from tests.snakepit.elixir_bytes import text
from tests.snakepit.elixir_client import SESSION, ElixirClient, calling, serving_worker
from tests.snakepit.elixir_reading import Raised
from tests.snakepit.odd_values import VALUES, LateStock, Odd, OddStock

MARKED = {"__ffi_unserializable__": True}
NO_ADDRESS = sorted(VALUES.keys() - {"object", "chunk"})
"""Without those that ``str`` shows with an address of memory."""


@asynccontextmanager
async def odd(rules: str) -> AsyncIterator[ElixirClient]:
    async with (
        asyncio.timeout(20),
        serving_worker(Odd, isolation="plain-process", workers=1, snakepit_results=rules) as elixir,
    ):
        assert await elixir.value("plain_pid") != os.getpid()
        assert await elixir.value("inline_pid") == os.getpid()
        yield elixir


def told(outcome: Any) -> Any:
    """Without what has the tool's name in it."""
    if isinstance(outcome[1], Raised):
        raised = outcome[1]
        return raised.struct, raised.context["reason"], raised.context["violations"]
    return repr(outcome)  # 5 is not 5.0


async def streamed(elixir: ElixirClient, tool: str, name: str) -> Any:
    try:
        return repr(await elixir.stream(tool, {"name": name}))
    except grpc.aio.AioRpcError as error:
        return error.code(), (error.details() or "").replace(tool, "")


@pytest.mark.parametrize("rules", ["exact", "stock"])
async def test_values_of_plain_tools_arrive_as_those_of_asynchronous_ones(rules: str) -> None:
    async with odd(rules) as elixir:
        for name in VALUES if rules == "exact" else NO_ADDRESS:
            plain, inline = [await elixir.execute(tool, {"name": name}) for tool in ("plain", "inline")]
            assert told(plain) == told(inline), name


@pytest.mark.parametrize("rules", ["exact", "stock"])
async def test_chunks_of_plain_tools_arrive_as_those_of_asynchronous_ones(rules: str) -> None:
    async with odd(rules) as elixir:
        for name in VALUES:
            plain, inline = [await streamed(elixir, tool, name) for tool in ("plain_stream", "inline_stream")]
            assert plain == inline, name
            if name != "chunk":
                plain, inline = [await streamed(elixir, tool, name) for tool in ("plain", "inline")]
                assert plain == inline, name


async def test_values_of_plain_tools_that_json_does_not_have_become_what_elixir_can_read() -> None:
    async with odd("exact") as elixir:
        seen = {name: await elixir.value("plain", {"name": name}) for name in ("naive datetime", "object", "dataclass")}
        assert seen == {
            "naive datetime": "2024-01-02T12:00:00",
            "object": {**MARKED, "__type__": "builtins.object"},
            "dataclass": {
                "x": 1,
                "at": "2024-01-02T12:00:00",
                "more": [{**MARKED, "__type__": "builtins.complex"}, {"y": 2}],
            },
        }
        assert await elixir.value("plain", {"name": "array"}) == [[1.0, 2.5], [3.0, "Infinity"]]
        refused = await elixir.failure("plain", {"name": "key of a number, deeper"})
        assert (refused.struct, refused.context["reason"]) == ("TypeError", "UNSUPPORTED_RESULT")
        assert refused.context["violations"][0]["field"] == "$[0].a[1]"


async def test_chunk_of_a_plain_tool_with_metadata_that_is_no_text_is_its_type_error() -> None:
    async with odd("exact") as elixir:
        with pytest.raises(grpc.aio.AioRpcError, match=r"TypeError.*metadata.*must be text"):
            await elixir.stream("plain_note")
        assert isinstance(await elixir.value("plain_pid"), int)


@pytest.mark.parametrize("isolation", ["process", "thread"])
@pytest.mark.parametrize(
    ("rules", "seen"),
    [
        ("exact", {"none": None, "integer": 2**70, "tuple": [1, "b"], "bytes": ("binary", b"\x00\xff")}),
        ("stock", {"none": "None", "integer": 2.0**70, "tuple": "(1, 'b')", "bytes": "b'\\x00\\xff'"}),
    ],
)
async def test_results_of_stock_adapters_are_by_the_rules_of_the_server(
    rules: str, seen: dict[str, Any], isolation: str
) -> None:
    adapter = stock_adapter(OddStock)
    async with (
        asyncio.timeout(20),
        serving_worker(adapter, isolation=isolation, workers=1, snakepit_results=rules) as elixir,
    ):
        for name, value in seen.items():
            assert repr(await elixir.value("any", {"name": name})) == repr(value)
        for name, data in (("integer", 2**70), ("naive datetime", "2024-01-02T12:00:00"), ("nan", "NaN")):
            first, last = await elixir.stream("stream", {"name": name})
            assert repr(first) == repr({"data": data, "is_final": False})
            assert last == {"is_final": True}
            assert await elixir.stream("any", {"name": name}) == [{"data": data, "is_final": True}]


async def test_values_of_a_hosts_plain_tools_arrive_as_those_of_asynchronous_ones() -> None:
    config = ServerConfig(
        listen=("127.0.0.1:0",), snakepit=True, sessions="auto-open", isolation="plain-process", log_level="error"
    )
    async with (
        asyncio.timeout(20),
        run_server(config, [Odd], "host") as server,
        calling(server.addresses[0]) as elixir,
    ):
        assert await elixir.exchange("InitializeSession", text(1, SESSION))
        for name in ("naive datetime", "object", "complex", "array", "dataclass"):
            plain, inline = [await elixir.execute(tool, {"name": name}) for tool in ("plain", "inline")]
            assert plain[0] == "ok"
            assert plain == inline


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_result_of_a_stock_adapter_is_read_before_its_cleanup(isolation: str) -> None:
    async with asyncio.timeout(20), serving_worker(stock_adapter(LateStock), isolation=isolation) as elixir:
        assert await elixir.value("any") == {"open": True}
