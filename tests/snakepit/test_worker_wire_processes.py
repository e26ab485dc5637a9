"""A plain tool may hold the interpreter or fall: the worker answers the pool all the same."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from bridge.snakepit import messages
from tests.snakepit.elixir_bytes import recorded, text, without
from tests.snakepit.elixir_client import SESSION, ElixirClient, serving_worker
from tests.snakepit.elixir_reading import Raised, read_status
from tests.snakepit.wire_adapters import Hazards
from tests.support.waiting import until

ALIVE = recorded(["10 01"])
"""``session_valid``."""


@pytest.fixture
async def elixir() -> AsyncIterator[ElixirClient]:
    """Elixir's connection to a worker with the placing that a pool gets."""
    async with (
        asyncio.timeout(30),
        serving_worker(Hazards, isolation="plain-process", workers=1, worker_grace=0.1) as client,
    ):
        yield client


async def held(elixir: ElixirClient, sign: Path, timeout: float | None = None) -> asyncio.Task[object]:
    """A call that holds its interpreter, when it does."""
    calling = asyncio.create_task(elixir.execute("hold_gil", {"sign": str(sign)}, timeout=timeout))
    await until(lambda: sign.exists() and sign.read_text())
    return calling


def is_gone(pid: str) -> bool:
    return not Path("/proc", pid).exists()


async def test_plain_tools_run_in_a_process_of_their_own_and_asynchronous_ones_here(elixir: ElixirClient) -> None:
    assert await elixir.value("here") == os.getpid()
    pid = await elixir.value("pid")
    assert pid != os.getpid()
    assert await elixir.value("pid") == pid
    assert await elixir.value("plain_thread") is True


async def test_pool_is_answered_while_a_tool_holds_the_interpreter(elixir: ElixirClient, tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    calling = await held(elixir, sign)
    for _ in range(3):
        assert without(await elixir.exchange("Heartbeat", text(1, SESSION)), [1]) == ALIVE
    pong = messages.PingResponse.FromString(await elixir.exchange("Ping", text(1, "health_check")))
    assert pong.message == "Pong from Python: health_check"
    assert without(await elixir.exchange("InitializeSession", text(1, SESSION)), [3]) == recorded(["08 01"])
    assert await elixir.value("here") == os.getpid()
    assert not calling.done()
    calling.cancel()
    await until(lambda: is_gone(sign.read_text()))
    assert isinstance(await elixir.value("pid"), int)


async def test_tool_beyond_its_deadline_is_a_timeout_and_its_process_ends(elixir: ElixirClient, tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    calling = await held(elixir, sign, timeout=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calling
    assert read_status(caught.value) == "timeout"
    await until(lambda: is_gone(sign.read_text()))
    assert isinstance(await elixir.value("pid"), int)


async def test_tool_that_ends_its_process_is_a_runtime_error_with_the_exit_code(elixir: ElixirClient) -> None:
    pid = await elixir.value("pid")
    raised = await elixir.failure("leave", {"code": 3})
    assert isinstance(raised, Raised)
    assert (raised.struct, raised.context["reason"]) == ("RuntimeError", "WORKER_DIED")
    assert (raised.context["exit_code"], raised.context["pid"]) == ("3", str(pid))
    assert await elixir.value("pid") not in (pid, os.getpid())


async def test_tool_that_falls_is_a_runtime_error_with_the_signal(elixir: ElixirClient) -> None:
    raised = await elixir.failure("fall")
    assert (raised.struct, raised.context["signal"]) == ("RuntimeError", "SIGSEGV")
    assert raised.context["tool_name"] == "fall"
    assert isinstance(await elixir.value("pid"), int)


async def test_exception_and_bytes_of_a_process_are_those_of_any_tool(elixir: ElixirClient) -> None:
    raised = await elixir.failure("plain_failure", {"message": "gone"})
    assert (raised.struct, raised.message) == ("KeyError", "'gone'")
    data = bytes(range(256)) * 4096
    assert await elixir.value("plain_echo", {}, binary={"value": data}) == ("binary", data)
    seen = await elixir.stream("plain_chunks")
    assert seen == [
        {"raw_data_base64": "YmVnaW4=", "is_final": False, "_metadata": {"step": "1"}},
        {"n": 2, "is_final": True},
    ]
