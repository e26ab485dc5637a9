"""``system.*``, and how servers of JSON-RPC are put together."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from bridge import BridgeError, __version__
from bridge.cli import stdio as stdio_command
from bridge.config import ServerConfig, settle
from bridge.server import run_server
from tests.cli.running import bridge, command, environment, running
from tests.frontends.jsonrpc.conftest import OpenWire, Start
from tests.support import probes
from tests.support.jsonrpc_wire import Wire, wire_to

ADAPTER = """
import os, sys
from bridge import Adapter, tool

print("imported")

class A(Adapter):
    @tool
    async def add(self, a: int, b: int = 1) -> int:
        print("called")
        os.write(1, b"written")
        return a + b

    @tool
    async def grpc_modules(self) -> list[str]:
        return sorted(name for name in sys.modules if name.partition(".")[0] in ("grpc", "typer", "mcp"))
"""


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    """A file with an adapter."""
    file = tmp_path / "a.py"
    file.write_text(ADAPTER)
    return str(file)


async def test_the_server_tells_about_itself(wire: OpenWire) -> None:
    client = await wire(probes.Inline)
    assert (await client.call("system.ping"))["pong"] is True
    version = await client.call("system.version")
    assert (version["name"], version["version"], version["jsonrpc"]) == ("tool-bridge", __version__, "2.0")
    stats = await client.call("system.stats")
    assert (stats["pid"], stats["connections"], stats["calls"]) == (os.getpid(), 1, 0)
    assert stats["memory"] > 0
    begun = await client.call("system.initialize", {"client": {"name": "test"}})
    assert begun["host"] is False
    assert {"tools.list", "tools.call", "session.watch", "system.shutdown"} <= set(begun["methods"])


async def test_control_methods_answer_whatever_the_tools_do(wire: OpenWire, journal: probes.Journal) -> None:
    client = await wire(probes.Threaded, threads=1, max_concurrent_calls=1)
    client.ask("stubborn")
    await journal.wait("started")
    assert (await client.call("system.stats"))["calls"] == 1
    assert (await client.call("tools.list"))["tools"]
    journal.release.set()


async def test_a_server_in_a_program_is_not_ended_by_its_clients(wire: OpenWire) -> None:
    client = await wire(probes.Inline)
    assert (await client.error("system.shutdown"))["data"]["reason"] == "NOT_STOPPABLE"
    assert await client.call("add", [1]) == 2


async def test_system_shutdown_asks_for_the_end_and_is_answered(tmp_path: Path) -> None:
    stopped = asyncio.Event()
    config = ServerConfig(jsonrpc=f"unix:{tmp_path / 'own' / 'rpc'}", listen=())
    async with (
        run_server(config, [probes.Inline], stop=stopped.set) as server,
        wire_to(server.jsonrpc_address) as client,
    ):
        assert await client.call("system.shutdown") is None
        assert stopped.is_set()


async def test_a_server_that_drains_answers_what_runs_and_refuses_the_rest(
    serve: Start, journal: probes.Journal
) -> None:
    server = await serve(probes.Threaded)
    async with wire_to(server.jsonrpc_address) as client:
        running = client.ask("stubborn")
        await journal.wait("started")
        draining = asyncio.create_task(server.drain())
        await asyncio.sleep(0)
        assert (await client.error("add", [1]))["data"]["reason"] == "DRAINING"
        journal.release.set()
        assert (await client.answer(running))["result"] is None
        assert await draining


async def test_clients_hear_that_tools_have_changed(wire: OpenWire, serve: Start) -> None:
    server = await serve(probes.Processed, isolation="process")
    async with wire_to(server.jsonrpc_address) as client:
        await client.call("system.ping")
        await server.reload()
        assert (await client.next())["method"] == "tools.changed"


def test_with_jsonrpc_alone_there_is_no_grpc() -> None:
    settled = settle(flags={"adapters": ["a:A"], "jsonrpc": "unix:/run/x.sock"})
    assert settled.config.listen == ()
    both = settle(flags={"adapters": ["a:A"], "jsonrpc": "unix:/run/x.sock", "listen": ["127.0.0.1:0"]})
    assert both.config.listen == ("127.0.0.1:0",)


def test_unix_alone_means_another_socket_than_that_of_grpc() -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/7", "BRIDGE_JSONRPC": "unix:", "BRIDGE_LISTEN": "unix:"}
    config = settle(environ=environ).config
    assert config.jsonrpc == "unix:/run/user/7/tool-bridge/jsonrpc.sock"
    assert config.listen == ("unix:/run/user/7/tool-bridge/bridge.sock",)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"jsonrpc": "127.0.0.1:1"}, "only Unix sockets"),
        ({"jsonrpc": "unix:/a", "listen": ["unix:/a"]}, "a socket speaks one of them"),
        ({"jsonrpc": "unix:/a", "listen": ["unix:/b"], "idle_timeout": 5.0}, "leave one of them out"),
        ({"idle_timeout": 5.0}, "set jsonrpc"),
        ({"jsonrpc": "unix:/a", "write_client": "c.json"}, "there is none"),
        ({"jsonrpc": "unix:/" + "x" * 200}, "shorten"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(flags: dict[str, Any], problem: str) -> None:
    with pytest.raises(BridgeError, match=problem):
        settle(flags=flags)


@pytest.mark.parametrize("flag", ["listen", "jsonrpc", "write_client"])
def test_stdio_refuses_what_is_about_addresses(flag: str, tmp_path: Path) -> None:
    flags = {"adapters": ["a.py"], flag: [f"unix:{tmp_path}/a"] if flag == "listen" else f"unix:{tmp_path}/a"}
    with pytest.raises(BridgeError, match="listens to stdin only"):
        stdio_command.stdio(flags, None)


class Stdio:
    """A ``bridge stdio`` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, framing: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.wire = Wire(process.stdout, process.stdin, framing)

    @classmethod
    async def start(cls, *arguments: str, framing: str) -> Stdio:
        process = await asyncio.create_subprocess_exec(
            *command("stdio", *arguments, "--framing", framing),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
        return cls(process, framing)

    async def end(self) -> tuple[int, str]:
        """Closes stdin; the exit code and what was written to stderr."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(20):
            _, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()


async def test_S01_bridge_stdio_answers_and_prints_elsewhere(adapter: str, framing: str) -> None:
    server = await Stdio.start(adapter, framing=framing)
    async with asyncio.timeout(20):
        assert await server.wire.call("add", [1]) == 2
        assert await server.wire.call("grpc_modules") == []
        session = await server.wire.call("session.open")
        await server.wire.call("session.set", [session["session_id"], "x", 1])
    code, err = await server.end()
    assert code == 0
    assert "imported" in err
    assert "called" in err
    assert "written" in err


async def test_bridge_stdio_ends_by_request(adapter: str, framing: str) -> None:
    server = await Stdio.start(adapter, framing=framing)
    async with asyncio.timeout(20):
        assert await server.wire.call("system.shutdown") is None
        assert await server.process.wait() == 0
    await server.end()


def test_bridge_stdio_leaves_out_what_a_file_says_about_addresses(adapter: str, tmp_path: Path) -> None:
    (tmp_path / "bridge.toml").write_text(
        f'[server]\nadapters = ["{adapter}"]\nlisten = ["127.0.0.1:1"]\nwrite_client = "client.json"\n'
    )
    done = bridge("stdio", cwd=tmp_path)
    assert (done.code, done.out) == (0, "")
    assert not (tmp_path / "client.json").exists()


def test_bridge_stdio_says_what_is_missing(tmp_path: Path) -> None:
    done = bridge("stdio", cwd=tmp_path)
    assert done.code == 2
    assert "no adapter" in done.err
    assert done.out == ""


async def test_bridge_serve_speaks_jsonrpc_alone_until_nobody_uses_it(adapter: str, tmp_path: Path) -> None:
    socket = tmp_path / "own" / "rpc.sock"
    ready = tmp_path / "ready.json"
    arguments = ("serve", adapter, "--jsonrpc", f"unix:{socket}", "--idle-timeout", "0.5", "--ready-file", str(ready))
    with running(*arguments, cwd=tmp_path) as server:
        assert await asyncio.to_thread(server.address) == f"unix:{socket} (JSON-RPC)"
        assert f'"jsonrpc":"unix:{socket}"' in ready.read_text()
        async with wire_to(f"unix:{socket}") as client:
            assert await client.call("grpc_modules") == []
        assert await asyncio.to_thread(server.wait) == 0
        assert not socket.exists()


async def test_no_timeout_is_an_idle_timeout_of_nothing(adapter: str, tmp_path: Path) -> None:
    from bridge.cli.flags import parse

    for arguments in (["--idle-timeout", "5", "--no-timeout"], ["--no-timeout"]):
        parsed = parse([*arguments, adapter])
        assert parsed is not None
        assert parsed[0]["idle_timeout"] == 0.0
