"""What can be a handler, where it runs, and handlers that come and go."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from bridge.jsonrpc import Context, Server, script_context
from tests.jsonrpc import sample_handlers
from tests.jsonrpc.serving import talking

SAMPLES = Path(sample_handlers.__file__)
IN_PROCESSES = pytest.mark.parametrize("isolation", ["process", "call"])


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "own" / "server.sock"


@pytest.fixture
def script(tmp_path: Path) -> Any:
    """Writes a script and gives its path."""

    def write(text: str) -> str:
        path = tmp_path / "handler.py"
        path.write_text("from bridge.jsonrpc import script_context\nctx = script_context()\n" + text)
        return str(path)

    return write


# -- while it runs ------------------------------------------------------------------------------------------------


async def test_handlers_come_change_and_go_while_the_server_runs(socket: Path) -> None:
    server = Server()
    async with talking(server, socket) as client:
        assert (await client.error("m"))["code"] == -32601
        server.on("m", lambda: 1)
        assert await client.result("m") == 1
        server.on("m", lambda a: a)
        assert await client.result("m", [2]) == 2
        server.off("m")
        assert (await client.error("m"))["code"] == -32601
        with pytest.raises(KeyError):
            server.off("m")


async def test_what_runs_goes_on_when_its_handler_is_removed(socket: Path) -> None:
    server = Server()
    release = asyncio.Event()

    @server.method("slow")
    async def slow(ctx: Context) -> str:
        await ctx.notify("begun")
        await release.wait()
        return "done"

    async with talking(server, socket) as client:
        client.request("slow")
        assert (await client.hear())["method"] == "begun"
        server.off("slow")
        release.set()
        assert (await client.hear())["result"] == "done"


async def test_notification_that_waits_is_handled_by_who_is_there_when_it_is_its_turn(socket: Path) -> None:
    server = Server()
    begun, release = asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    @server.notification("first")
    async def first() -> None:
        begun.set()
        await release.wait()

    server.notification("gone")(lambda: seen.append("gone"))
    server.notification("changed")(lambda: seen.append("before"))
    server.on("end", lambda: "end")
    async with talking(server, socket) as client:
        for name in ("first", "gone", "changed"):
            client.notify(name, {"x": 1} if name == "changed" else None)
        await begun.wait()
        server.off("gone")
        server.notification("changed")(lambda x: seen.append("after"))
        release.set()
        assert await client.result("end") == "end"
    assert seen == ["after"]


async def test_max_concurrency_lets_others_wait(socket: Path) -> None:
    server = Server()
    running = most = 0

    @server.method("one", max_concurrency=1)
    async def one() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async with talking(server, socket) as client:
        client.say(*({"id": number, "method": "one"} for number in range(5)))
        for _ in range(5):
            assert "result" in await client.hear()
    assert most == 1


# -- what a handler can be ----------------------------------------------------------------------------------------


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self, by: int = 1) -> int:
        self.count += by
        return self.count

    async def __call__(self, by: int) -> int:
        return self.add(by)


async def test_methods_and_callable_objects_are_handlers(socket: Path) -> None:
    server, counter = Server(), Counter()
    server.on("add", counter.add)
    server.on("call", counter)
    async with talking(server, socket) as client:
        assert await client.result("add") == 1
        assert await client.result("call", [5]) == 6


@pytest.mark.parametrize("spec", ["tests.jsonrpc.sample_handlers:pid", f"{SAMPLES}:pid", f"{SAMPLES}:pid_async"])
async def test_function_named_by_its_module_runs_here(socket: Path, spec: str) -> None:
    server = Server()
    server.on("pid", spec)
    async with talking(server, socket) as client:
        assert await client.result("pid") == os.getpid()


async def numbers() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("handler", "options", "reason"),
    [
        (sample_handlers.yields, {}, "BAD_SIGNATURE"),
        (numbers, {}, "BAD_SIGNATURE"),
        (lambda *many: None, {}, "BAD_SIGNATURE"),
        (functools.partial(print), {}, "BAD_SIGNATURE"),
        (lambda: None, {"isolation": "process"}, "NOT_IMPORTABLE"),
        (lambda: None, {"timeout": 0}, "BAD_SIGNATURE"),
        (lambda: None, {"isolation": "nowhere"}, "BAD_SIGNATURE"),
        ("nowhere.py", {}, "HANDLER_NOT_FOUND"),
        (str(SAMPLES), {"isolation": "thread"}, "BAD_SIGNATURE"),
        ("no.such.module:f", {}, "MODULE_NOT_FOUND"),
        (f"{SAMPLES}:nothing", {}, "FUNCTION_NOT_FOUND"),
        ("what is this:f", {}, "MODULE_NOT_FOUND"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_when_it_is_added(handler: Any, options: Any, reason: str) -> None:
    server = Server()
    with pytest.raises(BridgeError) as caught:
        server.on("m", handler, **options)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ["", "rpc.discover", "a,b", "a b", "ä", "x" * 129])
def test_name_that_no_method_can_have_is_refused(name: str) -> None:
    with pytest.raises(BridgeError) as caught:
        Server().on(name, lambda: None)
    assert caught.value.reason == "BAD_METHOD"


def test_context_of_a_script_is_for_scripts() -> None:
    with pytest.raises(BridgeError) as caught:
        script_context()
    assert caught.value.reason == "NO_SCRIPT"


# -- in processes -------------------------------------------------------------------------------------------------


@IN_PROCESSES
@pytest.mark.parametrize("name", ["pid", "pid_async"])
async def test_function_runs_in_another_process(socket: Path, isolation: Any, name: str) -> None:
    server = Server(workers=1)
    server.on("pid", f"{SAMPLES}:{name}", isolation=isolation)
    async with talking(server, socket) as client:
        one, other = await client.result("pid"), await client.result("pid")
        assert os.getpid() not in (one, other)
        assert (one == other) == (isolation == "process")


@pytest.mark.parametrize("name", ["busy", "busy_async"])
async def test_function_in_another_process_talks_to_the_client_and_shares_variables(socket: Path, name: str) -> None:
    server = Server()
    server.on("busy", getattr(sample_handlers, name), isolation="process")

    @server.method("x")
    async def x(ctx: Context) -> Any:
        return await ctx.session.get("x")

    async with talking(server, socket) as client:
        client.request("busy", {"a": 3, "progressToken": 9}, id="b")
        assert (await client.hear())["error"]["data"]["violations"][0]["field"] == "$.progressToken"
        client.request("busy", [3], id="b")
        assert (await client.hear())["params"] == {"a": 3}
        asked = await client.hear()
        client.say({"id": asked["id"], "result": "echo"})
        assert (await client.hear())["result"] == ["busy", "b", "echo", 3]
        assert await client.result("x") == 3


async def test_handler_added_while_the_server_runs_gets_a_process(socket: Path) -> None:
    server = Server()
    async with talking(server, socket) as client:
        server.on("pid", sample_handlers.pid, isolation="process")
        assert await client.result("pid") != os.getpid()


async def test_own_error_and_wrong_params_come_back_from_another_process(socket: Path) -> None:
    server = Server()
    server.on("own", sample_handlers.own_error, isolation="process")
    server.on("busy", sample_handlers.busy, isolation="process")
    async with talking(server, socket) as client:
        assert await client.error("own") == {"code": -32002, "message": "not initialized", "data": {"retry": True}}
        error = await client.error("busy", {"a": "3"})
        assert error["code"] == -32602
        assert error["data"]["violations"][0]["field"] == "$.a"
        assert (await client.error("busy", [1, 2]))["code"] == -32602


async def test_handler_that_kills_its_process_fails_its_request_only(socket: Path) -> None:
    server = Server()
    server.on("die", sample_handlers.die, isolation="process")
    server.on("pid", sample_handlers.pid, isolation="process")
    async with talking(server, socket) as client:
        assert (await client.error("die"))["code"] < 0
        assert await client.result("pid") != os.getpid()


async def test_C03_stuck_function_in_another_process_is_killed_by_a_cancel(socket: Path) -> None:
    server = Server(workers=1, worker_grace=0.05)
    server.on("stuck", sample_handlers.stuck, isolation="process")
    server.on("pid", sample_handlers.pid, isolation="process")
    async with talking(server, socket) as client:
        client.request("stuck", id="s")
        assert (await client.hear())["method"] == "begun"
        client.notify("$/cancelRequest", {"id": "s"})
        assert (await client.hear())["error"]["code"] == -32800
        assert await client.result("pid") != os.getpid()  # the only worker there may be


# -- scripts ------------------------------------------------------------------------------------------------------


async def test_script_runs_fresh_for_each_message(socket: Path, script: Any) -> None:
    server = Server()
    server.on(
        "count",
        script("import os, sys\nsys.count = getattr(sys, 'count', 0) + 1\nctx.respond([sys.count, os.getpid()])"),
    )
    async with talking(server, socket) as client:
        answers = [await client.result("count") for _ in range(3)]
        assert [count for count, _ in answers] == [1, 1, 1]
        assert len({pid for _, pid in answers} | {os.getpid()}) == 4


async def test_script_has_its_message_its_client_and_its_variables(socket: Path, script: Any) -> None:
    server = Server()
    server.on(
        "s",
        script(
            "ctx.session['n'] = ctx.session.get('n', 0) + 1\nctx.notify('n', [ctx.session['n']])\n"
            "ctx.respond([ctx.method, ctx.id, ctx.params])"
        ),
    )
    async with talking(server, socket) as client:
        for number in (1, 2):
            client.request("s", {"a": None})
            assert (await client.hear())["params"] == [number]
            assert (await client.hear())["result"] == ["s", 1, {"a": None}]


async def test_script_is_read_again_when_it_has_changed(socket: Path, script: Any) -> None:
    server = Server()
    server.on("s", script("ctx.respond(1)"))
    async with talking(server, socket) as client:
        assert await client.result("s") == 1
        script("ctx.respond(2)")
        assert await client.result("s") == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"result": None}),
        ("raise SystemExit", {"result": None}),
        ("try:\n    ctx.respond(5)\nexcept Exception:\n    ctx.respond(6)", {"result": 5}),
        ("if __name__ == '__main__':\n    ctx.respond('main')", {"result": "main"}),
        ("ctx.fail(-5, 'five', [5])", {"error": {"code": -5, "message": "five", "data": [5]}}),
    ],
)
async def test_end_of_a_script_is_its_answer(socket: Path, script: Any, text: str, expected: Any) -> None:
    server = Server()
    server.on("s", script(text))
    async with talking(server, socket) as client:
        assert await client.ask("s") == expected


@pytest.mark.parametrize(
    ("text", "reason"), [("1/0", "ZeroDivisionError"), ("exit(3)", "SystemExit"), ("(", "SyntaxError")]
)
async def test_J14_script_that_fails_is_an_error(socket: Path, script: Any, text: str, reason: str) -> None:
    server = Server()
    server.on("s", script(text))
    async with talking(server, socket) as client:
        error = await client.error("s")
        assert error["code"] == -32052
        assert error["data"]["reason"] == reason


async def test_script_handles_a_notification_and_nothing_is_answered(socket: Path, script: Any) -> None:
    server = Server()
    server.on("s", script("assert ctx.id is None\nctx.session['x'] = ctx.params['x']\nctx.respond('ignored')"))

    @server.method("x")
    async def x(ctx: Context) -> Any:
        return await ctx.session.get("x", None)

    async with talking(server, socket) as client:
        client.notify("s", {"x": 7})
        assert await client.result("x") == 7


async def test_C06_script_that_takes_too_long_is_ended(socket: Path, script: Any) -> None:
    server = Server(worker_grace=0.05)
    server.on("s", script("import time\ntime.sleep(30)"), timeout=0.3)
    async with talking(server, socket) as client:
        assert (await client.error("s"))["code"] == -32001
