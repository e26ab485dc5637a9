"""What a client of a handler server sees of its handlers."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.jsonrpc import Context, RpcFailure, Server
from bridge.jsonrpc.server import FramingName
from tests.jsonrpc.serving import talking

BOTH = pytest.mark.parametrize("framing", ["content-length", "newline"])


class Point(msgspec.Struct):
    x: int
    y: int = 0


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "own" / "server.sock"


def adding() -> Server:
    server = Server()

    @server.method("add")
    def add(a: int, b: int = 10) -> int:
        return a + b

    return server


@BOTH
async def test_J01_request_is_answered_over_both_framings(socket: Path, framing: FramingName) -> None:
    async with talking(adding(), socket, framing) as client:
        assert await client.ask("add", {"a": 1, "b": 2}) == {"result": 3}


async def test_J02_ids_of_all_kinds_come_back(socket: Path) -> None:
    async with talking(adding(), socket) as client:
        for id in ("a", "", 0, -1, 2**53, 2**63 - 1):
            assert await client.ask("add", [1], id) == {"result": 11}


async def test_J08_unknown_method_is_refused_and_names_the_one_that_was_meant(socket: Path) -> None:
    async with talking(adding(), socket) as client:
        for name in ("ad", "_add", "rpc.discover"):
            error = await client.error(name)
            assert error["code"] == -32601
            assert error["data"]["reason"] == "METHOD_NOT_FOUND"
        assert "did you mean 'add'?" in (await client.error("ad"))["message"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        (None, "$.a"),
        ({}, "$.a"),
        ([], "$.a"),
        ({"a": "1"}, "$.a"),
        (["1"], "$.a"),
        ({"a": 1, "c": 1}, "$.c"),
        ([1, 2, 3], "$[2]"),
    ],
)
async def test_J09_params_that_do_not_fit_are_refused_by_field(socket: Path, params: Any, field: str) -> None:
    async with talking(adding(), socket) as client:
        error = await client.error("add", params)
        assert error["code"] == -32602
        assert [violation["field"] for violation in error["data"]["violations"]] == [field]
        assert await client.result("add", [1]) == 11


async def test_J09_params_come_by_name_and_by_position_as_the_annotated_types(socket: Path) -> None:
    server = Server()

    @server.method("far")
    async def far(point: Point, at: datetime.date) -> list[Any]:
        return [type(point).__name__, point.x, point.y, at.year]

    async with talking(server, socket) as client:
        assert await client.result("far", {"point": {"x": 3}, "at": "2024-05-06"}) == ["Point", 3, 0, 2024]
        assert await client.result("far", [{"x": 3, "y": 4}, "2024-05-06"]) == ["Point", 3, 4, 2024]


async def test_handler_of_params_gets_them_as_they_are(socket: Path) -> None:
    server = Server()

    @server.method("whole")
    async def whole(ctx: Context, params: Any) -> Any:
        assert params == ctx.params
        return params

    @server.method("typed")
    async def typed(params: Point) -> int:
        return params.x

    async with talking(server, socket) as client:
        for params in ({"textDocument": {"uri": "x"}, "$odd": 1}, [1, [2]], {}, []):
            assert await client.result("whole", params) == params
        assert await client.result("whole") is None
        assert await client.result("typed", {"x": 1, "what nobody knows": 2}) == 1
        error = await client.error("typed", {"x": "1"})
        assert [violation["field"] for violation in error["data"]["violations"]] == ["$.params.x"]
        assert (await client.error("typed"))["code"] == -32602


async def test_J14_exception_is_an_error_with_its_type_and_without_traceback(socket: Path) -> None:
    server = Server()

    @server.method("burst")
    def burst() -> None:
        raise LookupError("it is not there")

    async with talking(server, socket) as client:
        error = await client.error("burst")
        assert error["code"] == -32052
        assert error["message"] == "LookupError: it is not there"
        assert error["data"]["reason"] == "LookupError"
        assert error["data"]["error_id"]
        assert "debug" not in error["data"]


async def test_J14_debug_shows_the_traceback_and_redaction_hides_the_message(socket: Path, tmp_path: Path) -> None:
    for settings in ({"debug": True}, {"redact_errors": True}):
        server = Server(**settings)  # type: ignore[arg-type]

        @server.method("burst")
        async def burst() -> None:
            raise LookupError("a secret")

        async with talking(server, tmp_path / "own" / f"{len(settings)}.sock") as client:
            error = await client.error("burst")
            if "debug" in settings:
                assert "Traceback" in error["data"]["debug"]
            else:
                assert "a secret" not in str(error)


async def test_protocols_own_errors_keep_their_number_and_data(socket: Path) -> None:
    server = Server()

    @server.method("early")
    async def early(ctx: Context) -> None:
        ctx.fail(-32002, "not initialized", {"retry": True})

    @server.method("own")
    def own() -> None:
        raise RpcFailure(7, "seven")

    async with talking(server, socket) as client:
        assert await client.error("early") == {"code": -32002, "message": "not initialized", "data": {"retry": True}}
        assert await client.error("own") == {"code": 7, "message": "seven"}


@pytest.mark.parametrize("value", [object(), {1, "a", object()}, b"\xff".decode("utf-8", "surrogateescape")])
async def test_J15_result_without_a_text_is_an_error_and_the_connection_lives(socket: Path, value: Any) -> None:
    server = adding()
    server.on("odd", lambda: value)
    async with talking(server, socket) as client:
        error = await client.error("odd")
        assert error["code"] == -32052
        assert error["data"]["reason"] == "UNSUPPORTED_RESULT"
        assert await client.result("add", [1]) == 11


async def test_J15_results_become_json_by_documented_rules(socket: Path) -> None:
    server = Server()
    server.on("odd", lambda: [float("nan"), b"hi", datetime.date(2024, 5, 6), Point(1), (2,), 2**60])
    async with talking(server, socket) as client:
        assert await client.result("odd") == [None, "aGk=", "2024-05-06", {"x": 1, "y": 0}, [2], 2**60]


async def test_J04_notifications_get_no_answer_whatever_becomes_of_them(socket: Path) -> None:
    server = adding()
    noted: list[Any] = []

    @server.notification("note")
    async def note(text: str) -> None:
        noted.append(text)

    @server.method("burst")
    async def burst() -> None:
        raise LookupError

    async with talking(server, socket) as client:
        client.notify("note", ["a"])
        client.notify("note", {"wrong": 1})
        client.notify("note", "b")
        client.notify("nobody knows")
        client.notify("burst")
        client.notify("add", [1])
        assert await client.result("add", [1]) == 11
    assert noted == ["a"]


async def test_request_for_a_notification_is_refused(socket: Path) -> None:
    server = Server()
    server.notification("note")(lambda: None)
    async with talking(server, socket) as client:
        error = await client.error("note")
        assert error["code"] == -32601
        assert "notification" in error["message"]


async def test_notifications_are_handled_in_order_and_before_requests_that_follow(socket: Path) -> None:
    server = Server()

    @server.notification("put")
    async def put(ctx: Context, value: int) -> None:
        for _ in range(10 - value):  # the later the quicker
            await asyncio.sleep(0)
        await ctx.session.set("seen", [*await ctx.session.get("seen", []), value])

    @server.method("seen")
    async def seen(ctx: Context) -> Any:
        return await ctx.session.get("seen", [])

    async with talking(server, socket) as client:
        messages: list[dict[str, Any]] = []
        for value in range(8):
            messages += [
                {"id": value, "method": "seen"},
                {"method": "put", "params": [value]},
            ]
        client.say(*messages)
        answers = [await client.hear() for _ in range(8)]
        assert {answer["id"]: answer["result"] for answer in answers} == {
            value: list(range(value)) for value in range(8)
        }


async def test_C01_slow_request_does_not_hold_up_a_fast_one(socket: Path) -> None:
    server = adding()
    release = asyncio.Event()

    @server.method("slow")
    async def slow() -> str:
        await release.wait()
        return "slow"

    async with talking(server, socket) as client:
        client.request("slow", id="s")
        assert await client.result("add", [1]) == 11
        release.set()
        assert (await client.hear())["result"] == "slow"


async def test_C01_hundred_pipelined_requests_are_answered_once_each(socket: Path) -> None:
    async with talking(adding(), socket) as client:
        client.say(*({"id": number, "method": "add", "params": [number, 0]} for number in range(100)))
        answers = [await client.hear() for _ in range(100)]
        assert sorted((answer["id"], answer["result"]) for answer in answers) == [(n, n) for n in range(100)]


async def test_variables_are_all_that_handlers_of_a_connection_share(socket: Path) -> None:
    server = Server()

    @server.method("put")
    def put(ctx: Context, value: int) -> None:
        ctx.sync.session["x"] = value

    @server.method("get")
    async def get(ctx: Context) -> Any:
        return await ctx.session.get("x", None)

    async with talking(server, socket) as client:
        await client.result("put", [5])
        assert await client.result("get") == 5


async def test_what_is_said_about_a_request_is_no_param_unless_the_handler_wants_it(socket: Path) -> None:
    server = adding()
    server.on("meta", lambda a, _meta: [a, _meta])
    async with talking(server, socket) as client:
        assert await client.result("add", {"a": 1, "_meta": {"progressToken": 1}}) == 11
        assert await client.result("meta", {"a": 1, "_meta": {"x": 2}}) == [1, {"x": 2}]
