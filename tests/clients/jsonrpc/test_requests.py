"""Requests and notifications in both directions, with any server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.unix_server import listen_unix
from bridge.protocols.content_length import ContentLength
from bridge_client.jsonrpc import Client
from tests.clients.jsonrpc.conftest import Serve
from tests.jsonrpc.ends import Answers
from tests.jsonrpc.processes import ROOT, environment

FRAMINGS = pytest.mark.parametrize("framing", ["content-length", "newline"])


async def reason_of(asked: Any) -> tuple[Code, str]:
    with pytest.raises(BridgeError) as caught:
        await asked
    return caught.value.code, caught.value.reason


@FRAMINGS
async def test_requests_have_their_results_and_errors_their_reasons(serve: Serve, address: str, framing: str) -> None:
    await serve(Answers(), framing)
    async with asyncio.timeout(5), await Client.connect(address, framing=framing) as client:
        assert await client.request("echo", {"text": "grüße\n", "list": [1, 2.5, None, True]}) == {
            "text": "grüße\n",
            "list": [1, 2.5, None, True],
        }
        assert await client.request("echo", [2**53 + 1]) == [2**53 + 1]
        assert await client.request("echo", b"[1, 2]") == [1, 2], "a text of JSON"
        assert await client.request("echo") is None
        assert await reason_of(client.request("fail")) == (Code.NOT_FOUND, "NOTHING")
        assert await reason_of(client.request("echo", [object()])) == (Code.INVALID_ARGUMENT, "UNSUPPORTED_VALUE")
        assert await client.request("echo", [1]) == [1], "the connection lives"


@FRAMINGS
async def test_ten_megabytes_go_both_ways(serve: Serve, address: str, framing: str) -> None:
    await serve(Answers(), framing)
    async with asyncio.timeout(20), await Client.connect(address, framing=framing) as client:
        text = "x" * 10_000_000
        assert await client.request("echo", [text]) == [text]


@FRAMINGS
async def test_C06_a_late_answer_is_never_taken_for_another_calls(serve: Serve, address: str, framing: str) -> None:
    answers = Answers()
    await serve(answers, framing)
    async with asyncio.timeout(5), await Client.connect(address, framing=framing) as client:
        with pytest.raises(BridgeError) as caught:
            await client.request("stubborn", timeout=0.05)
        assert (caught.value.code, caught.value.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        while not answers.cancelled:
            await client.request("echo", [0])
        assert answers.cancelled == ["stubborn"], "the server was told"
        waiting = [asyncio.ensure_future(client.request("slow")) for _ in range(3)]
        await client.request("echo", [1])
        answers.release.set()  # the late answer comes before those of the others
        assert await asyncio.gather(*waiting) == [None] * 3
        assert [await client.request("echo", [number]) for number in range(3)] == [[0], [1], [2]]


async def test_what_is_cancelled_is_cancelled_at_the_server(serve: Serve, address: str) -> None:
    answers = Answers()
    await serve(answers)
    async with asyncio.timeout(5), await Client.connect(address) as client:
        asking = asyncio.ensure_future(client.request("slow"))
        await client.request("echo")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        while answers.cancelled != ["slow"]:
            await client.request("echo")


async def test_slow_then_fast_answers_the_fast_one_first(serve: Serve, address: str) -> None:
    answers = Answers()
    await serve(answers)
    async with asyncio.timeout(5), await Client.connect(address) as client:
        slow = asyncio.ensure_future(client.request("slow"))
        assert await client.request("echo", ["fast"]) == ["fast"]
        assert not slow.done()
        answers.release.set()
        assert await slow is None


async def test_notifications_reach_the_server_in_order(serve: Serve, address: str) -> None:
    answers = Answers()
    await serve(answers)
    async with asyncio.timeout(5), await Client.connect(address) as client:
        for number in range(5):
            await client.notify(f"note-{number}", {"n": number})
        await client.request("echo")
        assert answers.noted == [f"note-{number}" for number in range(5)]


@FRAMINGS
async def test_the_server_asks_and_tells_the_client(serve: Serve, address: str, framing: str) -> None:
    class Talkative(Answers):
        async def tell(self, connection: Any, params: Any) -> None:
            for number in range(3):
                connection.notify("told", [number])

    heard: list[Any] = []

    async def answer(method: str, params: Any) -> Any:
        await asyncio.sleep(0)
        return {method: params}

    await serve(Talkative(), framing)
    options: dict[str, Any] = {"framing": framing, "on_notification": lambda *told: heard.append(told)}
    async with asyncio.timeout(5), await Client.connect(address, on_request=answer, **options) as client:
        assert await client.request("ask", [1]) == {"echo": [1]}
        await client.request("tell")
        assert heard == [("told", [0]), ("told", [1]), ("told", [2])]
    async with asyncio.timeout(5), await Client.connect(address, framing=framing, on_request=lambda *_: 7) as plain:
        assert await plain.request("ask") == 7, "a plain function does, too"


async def test_a_client_that_answers_nothing_says_so(serve: Serve, address: str) -> None:
    await serve(Answers())
    async with asyncio.timeout(5), await Client.connect(address) as client:
        assert await reason_of(client.request("ask")) == (Code.NOT_FOUND, "METHOD_NOT_FOUND")


async def test_a_failing_handler_tells_its_kind_and_not_its_text(serve: Serve, address: str) -> None:
    def fail(method: str, params: Any) -> None:
        if params:
            raise BridgeError(Code.ABORTED, "not now", reason="NOT_NOW")
        raise ValueError("secret")

    await serve(Answers())
    async with asyncio.timeout(5), await Client.connect(address, on_request=fail) as client:
        with pytest.raises(BridgeError) as caught:
            await client.request("ask")
        assert (caught.value.code, caught.value.reason) == (Code.UNKNOWN, "ValueError")
        assert "secret" not in str(caught.value)
        assert await reason_of(client.request("ask", [1])) == (Code.ABORTED, "NOT_NOW")


async def test_what_runs_when_the_connection_is_lost_fails_and_is_not_repeated(serve: Serve, address: str) -> None:
    answers = Answers()
    server = await serve(answers)
    async with asyncio.timeout(5), await Client.connect(address) as client:
        asking = asyncio.ensure_future(client.request("slow"))
        await client.request("echo")
        for connection in tuple(server.connections):
            connection.abort()
        assert await reason_of(asking) == (Code.UNAVAILABLE, "CONNECTION_LOST")
        assert await client.request("echo", [1]) == [1], "it connects again"
        assert answers.begun.count("slow") == 1


async def test_a_closed_client_says_so(serve: Serve, address: str) -> None:
    await serve(Answers())
    async with asyncio.timeout(5):
        client = await Client.connect(address)
        asking = asyncio.ensure_future(client.request("slow"))
        await client.request("echo")
        assert repr(client) == f"<Client {address} open>"
        await client.aclose()
        await client.aclose()
        assert (await reason_of(asking))[0] is Code.UNAVAILABLE
        assert await reason_of(client.request("echo")) == (Code.FAILED_PRECONDITION, "CLIENT_CLOSED")
        assert repr(client) == f"<Client {address} closed>"


async def test_where_nobody_listens_the_error_says_what_to_do(path: Path, address: str) -> None:
    with pytest.raises(BridgeError) as caught:
        await Client.connect(address)
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "NO_SERVER")
    assert f"bridge serve ADAPTER --jsonrpc {address}" in caught.value.message
    path.parent.mkdir(mode=0o700)
    path.write_text("not a socket")  # noqa: ASYNC240 - a file of this test
    assert (await reason_of(Client.connect(address)))[1] == "NO_SERVER"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "unix:/", f"unix:/{'x' * 120}"])
async def test_what_is_no_socket_is_refused(address: str) -> None:
    assert await reason_of(Client.connect(address)) == (Code.INVALID_ARGUMENT, "ADDRESS")


@contextmanager
def server_of_another_user(path: Path) -> Iterator[None]:
    code = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        "s.bind(sys.argv[1]); s.listen(); print('ready', flush=True); s.accept()[0].recv(1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        process.communicate()
        path.unlink(missing_ok=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_another_users_server_is_not_talked_to() -> None:
    path = Path("/tmp", f"j-{os.getpid()}.sock")  # where everybody can listen
    with server_of_another_user(path):
        assert await reason_of(Client.connect(f"unix:{path}")) == (Code.PERMISSION_DENIED, "ADDRESS")


async def test_without_a_path_it_is_the_socket_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = tmp_path / "tool-bridge" / "jsonrpc.sock"
    listening = listen_unix(path, lambda: Connection(ContentLength(), Answers()))
    async with asyncio.timeout(5), listening, await Client.connect("unix:") as client:
        assert client.name == f"unix:{path}"
        assert await client.request("echo", [1]) == [1]


async def test_wrong_options_are_refused_before_anything_is_connected(address: str) -> None:
    async def note(method: str, params: Any) -> None: ...

    wrong: list[dict[str, Any]] = [{"framing": "lines"}, {"on_notification": note}]
    for options in wrong:
        assert await reason_of(Client.connect(address, **options)) == (Code.INVALID_ARGUMENT, "CONFIG")
    assert (await reason_of(Client.connect(address, timeout=-1.0)))[0] is Code.INVALID_ARGUMENT


async def test_a_result_that_is_no_json_value_of_python_is_refused(serve: Serve, address: str) -> None:
    class Odd(Answers):
        async def huge(self, connection: Any, params: Any) -> Any:
            return msgspec.Raw(b"9" * 5000)

    await serve(Odd())
    async with asyncio.timeout(5), await Client.connect(address) as client:
        assert await reason_of(client.request("huge")) == (Code.INVALID_ARGUMENT, "VALUE_REFUSED")


def test_nothing_of_grpc_is_imported() -> None:
    code = "import sys, bridge_client.jsonrpc.sync; print([m for m in sys.modules if m.partition('.')[0] == 'grpc'])"
    path = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(PYTHONPATH=path), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
