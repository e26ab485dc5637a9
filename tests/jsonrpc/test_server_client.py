"""What handlers ask of their clients, how they are cancelled, and what becomes of clients that go."""

from __future__ import annotations

import asyncio
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.host import CallScope
from bridge.jsonrpc import Context, Server, conversation
from tests.jsonrpc.serving import connected, serving, talking


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "own" / "server.sock"


async def asking(client: Any, answer: dict[str, Any]) -> Any:
    """Calls ``ask``, answers what it asks, and gives its answer."""
    client.request("ask", {"value": 3}, id="outer")
    asked = await client.hear()
    assert asked["method"] == "client/echo"
    assert asked["params"] == [3]
    client.say({"id": asked["id"], **answer})
    heard = await client.hear()
    assert heard.pop("id") == "outer"
    return heard


@pytest.fixture(params=["async", "sync"])
def asker(request: pytest.FixtureRequest) -> Server:
    server = Server()
    if request.param == "async":

        @server.method("ask")
        async def ask(value: int, ctx: Context) -> Any:
            return await ctx.request("client/echo", [value])
    else:

        @server.method("ask")
        def ask_blocking(value: int, ctx: Context) -> Any:
            return ctx.sync.request("client/echo", [value])

    return server


async def test_C10_handler_asks_the_client_while_its_own_request_runs(socket: Path, asker: Server) -> None:
    async with talking(asker, socket) as client:
        assert (await asking(client, {"result": {"a": [1]}}))["result"] == {"a": [1]}
        assert (await asking(client, {"result": None}))["result"] is None


@pytest.mark.parametrize("number", [-32601, -32602, -32800])
async def test_client_that_refuses_is_not_taken_for_a_refusal_of_the_outer_request(
    socket: Path, asker: Server, number: int
) -> None:
    async with talking(asker, socket) as client:
        error = (await asking(client, {"error": {"code": number, "message": "no"}}))["error"]
        assert error["code"] not in (-32601, -32602, -32800)
        assert "client/echo" in error["message"]
        assert "no" in error["message"]


async def test_client_that_does_not_answer_costs_no_more_than_the_handlers_patience(socket: Path) -> None:
    server = Server()

    @server.method("ask")
    async def ask(ctx: Context) -> str:
        try:
            return str(await ctx.request("client/echo", timeout=0.05))
        except BridgeError as error:
            return error.code.name

    async with talking(server, socket) as client:
        client.request("ask")
        asked = await client.hear()
        cancelled = await client.hear()
        assert cancelled["method"] == "$/cancelRequest"
        assert cancelled["params"] == {"id": asked["id"]}
        assert (await client.hear())["result"] == "DEADLINE_EXCEEDED"


async def test_what_a_handler_tells_comes_before_its_answer_and_in_order(socket: Path) -> None:
    server = Server()

    @server.method("async")
    async def tell(ctx: Context) -> str:
        for number in range(3):
            await ctx.notify("told", [number])
        return "end"

    @server.method("sync")
    def tell_blocking(ctx: Context) -> str:
        for number in range(3):
            ctx.sync.notify("told", [number])
        return "end"

    async with talking(server, socket) as client:
        for method in ("async", "sync"):
            client.request(method)
            told = [await client.hear() for _ in range(3)]
            assert [message["params"] for message in told] == [[0], [1], [2]]
            assert (await client.hear())["result"] == "end"


async def test_progress_is_told_to_who_gave_a_token(socket: Path) -> None:
    server = Server()

    @server.method("work")
    async def work(params: Any, ctx: Context) -> str:
        await ctx.progress({"percentage": 50})
        return "done"

    async with talking(server, socket) as client:
        client.request("work", {"progressToken": "t"})
        heard = await client.hear()
        assert heard["method"] == "$/progress"
        assert heard["params"] == {"token": "t", "value": {"percentage": 50}}
        assert (await client.hear())["result"] == "done"
        assert await client.result("work", {}) == "done"


def waiting(drops_cancelled: bool = False) -> tuple[Server, list[str]]:
    """A server whose ``wait`` ends only by a cancel; and what has happened."""
    server = Server(drops_cancelled=drops_cancelled)
    events: list[str] = []

    @server.method("wait")
    async def wait(ctx: Context) -> None:
        await ctx.notify("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    @server.method("wait/blocking")
    def wait_blocking(ctx: Context) -> str:
        ctx.sync.notify("begun")
        ctx.cancelled.wait_blocking(10)
        events.append("cancelled")
        return "too late"

    @server.method("ping")
    async def ping() -> str:
        return "pong"

    return server, events


@pytest.mark.parametrize("method", ["wait", "wait/blocking"])
@pytest.mark.parametrize("cancel", ["$/cancelRequest", "notifications/cancelled"])
async def test_C02_C03_cancelled_request_ends_its_handler_and_is_answered(
    socket: Path, method: str, cancel: str
) -> None:
    server, events = waiting()
    async with talking(server, socket) as client:
        client.request(method, id=7)
        assert (await client.hear())["method"] == "begun"
        client.notify(cancel, {"id": 7} if cancel == "$/cancelRequest" else {"requestId": 7})
        answer = await client.hear()
        assert answer["id"] == 7
        assert answer["error"]["code"] == -32800
        assert events == ["cancelled"]


async def test_C02_cancelled_request_is_dropped_where_the_protocol_has_it_so(socket: Path) -> None:
    server, events = waiting(drops_cancelled=True)
    async with talking(server, socket) as client:
        client.request("wait", id=7)
        assert (await client.hear())["method"] == "begun"
        client.notify("notifications/cancelled", {"requestId": 7})
        assert await client.result("ping") == "pong"
        assert events == ["cancelled"]


async def test_C04_cancel_of_what_does_not_run_means_nothing(socket: Path) -> None:
    server, _ = waiting()
    async with talking(server, socket) as client:
        assert await client.result("ping") == "pong"
        for id in (1, 99, "x"):
            client.notify("$/cancelRequest", {"id": id})
        assert await client.result("ping") == "pong"


async def test_C03_C06_handler_that_cannot_be_stopped_is_answered_for(socket: Path) -> None:
    server = Server()
    release = threading.Event()

    @server.method("stuck", timeout=0.05)
    def stuck() -> str:
        release.wait(10)
        return "too late"

    @server.method("patient", timeout=math.inf)
    def patient(ctx: Context) -> None:
        ctx.sync.notify("begun")
        release.wait(10)

    async with talking(server, socket) as client:
        error = await client.error("stuck")
        assert error["code"] == -32001
        assert "the tool's own timeout" in error["message"]
        client.request("patient", id=5)
        assert (await client.hear())["method"] == "begun"
        client.notify("$/cancelRequest", {"id": 5})
        assert (await client.hear())["error"]["code"] == -32800
        release.set()


async def test_C06_timeout_of_a_method_may_be_longer_than_the_servers(socket: Path) -> None:
    server = Server(timeout=0.05)
    release = asyncio.Event()

    @server.method("short")
    async def short() -> None:
        await asyncio.Event().wait()

    @server.method("long", timeout=60)
    async def long(ctx: Context) -> bool:
        await release.wait()
        left = ctx.time_remaining()
        return left is not None and 1 < left <= 60

    async with talking(server, socket) as client:
        client.request("long", id="long")
        assert (await client.error("short"))["code"] == -32001
        release.set()
        assert (await client.hear())["result"] is True


async def test_C05_handler_of_a_client_that_goes_is_cancelled_and_its_variables_are_freed(socket: Path) -> None:
    server, events = waiting()

    @server.method("put")
    async def put(ctx: Context) -> None:
        await ctx.session.set("x", 1)

    async with serving(server, socket) as path, connected(path) as other:
        async with connected(path) as client:
            await client.result("put")
            client.request("wait")
            await client.hear()
            assert len(await server._host.list_sessions(CallScope())) == 1
        async with asyncio.timeout(5):
            while await server._host.list_sessions(CallScope()):
                await other.result("ping")
        assert events == ["cancelled"]


async def test_connections_have_variables_of_their_own_unless_the_server_shares_them(socket: Path) -> None:
    for shares in (False, True):
        server = Server(session="server" if shares else "connection")

        @server.method("put")
        async def put(value: int, ctx: Context) -> None:
            await ctx.session.set("x", value)

        @server.method("get")
        async def get(ctx: Context) -> Any:
            return await ctx.session.get("x", None)

        async with serving(server, socket) as path, connected(path) as one, connected(path) as other:
            await one.result("put", [1])
            assert await other.result("get") == (1 if shares else None)
            assert await one.result("get") == 1


async def test_watch_of_a_variable_tells_a_client_what_others_change(socket: Path) -> None:
    server = Server(session="server")

    @server.method("put")
    async def put(value: int, ctx: Context) -> None:
        await ctx.session.set("x", value)

    @server.method("follow")
    async def follow(ctx: Context) -> None:
        async with ctx.session.watch("x") as updates:
            await ctx.notify("following")
            async for update in updates:
                await ctx.notify("changed", [update.variable.value])

    async with serving(server, socket) as path, connected(path) as one, connected(path) as other:
        one.request("follow")
        assert (await one.hear())["method"] == "following"
        await other.result("put", [42])
        assert (await one.hear())["params"] == [42]


async def test_C09_requests_beyond_the_limit_are_refused_at_once(socket: Path) -> None:
    server = Server(max_calls=1)

    @server.method("wait")
    async def wait(ctx: Context) -> None:
        await ctx.notify("begun")
        await asyncio.Event().wait()

    async with talking(server, socket) as client:
        client.request("wait", id="w")
        await client.hear()
        error = await client.error("wait")
        assert error["code"] == -32058
        assert error["data"]["reason"] == "SERVER_BUSY"


async def test_client_that_tells_too_much_is_cut_off(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_WAITING", 5)
    server = Server()
    done: list[int] = []
    release = asyncio.Event()

    @server.notification("note")
    async def note(number: int) -> None:
        await release.wait()
        done.append(number)

    async with talking(server, socket) as client:
        for number in range(6):
            client.notify("note", [number])
        heard = await client.hear()
        assert heard["id"] is None
        assert heard["error"]["data"]["reason"] == "TOO_MANY_NOTIFICATIONS"
        assert await client.hear() is None
        release.set()
    assert done == [0, 1, 2, 3, 4]


async def test_broadcast_reaches_all_clients(socket: Path) -> None:
    server = Server()
    server.on("ping", lambda: None)
    async with serving(server, socket) as path, connected(path) as one, connected(path) as other:
        await one.result("ping")
        await other.result("ping")
        server.broadcast("news", {"a": 1})
        for client in (one, other):
            assert (await client.hear())["params"] == {"a": 1}
