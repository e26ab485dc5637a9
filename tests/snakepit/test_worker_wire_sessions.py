"""Sessions of callers, the way back to the BEAM, and calls that want the main thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from bridge import engines
from bridge.config import ServerConfig
from bridge.hosts.snakepit import SnakepitHost
from bridge.server import run_server
from bridge.snakepit import messages
from bridge.snakepit.sessions import MAX_METADATA, Sessions
from bridge.stock import stock_adapter
from tests.snakepit.elixir_bytes import entries, execute_request, field, recorded, text
from tests.snakepit.elixir_client import CORRELATION, CORRELATION_ID, SESSION, ElixirClient, serving_worker
from tests.snakepit.elixir_reading import read_answer
from tests.snakepit.listener import Binary, FakeListener, listening
from tests.snakepit.odd_values import AsksStock
from tests.snakepit.wire_adapters import One, Wire


@asynccontextmanager
async def with_a_beam(
    *adapters: type, isolation: str = "", **tools: Any
) -> AsyncIterator[tuple[ElixirClient, FakeListener]]:
    """A worker, and the BEAM that has launched it."""
    async with asyncio.timeout(10), listening(FakeListener(**tools)) as beam:
        host = SnakepitHost(engines.connect(beam.address))
        async with serving_worker(*(adapters or (Wire,)), host=host, isolation=isolation) as elixir:
            yield elixir, beam


async def status(call: Any) -> grpc.aio.AioRpcError:
    """The status with which a call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


# -- the session of a caller -------------------------------------------------------------------------------------


async def test_call_is_in_the_workers_own_session_unless_it_names_one(elixir: ElixirClient) -> None:
    assert (await elixir.value("about"))["session_id"] == SESSION
    assert (await elixir.value("about", {"session_id": "user-7"}))["session_id"] == "user-7"
    assert (await elixir.value("about", {"session_id": ""}))["session_id"] == SESSION


async def test_tool_that_takes_the_name_of_the_session_gets_it(elixir: ElixirClient) -> None:
    assert await elixir.value("own_session", {"session_id": "user-7"}) == ["user-7", "user-7"]
    assert await elixir.value("own_session", {"session_id": ""}) == ["", SESSION]


async def test_session_that_is_no_text_is_an_argument_like_any_other(elixir: ElixirClient) -> None:
    raised = await elixir.failure("about", {"session_id": 7})
    assert [each["field"] for each in raised.context["violations"]] == ["$.session_id"]


async def test_error_names_the_session_that_the_caller_has_named(elixir: ElixirClient) -> None:
    raised = await elixir.failure("fail", {"session_id": "user-7", "name": "KeyError", "message": "x"})
    assert raised.context["session_id"] == "user-7"


async def test_variables_of_two_callers_are_apart() -> None:
    async with asyncio.timeout(10), serving_worker(Wire, sessions="auto-open") as elixir:
        for session, value in (("user-1", 1), ("user-2", {"a": [2]}), ("user-3", None)):
            parameters = {"session_id": session, "name": "x", "value": value}
            assert await elixir.value("remember", parameters) == value


async def test_stock_adapter_sees_the_session_and_the_argument() -> None:
    class Shows:
        def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
            return [context.session_id, arguments]

        def set_session_context(self, context: Any) -> None: ...

    adapter = stock_adapter(Shows)
    async with asyncio.timeout(10), serving_worker(adapter, isolation="thread") as elixir:
        assert await elixir.value("any", {"session_id": "user-7"}) == ["user-7", {"session_id": "user-7"}]


async def test_metadata_of_a_call_reaches_the_tool(elixir: ElixirClient) -> None:
    metadata = (await elixir.value("about", metadata={"thread_sensitive": "true"}))["metadata"]
    assert metadata["correlation_id"] == CORRELATION_ID
    assert metadata["thread_sensitive"] == "true"
    assert metadata.keys() >= {"python_runtime_hash", "python_version", "python_platform"}


# -- what a worker remembers -------------------------------------------------------------------------------------


async def test_session_with_too_much_metadata_is_an_invalid_argument(elixir: ElixirClient) -> None:
    most = {f"k{n}": b"v" for n in range(MAX_METADATA)}
    assert await elixir.exchange("InitializeSession", text(1, "s") + entries(2, most))
    error = await status(elixir.exchange("InitializeSession", text(1, "s") + entries(2, {**most, "one": b"more"})))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_session_keeps_what_it_was_opened_with(elixir: ElixirClient) -> None:
    for node in (b"first", b"second"):
        await elixir.exchange("InitializeSession", text(1, "s") + entries(2, {"elixir_node": node}))
    described = messages.GetSessionResponse.FromString(await elixir.exchange("GetSession", text(1, "s")))
    assert dict(described.metadata) == {"elixir_node": "first"}
    assert described.created_at.ToSeconds() > 1_700_000_000


def test_oldest_session_is_closed_for_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.snakepit.sessions.MAX_SESSIONS", 2)
    sessions, told = Sessions(), list[str]()
    sessions.watch(lambda session: told.append(f"+{session}"), lambda session: told.append(f"-{session}"))
    for session in ("a", "b", "a", "c"):
        sessions.open(session, {})
    assert told == ["+a", "+b", "+a", "-a", "+c"]
    assert [sessions.close(session) for session in ("a", "b", "c")] == [False, True, True]


# -- the way back ------------------------------------------------------------------------------------------------


async def test_call_asks_the_beam_for_nothing() -> None:
    async with with_a_beam() as (elixir, beam):
        await elixir.exchange("InitializeSession", text(1, SESSION))
        await elixir.exchange("Heartbeat", text(1, SESSION))
        assert await elixir.value("echo", {"value": 1}) == 1
        assert beam.asked == []


async def test_tool_of_elixir_is_called_in_the_session_of_the_caller() -> None:
    async with with_a_beam(upper=lambda arguments: arguments["text"].upper()) as (elixir, beam):
        parameters = {"session_id": "user-7", "name": "upper", "parameters": {"text": "x"}}
        assert await elixir.value("ask", parameters, timeout=30) == "X"
        assert beam.methods == ["InitializeSession", "ExecuteElixirTool"]
        assert {request.session_id for _, request in beam.asked} == {"user-7"}
        assert beam.headers[1][CORRELATION] == CORRELATION_ID
        assert beam.deadlines[1] is not None
        assert 0 < beam.deadlines[1] < 31


async def test_correlation_id_of_the_metadata_alone_goes_along_too() -> None:
    async with with_a_beam(upper=lambda arguments: "X") as (elixir, beam):
        request = execute_request(
            "ask", {"name": "upper", "parameters": {}}, session_id=SESSION, metadata={"correlation_id": "sp-1"}
        )
        assert read_answer(await elixir.exchange("ExecuteTool", request)) == ("ok", "X")
        assert beam.headers[-1][CORRELATION] == "sp-1"


@pytest.mark.parametrize("correlation_id", ["é", "a\nb", "x" * 20_000], ids=["not ASCII", "two lines", "long"])
async def test_correlation_id_that_no_header_can_carry_does_not_keep_a_tool_from_asking(correlation_id: str) -> None:
    async with with_a_beam(upper=lambda arguments: "X") as (elixir, beam):
        request = execute_request(
            "ask", {"name": "upper", "parameters": {}}, session_id=SESSION, metadata={"correlation_id": correlation_id}
        )
        assert read_answer(await elixir.exchange("ExecuteTool", request)) == ("ok", "X")
        assert beam.headers[-1][CORRELATION].startswith("sp-")


@pytest.mark.parametrize("isolation", ["process", "thread"])
@pytest.mark.parametrize("name", ["größe", "two\nlines", "x" * 20_000], ids=["not ASCII", "two lines", "long"])
async def test_stock_tool_of_any_name_can_ask_elixir(name: str, isolation: str) -> None:
    async with with_a_beam(stock_adapter(AsksStock), isolation=isolation, upper=lambda arguments: "X") as (elixir, _):
        assert await elixir.value(name) == "X"


async def test_bytes_of_elixir_come_back_as_bytes() -> None:
    async with with_a_beam(image=lambda arguments: Binary(b"\x89PNG")) as (elixir, _):
        assert await elixir.value("ask", {"name": "image", "parameters": {}}) == ("binary", b"\x89PNG")


async def test_failure_of_elixir_is_a_runtime_error_of_the_tool() -> None:
    def fails(arguments: dict[str, Any]) -> Any:
        raise ArithmeticError("bad argument in arithmetic expression")

    async with with_a_beam(divide=fails) as (elixir, _):
        raised = await elixir.failure("ask", {"name": "divide", "parameters": {}})
        assert (raised.struct, raised.context["reason"]) == ("RuntimeError", "HOST_TOOL_FAILED")
        assert "bad argument in arithmetic expression" in raised.message
        raised = await elixir.failure("ask", {"name": "other", "parameters": {}})
        assert raised.context["code"] == "NOT_FOUND"


async def test_beam_that_is_gone_is_an_error_of_the_tool_and_the_worker_lives_on() -> None:
    async with asyncio.timeout(10):
        async with listening(FakeListener()) as beam:
            host = SnakepitHost(engines.connect(beam.address))
        async with serving_worker(Wire, host=host) as elixir:
            raised = await elixir.failure("ask", {"name": "upper", "parameters": {}})
            assert (raised.struct, raised.context["reason"]) == ("RuntimeError", "HOST_UNAVAILABLE")
            assert await elixir.value("echo", {"value": 1}) == 1


# -- what only the BEAM can answer -------------------------------------------------------------------------------


async def test_request_for_the_beam_is_passed_on_with_its_answer() -> None:
    async with with_a_beam(upper=lambda arguments: arguments["text"].upper()) as (elixir, beam):
        beam.sessions.add(SESSION)
        beam.exposed.append(messages.ToolSpec(name="upper", description="Shouts."))
        headers = {CORRELATION: CORRELATION_ID}
        listed = await elixir.exchange("GetExposedElixirTools", text(1, SESSION), headers, 30)
        assert listed == recorded(["0a 10 0a 05 'upper' 12 07 'Shouts.'"])
        # ExecuteElixirToolRequest is ExecuteToolRequest with two fields less.
        request = execute_request("upper", {"text": "x"}, session_id=SESSION)
        assert read_answer(await elixir.exchange("ExecuteElixirTool", request, headers)) == ("ok", "X")
        assert beam.methods == ["GetExposedElixirTools", "ExecuteElixirTool"]
        assert [each[CORRELATION] for each in beam.headers] == [CORRELATION_ID] * 2
        assert [deadline is None or deadline > 100 for deadline in beam.deadlines] == [False, True]


async def test_tools_are_registered_with_a_host_of_ours() -> None:
    config = ServerConfig(listen=("127.0.0.1:0",), snakepit=True, sessions="auto-open", log_level="error")
    async with asyncio.timeout(10), run_server(config, [One], "host") as beam:
        host = SnakepitHost(engines.connect(beam.addresses[0]))
        async with serving_worker(Wire, host=host) as elixir:
            await host.initialize_session(SESSION)
            registration = text(1, "echo") + text(2, "Echoes.")
            request = text(1, SESSION) + field(2, registration) + text(3, "python-1")
            answer = await elixir.exchange("RegisterTools", request)
    response = messages.RegisterToolsResponse.FromString(answer)
    assert response.success, response.error_message
    assert dict(response.tool_ids) == {"echo": f"{SESSION}:echo"}


async def test_status_of_the_beam_is_the_status_of_the_answer() -> None:
    async with with_a_beam() as (elixir, _):
        error = await status(elixir.exchange("RegisterTools", text(1, SESSION)))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["RegisterTools", "GetExposedElixirTools", "ExecuteElixirTool"])
async def test_request_for_the_beam_without_one_says_what_is_missing(elixir: ElixirClient, method: str) -> None:
    error = await status(elixir.exchange(method, text(1, SESSION)))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "--elixir-address" in (error.details() or "")


# -- the main thread ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "main"), [(None, False), ("true", True), ("TRUE", True), ("1", True), ("false", False), ("", False)]
)
async def test_call_that_says_so_runs_on_the_main_thread(elixir: ElixirClient, mark: str | None, main: bool) -> None:
    metadata = {} if mark is None else {"thread_sensitive": mark}
    assert await elixir.value("thread", metadata=metadata) is main


@pytest.mark.parametrize(
    ("library", "function", "main"),
    [("torch", "load", True), ("numpy", "load", True), ("numpy", "save", False), ("torchvision", "load", False)],
)
async def test_call_of_a_library_that_is_listed_runs_on_the_main_thread(
    library: str, function: str, main: bool
) -> None:
    async with asyncio.timeout(10), serving_worker(Wire, snakepit_thread_sensitive="torch, numpy.load") as elixir:
        assert await elixir.value("library", {"library": library, "function": function}) is main
