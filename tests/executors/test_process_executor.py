"""What is the same in a worker process as in the server, and what only its pool can show."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, tool
from bridge.loader import load_adapters
from bridge.testing import serving
from bridge_client import BridgeClient
from tests.conftest import Connect
from tests.support import probes
from tests.support.hazards import CannotBegin, Chatty, Stuck, worker_of
from tests.worker.pids import children, open_files, watched

PROMPT: dict[str, Any] = {"client": {"retry": None, "breaker": None}}
"""A client that tells what it was told."""


@pytest.fixture(params=[probes.ProcessedAsync, probes.Called], ids=["process, async", "call"])
def probe(request: pytest.FixtureRequest, events: probes.Journal) -> type:
    """The ways to run in processes of which other tests take no notice."""
    adapter: type = request.param
    return adapter


async def test_values_and_errors_come_back(connect: Connect, probe: type, events: probes.Journal) -> None:
    client = await connect(probe)
    async with asyncio.timeout(20):
        value = {"a": [1, 2.5, None, True], "b": b"bytes", "c": {"d": "text"}}
        assert await client.call("echo", value=value) == value
        with pytest.raises(BridgeError, match="no such planet") as caught:
            await client.call("fail", kind="tool")
        assert (caught.value.code, caught.value.details.metadata["planet"]) == (Code.NOT_FOUND, "Vulcan")
        with pytest.raises(BridgeError) as caught:
            await client.call("add", b="x")
        assert {violation.field for violation in caught.value.violations} >= {"$.a"}
    assert events.count("cleanup") == 2


async def test_streams_progress_and_lists_come_back(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    async with asyncio.timeout(20):
        assert [value async for value in client.stream("count", n=100)] == list(range(100))
        assert await client.call("collect", n=5) == [0, 1, 2, 3, 4]
        chunks = [chunk async for chunk in client.stream("progress").chunks()]
        assert [chunk.progress for chunk in chunks if chunk.progress is not None][-1].message == "whole"


async def test_variables_and_tools_of_the_host_are_there(start: Any, probe: type) -> None:
    host = await start(probes.HostTools, role="host", isolation="")
    server = await start(probe, host=host.addresses[0])
    async with asyncio.timeout(20), BridgeClient(server.addresses[0]) as client:
        async with BridgeClient(host.addresses[0]) as owner, owner.session() as session:
            in_it = {"session": session.session_id}
            await session.set("x", 1)
            assert await client.call("read", name="x", **in_it) == 1
            assert await client.call("write", name="x", value=2, **in_it) == 2
            assert await session.get("x") == 2
        assert await client.call("ask_host", tool="double", value=21) == 42
        with pytest.raises(BridgeError) as caught:
            await client.call("ask_host", tool="refuse")
        assert caught.value.reason == "HOST_SAYS_NO"


async def test_a_client_that_gives_up_ends_the_tool(connect: Connect, probe: type, events: probes.Journal) -> None:
    client = await connect(probe)
    async with asyncio.timeout(10):
        call = asyncio.create_task(client.call("hang"))
        await events.wait("started")
        call.cancel()
        await events.wait("ended")
        await events.wait("cleanup")
        assert await client.call("add", a=1) == 2


async def test_a_tool_cannot_speak_for_another_session(connect: Connect) -> None:
    client = await connect(Chatty)
    async with asyncio.timeout(10), client.session() as mine, client.session() as other:
        await mine.set("x", "mine")
        await other.set("x", "not mine")
        assert await mine.call("pretends", name="x", owner=other.session_id) == "mine"


async def test_lifespans_are_the_workers(connect: Connect, events: probes.Journal) -> None:
    client = await connect(Chatty, workers=1)
    async with asyncio.timeout(10):
        pid = await client.call("pid")
        assert pid != os.getpid()
        assert await client.call("lives_in") == pid
    assert events.count("lifespan entered") == 1


# Workers and their number


async def test_workers_are_started_when_needed_and_used_again(connect: Connect) -> None:
    client = await connect(Chatty, workers=2)
    async with asyncio.timeout(20):
        assert len({await client.call("pid") for _ in range(5)}) == 1
        assert len(set(await asyncio.gather(*(client.call("pid") for _ in range(20))))) <= 2


async def test_a_worker_is_replaced_after_so_many_calls(connect: Connect, events: probes.Journal) -> None:
    client = await connect(Chatty, workers=1, worker_max_calls=2)
    async with asyncio.timeout(20):
        pids = [await client.call("pid") for _ in range(6)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]
    assert events.count("lifespan left") >= 2


async def test_a_worker_is_replaced_when_its_time_is_over(connect: Connect) -> None:
    client = await connect(Chatty, workers=1, worker_ttl=0.001)
    async with asyncio.timeout(20):
        assert len({await client.call("pid") for _ in range(3)}) == 3


async def test_a_worker_that_has_taken_too_much_memory_is_replaced(connect: Connect) -> None:
    client = await connect(Chatty, workers=1, worker_max_rss=256 * 1024 * 1024)
    async with asyncio.timeout(20):
        first = await client.call("grows", mib=1)
        assert await client.call("grows", mib=300) == first
        assert await client.call("pid") != first


async def test_each_call_has_a_process_of_its_own_if_it_wants_to(connect: Connect) -> None:
    client = await connect(Chatty, workers=2, isolation="call")
    async with asyncio.timeout(20):
        pids = await asyncio.gather(*(client.call("pid") for _ in range(6)))
    assert len(set(pids)) == 6


async def test_more_calls_than_workers_and_queue_are_shed(connect: Connect, events: probes.Journal) -> None:
    client = await connect(Chatty, workers=1, queue_size=1, **PROMPT)
    async with asyncio.timeout(10):
        running = asyncio.create_task(client.call("slow"))
        await events.wait("started")
        waiting = [asyncio.create_task(client.call("pid")) for _ in range(3)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        error = done.pop().exception()
        assert isinstance(error, BridgeError)
        assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "SERVER_BUSY")
        assert error.retry_after is not None
        running.cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(isinstance(answer, int) for answer in answers) == 1


async def test_a_call_that_waits_for_a_worker_can_be_cancelled(connect: Connect, events: probes.Journal) -> None:
    client = await connect(Chatty, workers=1, **PROMPT)
    async with asyncio.timeout(10):
        running = asyncio.create_task(client.call("slow"))
        await events.wait("started")
        with pytest.raises(BridgeError) as caught:
            await client.call("slow", timeout=0.2)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        running.cancel()
        assert await client.call("pid") > 0
    assert events.count("started") == 1


async def test_a_call_inside_another_gets_a_worker_when_all_are_taken(start: Any) -> None:
    server = await start(Chatty, workers=1)
    async with asyncio.timeout(20), BridgeClient(server.addresses[0]) as client:
        outer, inner = await client.call("calls_back", address=server.addresses[0])
        assert outer != inner
        assert {await client.call("pid") for _ in range(3)} == {outer}


# What is printed and logged


async def test_w12_ten_megabytes_of_prints_neither_hang_nor_flood(connect: Connect, caplog: Any) -> None:
    client = await connect(Chatty, workers=1)
    caplog.set_level("INFO", logger="bridge.worker")
    async with asyncio.timeout(30):
        assert await client.call("prints", lines=90_000) == "done"
        assert await client.call("pid") > 0
    lines = [record for record in caplog.records if record.name == "bridge.worker" and record.levelname == "INFO"]
    assert 1000 <= len(lines) < 10_000
    assert any("too many to log" in record.getMessage() for record in caplog.records)


async def test_what_a_tool_logs_and_prints_is_in_the_servers_log(connect: Connect, caplog: Any) -> None:
    client = await connect(Chatty, workers=1, log_level="info")
    caplog.set_level("INFO", logger="bridge")
    async with asyncio.timeout(10):
        pid = await client.call("pid")
        await client.call("logs")
        await client.call("pid")
    logged = next(record for record in caplog.records if record.getMessage() == "from the tool")
    assert (logged.name, logged.levelname) == ("bridge.tool", "WARNING")
    assert (logged.tool, logged.pid, logged.step) == ("logs", pid, 3)
    printed = next(record for record in caplog.records if record.getMessage() == "printed")
    assert (printed.name, printed.pid) == ("bridge.worker", pid)


# Start and stop


async def test_a_worker_that_cannot_begin_stops_the_start() -> None:
    before = children(os.getpid())
    with pytest.raises(BridgeError, match="no model here") as caught:
        async with asyncio.timeout(20), serving(CannotBegin, isolation="process"):
            pass
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "LIFESPAN_FAILED")
    assert children(os.getpid()) == before


async def test_an_adapter_that_another_process_cannot_import_stops_the_start() -> None:
    class Local(Adapter):
        @tool(isolation="process")
        def add(self, a: int) -> int:
            return a

    with pytest.raises(BridgeError, match="define it at the top of a module") as caught:
        async with serving(Local):
            pass
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "NOT_IMPORTABLE")


async def test_an_adapter_from_a_file_runs_in_processes(connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "from_file.py"
    file.write_text(
        "from bridge import Adapter, tool\n"
        "class Local(Adapter):\n"
        "    @tool(isolation='process')\n"
        "    def double(self, a: int) -> int:\n"
        "        return 2 * a\n",
        "utf-8",
    )
    (adapter,) = load_adapters(str(file))
    client = await connect(adapter)
    assert await client.call("double", a=4, timeout=10) == 8


async def test_adapters_of_one_file_and_of_files_of_one_name_run_in_processes(connect: Connect, tmp_path: Path) -> None:
    adapters = []
    for folder, names in (("one", "ab"), ("two", "c")):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "tools.py"
        text = "from bridge import Adapter, tool\n"
        for name in names:
            text += f"class {name.upper()}(Adapter):\n"
            text += f"    @tool(isolation='process')\n    def {name}(self) -> str:\n        return {name!r}\n"
        file.write_text(text, "utf-8")
        adapters += [adapter for name in names for adapter in load_adapters(f"{file}:{name.upper()}")]
    client = await connect(*adapters)
    assert [await client.call(name, timeout=10) for name in "abc"] == ["a", "b", "c"]


async def test_a_server_without_such_tools_starts_no_process(start: Any) -> None:
    before = children(os.getpid())
    await start(probes.Inline)
    assert children(os.getpid()) == before


async def test_w11_starting_and_stopping_leaves_nothing() -> None:
    async def once() -> None:
        async with (
            asyncio.timeout(20),
            serving(Chatty, isolation="process") as server,
            BridgeClient(server.addresses[0]) as client,
        ):
            await client.call("pid")

    await once()
    before = (open_files(), threading.active_count(), children(os.getpid()))
    for _ in range(20):
        await once()
    after = (open_files(), threading.active_count(), children(os.getpid()))
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1]
    assert {*after[2]} <= {*before[2]}


async def test_w22_stopping_with_a_stuck_worker_leaves_no_process(events: probes.Journal) -> None:
    settings = {"isolation": "process", "grace": 0.1, "worker_grace": 0.1}
    before = children(os.getpid())
    async with asyncio.timeout(20), AsyncExitStack() as stack:
        async with serving(Stuck, **settings) as server:
            client = await stack.enter_async_context(BridgeClient(server.addresses[0]))
            call = asyncio.create_task(client.call("holds_the_gil"))
            pid = await worker_of(events)
            processes = stack.enter_context(watched([pid, *{*children(os.getpid())} - {*before}]))
        assert await asyncio.to_thread(processes.left, 0) == []
        with pytest.raises(BridgeError):
            await call
