"""What is the same on a Ray cluster as in the server."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bridge import BridgeError, Code
from bridge.loader import load_adapters
from bridge.testing import serving
from bridge_client import BridgeClient
from tests.conftest import Connect
from tests.support import probes
from tests.support.hazards import CannotBegin, Chatty
from tests.support.ray_tools import Apart, OnRay, OnRayAsync, PathOfHost
from tests.support.waiting import until

pytestmark = pytest.mark.ray


@pytest.fixture(params=[OnRay, OnRayAsync], ids=["plain", "async"])
def probe(request: pytest.FixtureRequest) -> type:
    """Tools of each kind."""
    adapter: type = request.param
    return adapter


async def test_values_errors_and_facts_come_back(connect: Connect, on_ray: Any, probe: type, events: Any) -> None:
    client = await connect(probe, **on_ray)
    async with asyncio.timeout(20):
        value = {"a": [1, 2.5, None, True], "b": b"bytes", "c": {"d": "text"}}
        assert await client.call("echo", value=value) == value
        with pytest.raises(BridgeError, match="no such planet") as caught:
            await client.call("fail", kind="tool")
        assert (caught.value.code, caught.value.details.metadata["planet"]) == (Code.NOT_FOUND, "Vulcan")
        with pytest.raises(BridgeError) as caught:
            await client.call("add", b="x")
        assert {violation.field for violation in caught.value.violations} >= {"$.a"}
        facts = await client.call("whoami", metadata={"key": "text"})
        assert (facts["tool"], facts["metadata"], facts["has_deadline"]) == ("whoami", {"key": "text"}, True)
        assert 0 < await client.call("remaining", timeout=9) < 9.5
    assert events.count("cleanup") == 4


async def test_streams_progress_and_lists_come_back(connect: Connect, on_ray: Any, probe: type) -> None:
    client = await connect(probe, **on_ray)
    async with asyncio.timeout(20):
        assert [value async for value in client.stream("count", n=100)] == list(range(100))
        assert await client.call("collect", n=5) == [0, 1, 2, 3, 4]
        chunks = [chunk async for chunk in client.stream("progress").chunks()]
        assert [chunk.progress for chunk in chunks if chunk.progress is not None][-1].message == "whole"
        got = []
        with pytest.raises(BridgeError, match="midway"):
            async for value in client.stream("fail_midway", n=20):
                got.append(value)
        assert got == list(range(20))


async def test_large_values_come_and_go(connect: Connect, on_ray: Any) -> None:
    client = await connect(OnRay, **on_ray)
    value = os.urandom(5_000_000)
    async with asyncio.timeout(20):
        assert await client.call("echo", value=value) == value
        assert [len(part) async for part in client.stream("sizes", pattern=[10, 3_000_000, 0])] == [10, 3_000_000, 0]


async def test_a_slow_client_stops_the_generator(connect: Connect, on_ray: Any, probe: type, events: Any) -> None:
    client = await connect(probe, **on_ray)
    async with asyncio.timeout(20):
        stream = client.stream("pour")
        await anext(aiter(stream))
        # Nobody reads on. The generator stops as soon as the buffers on the way are full.
        with pytest.raises(TimeoutError):
            while True:
                await events.wait("poured", events.count("poured") + 1, timeout=0.3)
        assert events.count("poured") * 64 * 1024 < 64 * 1024 * 1024
        await stream.aclose()
        await events.wait("closed")
        assert await client.call("add", a=1) == 2


async def test_variables_and_tools_of_another_host_are_there(start: Any, on_ray: Any, probe: type) -> None:
    host = await start(probes.HostTools, role="host", isolation="")
    server = await start(probe, **on_ray, host=host.addresses[0])
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


async def test_a_host_sees_the_path_of_a_call(start: Any, on_ray: Any) -> None:
    host = await start(PathOfHost, role="host", isolation="")
    server = await start(Apart, **on_ray, host=host.addresses[0])
    async with asyncio.timeout(20), BridgeClient(server.addresses[0]) as client:
        assert await client.call("path_below") == "path_below"


async def test_sessions_of_the_server_itself_are_there_and_only_the_callers(connect: Connect, on_ray: Any) -> None:
    client = await connect(Chatty, **on_ray)
    async with asyncio.timeout(20), client.session() as mine, client.session() as other:
        await mine.set("x", "mine")
        await other.set("x", "not mine")
        assert await mine.call("pretends", name="x", owner=other.session_id) == "mine"


async def test_a_variable_without_a_session_is_an_error_and_the_tool_runs(connect: Connect, on_ray: Any) -> None:
    client = await connect(OnRay, **on_ray)
    async with asyncio.timeout(20):
        with pytest.raises(BridgeError) as caught:
            await client.call("read", name="x")
        assert caught.value.reason == "NO_SESSION"
        assert await client.call("add", a=1) == 2


# Workers


async def test_lifespans_are_the_workers_and_tools_with_other_needs_have_other_workers(
    connect: Connect, on_ray: Any, events: Any
) -> None:
    client = await connect(Apart, **on_ray)
    async with asyncio.timeout(20):
        here, there, elsewhere = [await client.call(name) for name in ("here", "there", "elsewhere")]
        assert await client.call("there") == there
    assert [pid == entered for pid, entered in (here, there, elsewhere)] == [True] * 3
    assert here[0] == os.getpid()
    assert len({here[0], there[0], elsewhere[0]}) == 3
    assert events.count("lifespan entered") == 3


async def test_lifespans_are_left_when_the_server_stops(on_ray: Any, events: Any) -> None:
    async with asyncio.timeout(30):
        async with serving(Chatty, **on_ray):
            pass
        assert (events.count("lifespan entered"), events.count("lifespan left")) == (1, 1)


async def test_a_call_inside_another_gets_a_worker_when_all_are_taken(start: Any, on_ray: Any) -> None:
    server = await start(Chatty, **on_ray, ray_workers=1)
    async with asyncio.timeout(30), BridgeClient(server.addresses[0]) as client:
        outer, inner = await client.call("calls_back", address=server.addresses[0])
        assert outer != inner
        assert {await client.call("pid") for _ in range(3)} == {outer}


async def test_what_a_tool_logs_and_prints_is_in_the_servers_log(connect: Connect, on_ray: Any, caplog: Any) -> None:
    client = await connect(Chatty, **on_ray, ray_workers=1, log_level="info")
    caplog.set_level("INFO", logger="bridge")
    async with asyncio.timeout(20):
        await client.call("logs")
        logged = next(record for record in caplog.records if record.getMessage() == "from the tool")
        assert (logged.name, logged.levelname) == ("bridge.tool", "WARNING")
        assert (logged.tool, logged.step) == ("logs", 3)
        # It comes by way of a file on the node.
        await until(lambda: "printed" in [record.getMessage() for record in caplog.records])


async def test_an_adapter_in_the_working_directory_is_copied_to_the_nodes(
    connect: Connect, on_ray: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "from_file.py").write_text(
        "import os\n"
        "from bridge import Adapter, tool\n"
        "class Local(Adapter):\n"
        "    @tool\n"
        "    def where(self) -> str:\n"
        "        return os.path.abspath(__file__)\n",
        "utf-8",
    )
    on_ray["ray_runtime_env"].write_text(json.dumps({"working_dir": str(folder)}))
    (adapter,) = load_adapters(str(folder / "from_file.py"))
    client = await connect(adapter, **on_ray)
    where = Path(await client.call("where", timeout=10))
    assert where.name == "from_file.py"
    assert where.parent != folder


async def test_a_reload_brings_other_workers_and_loses_no_call(start: Any, on_ray: Any, events: Any) -> None:
    server = await start(OnRay, **on_ray)
    async with asyncio.timeout(30), BridgeClient(server.addresses[0]) as client:
        running = asyncio.create_task(client.call("hang"))
        await events.wait("started")
        await server.reload()
        assert await client.call("add", a=1) == 2
        assert not running.done()
        running.cancel()
        await events.wait("ended")


async def test_a_worker_that_cannot_begin_stops_the_start(start: Any, on_ray: Any) -> None:
    with pytest.raises(BridgeError, match="no model here") as caught:
        async with asyncio.timeout(20):
            await start(CannotBegin, **on_ray)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "LIFESPAN_FAILED")
