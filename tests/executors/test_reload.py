"""Hot reload: the code of tools in processes is exchanged while they are called, and no call is lost."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from bridge import BridgeError, Code
from bridge.executors.generations import Generations
from bridge.executors.process import PoolLimits, ProcessExecutor
from bridge.loader import load_adapters
from bridge.server import Server
from bridge.testing import serving
from bridge.worker.recipe import adapters_recipe
from bridge_client import BridgeClient
from tests.support.waiting import until

CODE = """
import os, time
from pathlib import Path
from bridge import Adapter, tool

class Greeter(Adapter):
    @tool(isolation="process")
    def greet(self) -> str:
        return {greeting!r}

    @tool(isolation="process")
    def pid(self) -> int:
        return os.getpid()

    @tool(isolation="process")
    def wait_for(self, begun: str, path: str) -> str:
        Path(begun).touch()
        while not Path(path).exists():
            time.sleep(0.005)
        return {greeting!r}

    @tool
    def here(self) -> str:
        return "in the server"
{more}
"""

MORE = '''
    @tool(isolation="call")
    def added(self) -> str:
        """Was not there before."""
        return "added"
'''


class Source:
    """The file of an adapter that changes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "greeter_file.py"

    def write(self, greeting: str, more: str = "") -> None:
        self.path.write_text(CODE.format(greeting=greeting, more=more))

    def load(self) -> list[type]:
        return load_adapters(f"{self.path}:Greeter")


@pytest.fixture
def code(tmp_path: Path) -> Source:
    code = Source(tmp_path)
    code.write("hello")
    return code


async def names(client: BridgeClient) -> set[str]:
    return {info.name for info in await client.tools()}


async def test_calls_after_a_reload_run_the_new_code(code: Source) -> None:
    async with (
        asyncio.timeout(20),
        serving(*code.load(), workers=2) as server,
        BridgeClient(server.addresses[0]) as client,
    ):
        assert await client.call("greet") == "hello"
        code.write("good evening", MORE)
        await server.reload()
        assert await client.call("greet") == "good evening"
        assert await client.call("added") == "added"
        assert await client.call("here") == "in the server"
        assert "added" in await names(client)


async def test_a_tool_that_is_gone_is_not_listed_any_more(code: Source) -> None:
    code.write("hello", MORE)
    async with asyncio.timeout(20), serving(*code.load()) as server, BridgeClient(server.addresses[0]) as client:
        assert await client.call("added") == "added"
        code.write("hello there")
        await server.reload()
        with pytest.raises(BridgeError) as caught:
            await client.call("added")
        assert caught.value.code is Code.NOT_FOUND
        assert "added" not in await names(client)


async def test_a_running_call_ends_with_the_code_it_began_with_and_then_its_worker_goes(
    code: Source, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    async with (
        asyncio.timeout(20),
        serving(*code.load(), workers=2) as server,
        BridgeClient(server.addresses[0]) as client,
    ):
        old = await client.call("pid")
        running = asyncio.create_task(client.call("wait_for", begun=str(begun), path=str(go)))
        await until(begun.exists)
        code.write("good evening")
        await server.reload()
        assert await client.call("greet") == "good evening"
        assert not running.done()
        go.touch()
        assert await running == "hello"
        await until(lambda: not alive(old))


async def test_no_call_is_lost_while_code_is_exchanged_again_and_again(code: Source) -> None:
    async with (
        asyncio.timeout(50),
        serving(*code.load(), workers=2) as server,
        BridgeClient(server.addresses[0], retry=None) as client,
    ):
        done = False
        answers: list[str] = []

        async def call_on() -> None:
            while not done:
                answers.append(await client.call("greet"))

        callers = [asyncio.create_task(call_on()) for _ in range(6)]
        for number in range(5):
            code.write("x" * (number + 10))
            await server.reload()
        done = True
        await asyncio.gather(*callers)
        assert {"hello", *("x" * (number + 10) for number in range(5))} >= set(answers)
        assert await client.call("greet") == "x" * 14


async def test_broken_code_changes_nothing(code: Source) -> None:
    async with asyncio.timeout(20), serving(*code.load()) as server, BridgeClient(server.addresses[0]) as client:
        code.path.write_text("import no_such_module_anywhere")
        with pytest.raises(BridgeError, match="no_such_module_anywhere"):
            await server.reload()
        assert await client.call("greet") == "hello"
        code.write("repaired")
        await server.reload()
        assert await client.call("greet") == "repaired"


async def test_new_code_whose_tool_has_a_name_of_the_server_changes_nothing(code: Source) -> None:
    async with asyncio.timeout(20), serving(*code.load()) as server, BridgeClient(server.addresses[0]) as client:
        # In the new code the tool that runs in the server moves to a process; the server goes on with its own.
        code.path.write_text(code.path.read_text().replace("    @tool\n", '    @tool(isolation="process")\n'))
        with pytest.raises(BridgeError) as caught:
            await server.reload()
        assert caught.value.reason == "DUPLICATE_TOOL"
        assert await client.call("greet") == "hello"


async def test_with_reload_every_tool_can_be_exchanged(code: Source) -> None:
    async with (
        asyncio.timeout(20),
        serving(*code.load(), reload=True) as server,
        BridgeClient(server.addresses[0]) as client,
    ):
        code.path.write_text(code.path.read_text().replace("in the server", "somewhere else"))
        await server.reload()
        assert await client.call("here") == "somewhere else"


async def test_a_server_without_workers_says_that_there_is_nothing_to_reload() -> None:
    from tests.support.probes import Inline

    async with asyncio.timeout(20), serving(Inline) as server:
        with pytest.raises(BridgeError) as caught:
            await server.reload()
        assert caught.value.reason == "NOTHING_TO_RELOAD"


async def test_a_server_that_stops_in_the_middle_leaves_nothing(code: Source, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    pids: list[Any] = []
    async with asyncio.timeout(20):
        server: Server
        async with serving(*code.load(), workers=2, grace=0.1) as server, BridgeClient(server.addresses[0]) as client:
            pids.append(await client.call("pid"))
            running = asyncio.create_task(client.call("wait_for", begun=str(begun), path=str(tmp_path / "never")))
            await until(begun.exists)
            await server.reload()
            pids.append(await client.call("pid"))
            reloading = asyncio.create_task(server.reload())
        with pytest.raises(BridgeError):
            await running
        await asyncio.wait((reloading,))
        await until(lambda: not any(map(alive, pids)))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Held(ProcessExecutor):
    """A generation whose call ends with it."""

    async def start(self) -> None:
        self.call: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def run(self, invocation: Any) -> Any:
        return self.call

    async def aclose(self) -> None:
        if not self.call.done():
            self.call.set_exception(BridgeError(Code.UNAVAILABLE, "it stops", reason="SHUTDOWN"))
        with suppress(BridgeError):
            await self.call
        await asyncio.sleep(0)


async def test_a_call_of_the_code_before_is_told_that_the_server_stops() -> None:
    generations = Generations(lambda _: Held(adapters_recipe([]), [], PoolLimits()), lambda _: None)
    await generations.start()
    running = asyncio.ensure_future(generations.run(cast("Any", None)))
    await asyncio.sleep(0)
    generations.adopt(await generations.prepare())
    await generations.aclose()
    with pytest.raises(BridgeError) as caught:
        await running
    assert caught.value.reason == "SHUTDOWN"
