from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bridge import testing
from bridge.call import Chunk, ToolCall
from bridge.config import ServerConfig
from bridge.errors import BridgeError, Code
from bridge.executors.inline import InlineExecutor
from bridge.host import CallScope, NoHost
from bridge.invocation import ErrorPolicy, Invocation
from bridge.registry import Registry
from bridge.server import run_server
from bridge.session import SessionContext
from bridge.snakepit import FINAL
from bridge.stock import ambient, stock_adapter
from bridge.stock.context import StockContext
from bridge.stock.streams import as_chunk, is_stream
from bridge.stock.variables import StockVariables
from bridge.telemetry.propagation import CORRELATION
from bridge.v1.bridge_pb2 import ToolSpec
from bridge_client import BridgeClient
from tests.snakepit import stock_adapters
from tests.snakepit.stock_tools import StreamChunk


class Elixir(NoHost):
    """A host with tools."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []

    async def list_tools(self, scope: CallScope) -> list[ToolSpec]:
        self.asked.append(("list", scope.session_id))
        spec = ToolSpec(name="greet", description="Says hello")
        spec.parameters.add(name="who", type="string", required=True)
        return [spec, ToolSpec(name="fail")]

    async def call_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
        self.asked.append((tool, scope.session_id))
        if tool == "greet":
            return {"hello": dict(arguments)}
        if tool == "fail":
            raise BridgeError(Code.UNKNOWN, "host tool 'fail' failed: no", reason="HOST_TOOL_FAILED")
        if tool == "late":
            raise BridgeError(Code.DEADLINE_EXCEEDED, "no time is left", reason="DEADLINE_EXCEEDED")
        raise BridgeError(Code.NOT_FOUND, f"host tool {tool!r}: unknown", reason="TOOL_NOT_FOUND")


@asynccontextmanager
async def serving(cls: type, folder: Path, host: NoHost, isolation: Any) -> AsyncIterator[BridgeClient]:
    config = ServerConfig(listen=(f"unix:{folder / 's'}",), log_level="error", grace=2.0, isolation=isolation)
    async with (
        asyncio.timeout(20),
        run_server(config, [stock_adapter(cls)], host=host) as server,
        BridgeClient(server.addresses[0]) as client,
    ):
        yield client


@pytest.fixture(params=["", "thread"], ids=["process", "thread"])
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def elixir() -> Elixir:
    return Elixir()


@pytest.fixture
async def client(isolation: str, tmp_path: Path, elixir: Elixir) -> AsyncIterator[BridgeClient]:
    async with serving(stock_adapters.Plain, tmp_path, elixir, isolation) as client:
        yield client


# -- tools of Elixir


@pytest.mark.parametrize("value", ["text", {"a": [1, None]}, [1.5], 2**60, True, None])
async def test_elixir_tools_take_every_kind_of_argument(client: BridgeClient, value: Any) -> None:
    assert await client.call("elixir", name="greet", arguments={"who": value}) == {"hello": {"who": value}}


async def test_elixir_tools_are_listed_when_they_are_asked_for(client: BridgeClient, elixir: Elixir) -> None:
    await client.call("nothing")
    assert elixir.asked == []
    assert await client.call("tools") == ["fail", "greet"]
    assert elixir.asked == [("list", "")]


async def test_a_listed_tool_can_be_called_and_looked_into(client: BridgeClient) -> None:
    found = await client.call("proxy", name="greet", arguments={"who": "x"})
    assert found == {"name": "greet", "result": {"hello": {"who": "x"}}, "keys": ["description", "name", "parameters"]}


async def test_an_elixir_tool_that_is_not_there_is_a_value_error(client: BridgeClient) -> None:
    with pytest.raises(BridgeError) as caught:
        await client.call("elixir", name="nobody", arguments={})
    assert caught.value.reason == "ValueError"


async def test_an_elixir_tool_that_fails_is_a_runtime_error(client: BridgeClient) -> None:
    with pytest.raises(BridgeError) as caught:
        await client.call("elixir", name="fail", arguments={})
    assert caught.value.reason == "RuntimeError"
    assert "Failed to call Elixir tool: host tool 'fail' failed: no" in caught.value.message


async def test_a_call_that_is_out_of_time_says_so_itself(client: BridgeClient) -> None:
    with pytest.raises(BridgeError) as caught:
        await client.call("elixir", name="late", arguments={})
    assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_a_coroutine_may_block_on_elixir(isolation: str, tmp_path: Path, elixir: Elixir) -> None:
    async with serving(stock_adapters.Asynchronous, tmp_path, elixir, isolation) as client:
        found = await client.call("elixir", tool_name="greet", who="y")
    assert found == {"hello": {"who": "y"}}


async def test_without_a_list_of_tools_there_are_none(isolation: str, tmp_path: Path) -> None:
    async with serving(stock_adapters.Plain, tmp_path, NoHost(), isolation) as client:
        assert await client.call("tools") == []


# -- on the event loop of the server


async def run_inline(tool: str, /, **arguments: Any) -> Any:
    call = ToolCall(tool=tool, arguments=arguments, host=Elixir(), metadata={"thread_sensitive": "true"})
    entry = Registry([stock_adapter(stock_adapters.Plain)])[tool]
    context = SessionContext(call, asyncio.get_running_loop())
    return await InlineExecutor().run(Invocation(entry, call, context, ErrorPolicy()))


async def test_a_thread_sensitive_call_can_run_on_the_event_loop() -> None:
    async with asyncio.timeout(5):
        assert (await run_inline("where"))["main_thread"] is True
        assert (await run_inline("coroutine"))["on_loop"] is True


async def test_what_would_wait_there_for_ever_is_refused() -> None:
    async with asyncio.timeout(5):
        with pytest.raises(BridgeError) as caught:
            await run_inline("elixir", name="greet", arguments={})
    assert caught.value.reason == "RuntimeError"
    assert "--isolation process" in caught.value.message


# -- variables


async def variables(tool: str, isolation: str) -> Any:
    adapter = stock_adapter(stock_adapters.Variables)
    async with (
        asyncio.timeout(20),
        testing.connect(adapter, isolation=isolation) as client,
        client.session() as session,
    ):
        return await session.call(tool)


async def test_variables_have_the_methods_they_once_had(isolation: str) -> None:
    found = await variables("basics", isolation)
    listed = found.pop("listed")
    assert found == {
        "identifier": "temperature",
        "before": 0.5,
        "after": 1.0,
        "flag": True,
        "found": {"temperature": 1.0, "note": "hi"},
        "there": [True, False, False],
    }
    assert listed["temperature"] == {
        "id": "temperature",
        "name": "temperature",
        "type": "float",
        "value": 1.0,
        "version": 3,
        "constraints": {"min": 0.0, "max": 1.0},
        "metadata": {"unit": "C"},
        "optimizing": False,
    }


async def test_variables_refuse_by_the_errors_they_once_had(isolation: str) -> None:
    missing, wrong = "VariableNotFoundError,KeyError", "ValueError,Exception"
    assert await variables("refusals", isolation) == [missing] * 4 + [wrong] * 3


async def test_batches_write_all_or_what_they_can(isolation: str) -> None:
    assert await variables("batches", isolation) == {
        "atomic": ["a"],
        "after_atomic": {"a": 2, "b": {"x": [2]}},
        "loose": [True, True],
        "after": {"a": 2, "b": {}},
    }


class Remembering(StockVariables):
    """Asks nobody, and keeps whether it would have asked anew."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[bool] = []

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        return question(self)

    def get(self, name: str, *, fresh: bool) -> int:
        self.fresh.append(fresh)
        return 1


def test_values_are_remembered_for_a_time() -> None:
    variables = Remembering()
    for _ in range(2):
        variables.get_variable("a")
    variables.get_variable("b")
    assert variables.fresh == [True, False, True]
    variables.clear_cache()
    variables.get_variable("a")
    variables.set_cache_ttl(timedelta(seconds=-1))
    variables.get_variable("a")
    assert variables.fresh[3:] == [True, True]


# -- the context by itself


def context_of(**call: Any) -> StockContext:
    loop = asyncio.new_event_loop()
    loop.close()
    return StockContext(SessionContext(ToolCall(tool="t", arguments={}, host=NoHost(), **call), loop))


def test_the_correlation_id_comes_by_metadata_or_by_the_header() -> None:
    assert context_of(metadata={"correlation_id": "sp-1"}).correlation_id == "sp-1"
    context = context_of(headers={CORRELATION: "sp-2"}, metadata={"other": "x"}, session_id="s")
    assert context.request_metadata == {"correlation_id": "sp-2", "other": "x"}
    assert context.session_id == "s"


def test_leaving_the_context_ends_no_session() -> None:
    context = context_of(session_id="s")
    with context as entered:
        assert entered is context
    assert repr(context) == "SessionContext(session_id='s')"


def test_a_stub_without_an_address_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SNAKEPIT_GRPC_ADDRESS", "SNAKEPIT_ELIXIR_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError, match="SNAKEPIT_ELIXIR_ADDRESS"):
        _ = context_of().stub


def test_a_stub_without_snakepits_modules_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAKEPIT_ELIXIR_ADDRESS", "127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "snakepit_bridge_pb2_grpc", None)
    ambient._stub.cache_clear()
    with pytest.raises(RuntimeError, match="PYTHONPATH"):
        _ = context_of().stub


def test_the_correlation_id_is_told_to_snakepits_own_package_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "snakepit_bridge.otel_tracing", raising=False)
    ambient.note_correlation("sp-0")
    assert "snakepit_bridge.otel_tracing" not in sys.modules
    current: ContextVar[str] = ContextVar("correlation", default="")
    tracing = ModuleType("snakepit_bridge.otel_tracing")
    tracing.set_correlation_id = current.set  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, tracing.__name__, tracing)
    ambient.note_correlation("sp-1")
    assert current.get() == "sp-1"


async def test_the_code_of_a_stream_has_the_correlation_id(monkeypatch: pytest.MonkeyPatch) -> None:
    current: ContextVar[str] = ContextVar("correlation", default="")
    tracing = ModuleType("snakepit_bridge.otel_tracing")
    tracing.set_correlation_id, tracing.get_correlation_id = current.set, current.get  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, tracing.__name__, tracing)
    async with asyncio.timeout(20), testing.connect(stock_adapter(stock_adapters.Plain), isolation="thread") as client:
        found = [one async for one in client.stream("correlation", metadata={"correlation_id": "sp-3"})]
    assert found == ["sp-3"]


async def test_plain_code_has_the_correlation_id(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    tracing = ModuleType("snakepit_bridge.otel_tracing")
    tracing.set_correlation_id = noted.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, tracing.__name__, tracing)
    async with asyncio.timeout(20), testing.connect(stock_adapter(stock_adapters.Plain), isolation="thread") as client:
        await client.call("nothing", metadata={"correlation_id": "sp-4"})
    assert noted == ["sp-4"]


def test_telemetry_of_snakepits_own_package_goes_to_who_collects_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.snakepit.telemetry_relay import COLLECTED, StockBackend

    backends: list[Any] = []
    manager = ModuleType("snakepit_bridge.telemetry.manager")
    manager.set_backend = backends.append  # type: ignore[attr-defined]
    manager.get_backend = lambda: backends[-1] if backends else None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, manager.__name__, manager)
    monkeypatch.delenv(COLLECTED, raising=False)
    ambient.note_correlation("")
    assert backends == []
    monkeypatch.setenv(COLLECTED, "1")
    ambient.note_correlation("")
    ambient.note_correlation("")
    assert [type(backend) for backend in backends] == [StockBackend]


# -- streams


def test_chunk_objects_are_taken_apart() -> None:
    assert as_chunk(StreamChunk({"a": (1,)})) == Chunk({"a": [1]})
    assert as_chunk(StreamChunk("x", is_final=True)) == Chunk("x", metadata={FINAL: "true"})
    assert as_chunk(StreamChunk(None, metadata={"step": 1})) == Chunk(None, metadata={"step": "1"})
    assert as_chunk({"data": 1}) == {"data": 1}


def test_an_array_is_a_value_and_no_chunk() -> None:
    numpy = pytest.importorskip("numpy")
    assert as_chunk(numpy.arange(3)) == [0, 1, 2]
    assert not is_stream(numpy.arange(3), wanted=True)


@pytest.mark.parametrize("value", [{}, "text", b"", 1, None, {"a": 1}])
def test_values_are_never_streams(value: Any) -> None:
    assert not is_stream(value, wanted=True)


@pytest.mark.parametrize("value", [[], (), range(2), {1}])
def test_lists_are_streams_where_one_was_asked_for(value: Any) -> None:
    assert is_stream(value, wanted=True)
    assert not is_stream(value, wanted=False)
