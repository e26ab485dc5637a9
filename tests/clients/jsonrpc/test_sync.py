"""The blocking client, over a socket and over the pipes of a child."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from bridge_client.jsonrpc.sync import Client
from tests.jsonrpc.processes import PROGRAM, ROOT, environment

PROBES = f"{ROOT / 'tests' / 'support' / 'probes.py'}:Threaded"


@pytest.fixture(scope="module")
def tools() -> Iterator[Client]:
    with Client.spawn([sys.executable, "-m", "bridge", "stdio", PROBES], env=environment()) as client:
        yield client


def test_calls_streams_and_sessions_are_those_of_the_async_client(tools: Client) -> None:
    assert tools.call("add", a=1) == 2
    assert tools.call("echo", {"value": b"bytes"}, timeout=10) == b"bytes"
    assert list(tools.stream("count", n=3)) == [0, 1, 2]
    assert "add" in [info.name for info in tools.tools()]
    with tools.session(ttl=60) as session:
        session["x"] = 1
        assert session.call("read", name="x") == 1
        assert session.update("x", lambda x: x + 1) == 2
        assert [info.session_id for info in tools.list_sessions()] == [session.session_id]
        with session.watch("x") as watch:
            session["x"] = 3
            update = next(watch)
            assert update.variable is not None
            assert update.variable.value == 3
    with pytest.raises(BridgeError) as caught:
        tools.call("hang", timeout=0.05)
    assert caught.value.code is Code.DEADLINE_EXCEEDED


def test_threads_share_a_client(tools: Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = threads.map(lambda number: tools.call("echo", value=number), range(100))
        assert list(results) == list(range(100))


def test_requests_notifications_and_names(tools: Client) -> None:
    assert tools.request("system.ping")["pong"] is True
    tools.notify("nothing.in.particular", {"a": 1})
    assert tools.is_connected
    assert tools.name == sys.executable
    assert repr(tools) == f"<sync.Client {sys.executable} open>"


def test_handlers_may_block_and_use_the_client(path: Path) -> None:
    heard: list[Any] = []
    done = threading.Event()

    def hear(method: str, params: Any) -> None:
        heard.append((method, client.request("echo", params)))
        if len(heard) == 3:
            done.set()
        raise ValueError("only logged")

    def answer(method: str, params: Any) -> Any:
        return client.request("echo", [method, *params])

    code = f"""
import asyncio, sys
from pathlib import Path
from tests.jsonrpc.ends import Answers
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.unix_server import listen_unix
from bridge.protocols.content_length import ContentLength
class Talkative(Answers):
    async def tell(self, connection, params):
        for number in range(3):
            connection.notify("told", [number])
async def main():
    async with listen_unix(Path({str(path)!r}), lambda: Connection(ContentLength(), Talkative())):
        await asyncio.sleep(60)
asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    options: dict[str, Any] = {"env": environment(), "on_request": answer, "on_notification": hear}
    with Client.connect_or_start(f"unix:{path}", command, **options) as client:
        client.request("tell")
        assert done.wait(10)
        assert heard == [("told", [0]), ("told", [1]), ("told", [2])]
        assert client.request("ask", [1]) == ["echo", 1]


def test_a_closed_client_says_so_and_its_child_is_gone() -> None:
    client = Client.spawn([*PROGRAM, "stdio", "content-length"], env=environment())
    assert client.request("echo", [1]) == [1]
    pid = client.request("pid")
    client.close()
    client.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(BridgeError) as caught:
        client.request("echo")
    assert caught.value.reason == "CLIENT_CLOSED"


def test_a_failed_start_leaves_no_thread(path: Path) -> None:
    before = set(threading.enumerate())  # those of tests before may end meanwhile
    with pytest.raises(BridgeError) as caught:
        Client.connect(f"unix:{path}")
    assert caught.value.reason == "NO_SERVER"
    assert set(threading.enumerate()) <= before
