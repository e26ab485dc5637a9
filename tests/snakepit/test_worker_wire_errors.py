"""How a call ends that does not end well: exceptions that Elixir has structs for, and statuses that it knows."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from tests.snakepit import wire_adapters
from tests.snakepit.elixir_bytes import execute_request
from tests.snakepit.elixir_client import CORRELATION_ID, SESSION, ElixirClient, serving_worker
from tests.snakepit.elixir_reading import STRUCTS, Raised, read_status
from tests.snakepit.wire_adapters import HANGING, Wire
from tests.support.waiting import until


async def status(call: Any) -> grpc.aio.AioRpcError:
    """The status with which a call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


# -- exceptions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(STRUCTS))
async def test_exception_becomes_the_struct_of_its_name(elixir: ElixirClient, name: str) -> None:
    raised = await elixir.failure("fail", {"name": name, "message": "went wrong"})
    assert (raised.struct, raised.python_type) == (name, name)
    assert raised.message == ("'went wrong'" if name == "KeyError" else "went wrong")
    assert raised.context.pop("error_id")
    assert raised.context == {
        "tool_name": "fail",
        "session_id": SESSION,
        "correlation_id": CORRELATION_ID,
        "code": "UNKNOWN",
        "reason": name,
    }


@pytest.mark.parametrize("name", ["ModuleNotFoundError", "TimeoutError", "SystemExit"])
async def test_exception_without_a_struct_keeps_its_name(elixir: ElixirClient, name: str) -> None:
    raised = await elixir.failure("fail", {"name": name, "message": "went wrong"})
    assert (raised.struct, raised.python_type) == ("PythonException", name)
    assert "went wrong" in raised.message


@pytest.mark.parametrize(
    ("code", "struct"),
    [
        ("INVALID_ARGUMENT", "ValueError"),
        ("NOT_FOUND", "KeyError"),
        ("PERMISSION_DENIED", "PermissionError"),
        ("UNAUTHENTICATED", "PermissionError"),
        ("OUT_OF_RANGE", "IndexError"),
        ("UNIMPLEMENTED", "NotImplementedError"),
        ("FAILED_PRECONDITION", "RuntimeError"),
        ("RESOURCE_EXHAUSTED", "RuntimeError"),
        ("UNAVAILABLE", "RuntimeError"),
        ("UNKNOWN", "RuntimeError"),
        ("DEADLINE_EXCEEDED", "PythonException"),
        ("CANCELLED", "PythonException"),
    ],
)
async def test_code_that_a_tool_chooses_is_the_struct_that_says_it(
    elixir: ElixirClient, code: str, struct: str
) -> None:
    raised = await elixir.failure("refuse", {"code": code, "reason": "CLOSED"})
    assert (raised.struct, raised.message) == (struct, "not today")
    assert raised.context == {
        "tool_name": "refuse",
        "session_id": SESSION,
        "correlation_id": CORRELATION_ID,
        "code": code,
        "reason": "CLOSED",
        "row": "7",
    }


@pytest.mark.parametrize("reason", ["CANCELLED", "DRAINING", "DEADLINE_EXCEEDED"])
async def test_reason_of_a_tool_does_not_pass_for_one_of_the_call(elixir: ElixirClient, reason: str) -> None:
    raised = await elixir.failure("refuse", {"code": "ABORTED", "reason": reason})
    assert (raised.struct, raised.context["reason"]) == ("RuntimeError", reason)


async def test_tool_that_is_not_there_is_not_implemented_and_the_nearest_is_named(elixir: ElixirClient) -> None:
    raised = await elixir.failure("ehco", {"value": 1})
    assert (raised.struct, raised.context["reason"]) == ("NotImplementedError", "TOOL_NOT_FOUND")
    assert "'echo'" in raised.message


async def test_traceback_arrives_where_the_server_shows_it() -> None:
    async with asyncio.timeout(10), serving_worker(Wire, debug=True) as elixir:
        raised = await elixir.failure("fail", {"name": "ValueError", "message": "here"})
    assert raised.stacktrace[0] == "Traceback (most recent call last):\n"
    assert raised.stacktrace[-1] == "ValueError: here\n"
    assert raised.python_traceback == "".join(raised.stacktrace)
    assert "wire_adapters.py" in raised.python_traceback


async def test_message_that_is_redacted_leads_to_the_log() -> None:
    async with asyncio.timeout(10), serving_worker(Wire, redact_errors=True) as elixir:
        raised = await elixir.failure("fail", {"name": "ValueError", "message": "secret"})
    assert raised.struct == "ValueError"
    assert raised.context["error_id"] in raised.message
    assert "secret" not in str(raised)


# -- too large ---------------------------------------------------------------------------------------------------


async def test_result_that_is_too_large_is_an_exception_that_says_so() -> None:
    async with asyncio.timeout(10), serving_worker(Wire, max_message_bytes=4096) as elixir:
        raised = await elixir.failure("repeat", {"text": "x", "times": 5000})
        assert await elixir.value("repeat", {"text": "x", "times": 3000}) == "x" * 3000
    assert raised.struct == "RuntimeError"
    assert (raised.context["code"], raised.context["reason"]) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "with its traceback"])
async def test_exception_that_is_too_large_arrives_cut(debug: bool) -> None:
    async with asyncio.timeout(10), serving_worker(Wire, max_message_bytes=4096, debug=debug) as elixir:
        raised = await elixir.failure("complain", {"size": 100_000})
    assert (raised.struct, raised.context["tool_name"]) == ("ValueError", "complain")
    assert raised.message.startswith("xxx")
    assert raised.message.endswith("…")


async def test_request_that_is_too_large_is_a_status_and_never_reaches_the_tool() -> None:
    async with asyncio.timeout(10), serving_worker(Wire, max_message_bytes=4096) as elixir:
        error = await status(elixir.execute("echo", {"value": "x" * 5000}))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await elixir.value("echo", {"value": 1}) == 1


# -- too late ----------------------------------------------------------------------------------------------------


async def test_call_beyond_elixirs_deadline_is_a_timeout_and_its_tool_is_cancelled(elixir: ElixirClient) -> None:
    error = await status(elixir.execute("hang", timeout=0.05))
    assert read_status(error) == "timeout"
    await until(lambda: wire_adapters.ENDED == [HANGING, "hang"])


async def test_call_beyond_the_tools_own_limit_is_a_timeout_and_its_tool_is_cancelled(elixir: ElixirClient) -> None:
    error = await status(elixir.execute("slow"))
    assert read_status(error) == "timeout"
    assert "the tool's own timeout" in (error.details() or "")
    assert wire_adapters.ENDED == ["slow"]


async def test_tool_that_cannot_be_stopped_does_not_keep_elixir_waiting(elixir: ElixirClient) -> None:
    wire_adapters.RELEASE.clear()
    try:
        error = await status(elixir.execute("stubborn"))
        assert read_status(error) == "timeout"
        assert wire_adapters.ENDED == []
    finally:
        wire_adapters.RELEASE.set()
    await until(lambda: wire_adapters.ENDED == ["stubborn"])


@pytest.mark.parametrize(("timeout", "seconds"), [(298.8, 299), (30, 30), (None, 3600)])
async def test_deadline_of_elixir_is_that_of_the_tool(timeout: float | None, seconds: int) -> None:
    async with asyncio.timeout(10), serving_worker(Wire, default_timeout=3600.0) as elixir:
        left = (await elixir.value("about", timeout=timeout))["seconds"]
    assert seconds - 10 <= left <= seconds


async def test_call_that_elixir_gives_up_is_cancelled(elixir: ElixirClient) -> None:
    calling = asyncio.create_task(elixir.execute("hang"))
    await until(lambda: wire_adapters.ENDED == [HANGING])
    calling.cancel()
    await until(lambda: wire_adapters.ENDED == [HANGING, "hang"])
    with pytest.raises(asyncio.CancelledError):
        await calling


# -- not now -----------------------------------------------------------------------------------------------------


async def test_call_that_has_no_place_is_a_status_that_says_when_to_try_again() -> None:
    wire_adapters.ENDED.clear()
    async with asyncio.timeout(10), serving_worker(Wire, max_concurrent_calls=1) as elixir:
        first = asyncio.create_task(elixir.execute("hang"))
        await until(lambda: wire_adapters.ENDED == [HANGING])
        error = await status(elixir.execute("echo", {"value": 1}))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "was not started" in (error.details() or "")
        first.cancel()


async def test_call_of_a_worker_that_stops_is_unavailable(elixir: ElixirClient) -> None:
    await elixir.server.dispatcher.drain(0)
    error = await status(elixir.execute("echo", {"value": 1}))
    assert read_status(error) == "unavailable"
    assert "is stopping" in (error.details() or "")


async def test_error_without_a_correlation_id_has_an_empty_one(elixir: ElixirClient) -> None:
    from tests.snakepit.elixir_reading import read_answer

    verdict, raised = read_answer(await elixir.exchange("ExecuteTool", execute_request("none", {})))
    assert (verdict, raised.context["correlation_id"]) == ("error", "")
    assert isinstance(raised, Raised)
