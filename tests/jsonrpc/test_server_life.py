"""How a handler server begins and ends, as a process and inside another program."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.jsonrpc import Context, Server
from tests.jsonrpc.programs import program
from tests.jsonrpc.serving import connected, serving
from tests.support.waiting import until

CHILD = Path(__file__).with_name("server_child.py")


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "own" / "server.sock"


@pytest.mark.parametrize("framing", ["content-length", "newline"])
async def test_J01_S01_S02_program_serves_stdio_and_prints_go_to_stderr(framing: str) -> None:
    async with program(CHILD, "stdio", framing, "1", framing=framing) as (client, child):
        assert await client.result("ping") == "pong"
        assert await client.result("chat") == ""
        assert await client.result("ping") == "pong"
        client.writer.close()
        assert await child.ends() == 0
        assert {"printed", "written", "echoed", "bridge: ended"} <= set(child.said)
        assert "Traceback" not in "".join(child.said)


async def test_C11_what_was_told_before_the_end_of_stdin_is_handled() -> None:
    async with program(CHILD, "stdio", "newline", "5", framing="newline") as (client, child):
        for text in "abc":
            client.notify("note", [text])
        client.writer.close()
        assert await child.ends() == 0
        assert [line for line in child.said if "noted" in line] == [f"bridge: noted {text}" for text in "abc"]


async def test_C11_C12_running_request_is_answered_after_sigterm_and_then_it_ends() -> None:
    async with program(CHILD, "stdio", "newline", "5", framing="newline") as (client, child):
        client.request("slow", [0.3])
        await child.says("bridge: begun slow")
        child.process.send_signal(signal.SIGTERM)
        assert (await client.hear())["result"] == "slow"
        assert await client.hear() is None
        assert await child.ends() == 0


async def test_C11_F10_large_answer_arrives_whole_although_the_program_ends() -> None:
    async with program(CHILD, "stdio", "content-length", "5") as (client, child):
        client.request("big", [5_000_000])
        await child.says("bridge: begun big")
        child.process.send_signal(signal.SIGTERM)
        assert len((await client.hear())["result"]) == 5_000_000
        assert await client.hear() is None
        assert await child.ends() == 0


async def test_C11_request_behind_a_notification_is_answered_when_the_server_stops(socket: Path) -> None:
    server = Server()
    begun, release = asyncio.Event(), asyncio.Event()

    @server.notification("note")
    async def note() -> None:
        begun.set()
        await release.wait()

    server.on("ping", lambda: "pong")
    async with serving(server, socket) as path, connected(path) as client:
        client.notify("note")
        client.request("ping")
        await begun.wait()
        stopping = asyncio.create_task(server.stop(5))
        await until(lambda: not there(socket))
        release.set()
        assert (await client.hear())["result"] == "pong"
        assert await stopping is True


async def test_C11_handler_that_does_not_end_is_cut_off_after_the_grace_period() -> None:
    async with program(CHILD, "stdio", "newline", "0.1", framing="newline") as (client, child):
        client.request("stuck")
        await child.says("bridge: begun stuck")
        child.process.send_signal(signal.SIGTERM)
        assert (await client.hear())["error"]["code"] == -32064
        assert await child.ends() == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_C12_idle_program_on_a_socket_ends_by_a_signal(socket: Path, number: int) -> None:
    async with program(CHILD, f"unix:{socket}", "content-length", "5") as (_, child):
        await until(lambda: there(socket.with_name(socket.name + ".pid")))  # written when it listens
        async with connected(str(socket)) as client:
            assert await client.result("ping") == "pong"
            child.process.send_signal(number)
            assert await client.hear() is None
        assert await child.ends() == 0
        assert not there(socket)


async def test_U08_program_nobody_connects_to_ends(socket: Path) -> None:
    async with program(CHILD, f"unix:{socket}", "content-length", "5", "0.1") as (_, child):
        assert await child.ends() == 0


async def test_handler_may_end_the_program() -> None:
    async with program(CHILD, "stdio", "content-length", "5") as (client, child):
        assert await client.result("ping") == "pong"
        client.notify("exit")
        assert await client.hear() is None
        assert await child.ends() == 0


def there(socket: Path) -> bool:
    return socket.exists()


async def test_requests_while_it_stops_are_refused(socket: Path) -> None:
    server = Server()
    release = asyncio.Event()

    @server.method("slow")
    async def slow(ctx: Context) -> str:
        await ctx.notify("begun")
        await release.wait()
        return "slow"

    async with serving(server, socket) as path, connected(path) as client:
        client.request("slow", id="s")
        await client.hear()
        stopping = asyncio.create_task(server.stop(5))
        await until(lambda: not there(socket))
        error = await client.error("slow")
        assert error["data"]["reason"] == "DRAINING"
        release.set()
        assert (await client.hear())["result"] == "slow"
        assert await client.hear() is None
        assert await stopping is True


async def test_stop_says_whether_something_was_cut_off(socket: Path) -> None:
    server = Server()
    release = threading.Event()

    @server.method("stuck")
    def stuck(ctx: Context) -> None:
        ctx.sync.notify("begun")
        release.wait(10)

    await server.start(f"unix:{socket}")
    async with connected(str(socket)) as client:
        client.request("stuck")
        await client.hear()
        assert await server.stop(0.05) is False
    release.set()


async def test_notification_whose_turn_does_not_come_before_the_end_is_given_up(socket: Path) -> None:
    server = Server()
    begun: list[Any] = []

    @server.notification("note")
    async def note(number: int) -> None:
        begun.append(number)
        await asyncio.Event().wait()

    server.on("ping", lambda: None)
    await server.start(f"unix:{socket}")
    async with connected(str(socket)) as client:
        client.notify("note", [1])
        client.notify("note", [2])
        await until(lambda: begun)
        assert await server.stop(0.05) is False
    assert begun == [1]


async def test_one_server_serves_several_addresses(socket: Path) -> None:
    server = Server(session="server")

    @server.method("add")
    async def add(ctx: Context) -> int:
        value = int(await ctx.session.get("x", 0)) + 1
        await ctx.session.set("x", value)
        return value

    second = socket.with_name("second.sock")
    await server.start(f"unix:{second}", framing="newline")
    async with serving(server, socket) as path, connected(path) as client, connected(str(second), "newline") as lines:
        assert await client.result("add") == 1
        assert await lines.result("add") == 2


@pytest.mark.parametrize("address", ["127.0.0.1:0", "nonsense", "unix:" + "/x" * 100])
async def test_address_that_cannot_be_served_is_refused(address: str) -> None:
    async with Server() as server:
        with pytest.raises(BridgeError):
            await server.start(address)


async def test_U03_socket_of_a_live_server_is_not_taken(socket: Path) -> None:
    first, second = Server(), Server()
    first.on("ping", lambda: "first")
    async with serving(first, socket) as path:
        with pytest.raises(BridgeError):
            await second.start(f"unix:{path}")
        async with connected(path) as client:
            assert await client.result("ping") == "first"
        await second.stop()
