"""Tools by JSON-RPC as other languages see it: texts in, texts out. Numbers in names are those of the scenarios."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge import Adapter, SessionContext, ToolError, tool
from tests.frontends.jsonrpc.conftest import OpenWire
from tests.support import probes


class Calc(Adapter):
    """Tools with the names and results that could be mistaken for something else."""

    @tool
    async def add(self, a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    @tool
    async def nothing(self) -> None:
        return None

    @tool
    async def looks_like_an_end(self) -> dict[str, str]:
        return {"action": "shutdown"}

    @tool
    async def give(self, what: str) -> Any:
        return {
            "bytes": b"hi",
            "nan": math.nan,
            "object": {"rows": [object()]},
            "big": 10**30,
            "reference": {"$ref": "#/$defs/x"},
            "form": {"$bytes": "mine"},
            "much": "\u00e9" * 3000,
        }[what]

    @tool
    async def fail(self, how: str) -> None:
        if how == "chosen":
            raise ToolError("NOT_FOUND", "no such planet", reason="NO_PLANET", metadata={"planet": "Vulcan"})
        raise ValueError("a plain mistake")

    @tool(name="rpc.reserved")
    async def reserved(self) -> str:
        return "by tools.call only"

    @tool(name="_private")
    async def private(self) -> str:
        return "by tools.call only"

    @tool
    async def kinds(self, value: Any) -> str:
        return type(value).__name__


@pytest.mark.parametrize("params", [{"a": 2, "b": 3}, [2, 3]], ids=["by name", "by position"])
async def test_J09_a_tool_is_a_method_of_its_own_name(wire: OpenWire, framing: str, params: Any) -> None:
    client = await wire(Calc, framing=framing)
    assert await client.call("add", params) == 5
    assert await client.call("tools.call", {"name": "add", "arguments": params}) == 5
    assert await client.call("tools.call", ["add", params]) == 5


async def test_J09_params_may_be_absent_and_defaults_count(wire: OpenWire) -> None:
    client = await wire(Calc)
    assert await client.call("add", [1]) == 2
    assert await client.answer(client.ask("nothing")) == {"jsonrpc": "2.0", "id": 2, "result": None}


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({}, ["$.a"]),
        ({"a": 1, "c": 2}, ["$.c"]),
        ({"a": "1", "b": None}, ["$.a", "$.b"]),
        ([], ["$.a"]),
        ([1, 2, 3], ["$[2]"]),
        ([1, "2"], ["$.b"]),
        ({"a": 1, "_meta": {"timeout": "soon"}}, ["$._meta.timeout"]),
        ({"a": 1, "_meta": 5}, ["$._meta"]),
        ({"a": {"$bytes": "?"}}, ["$.a"]),
    ],
    ids=str,
)
async def test_J09_wrong_params_are_named_and_the_next_call_works(
    wire: OpenWire, params: Any, fields: list[str]
) -> None:
    client = await wire(Calc)
    error = await client.error("add", params)
    assert error["code"] == -32602
    assert [violation["field"] for violation in error["data"]["violations"]] == fields
    assert await client.call("add", {"a": 1}) == 2


@pytest.mark.parametrize("method", ["tools.call", "tools.stream", "session.get", "system.initialize"])
async def test_J09_methods_check_their_params_as_tools_do(wire: OpenWire, method: str) -> None:
    client = await wire(Calc)
    error = await client.error(method, {"nme": "add"})
    assert (error["code"], error["data"]["violations"][0]["field"]) == (-32602, "$.nme")


@pytest.mark.parametrize("method", ["ad", "rpc.reserved", "_private", "__init__", "$/unknown", "tools.lst", "x" * 9999])
async def test_J08_an_unknown_or_reserved_method_is_not_found(wire: OpenWire, method: str) -> None:
    client = await wire(Calc)
    error = await client.error(method)
    assert (error["code"], error["data"]["reason"]) == (-32601, "METHOD_NOT_FOUND")
    assert len(error["message"]) < 500


async def test_J08_a_misspelt_method_gets_a_hint(wire: OpenWire) -> None:
    client = await wire(Calc)
    assert "did you mean 'add'" in (await client.error("ad"))["message"]
    assert "did you mean 'tools.list'" in (await client.error("tools.lst"))["message"]


async def test_J08_tools_with_reserved_names_are_there_by_tools_call(wire: OpenWire) -> None:
    client = await wire(Calc)
    assert await client.call("tools.call", {"name": "rpc.reserved"}) == "by tools.call only"
    error = await client.error("tools.call", {"name": "nobody"})
    assert (error["code"], error["data"]["reason"]) == (-32601, "TOOL_NOT_FOUND")


async def test_J14_an_exception_of_a_tool_is_an_error_without_its_traceback(wire: OpenWire, framing: str) -> None:
    client = await wire(Calc, framing=framing)
    error = await client.error("fail", {"how": "plain"})
    assert (error["code"], error["data"]["code"], error["data"]["reason"]) == (-32052, "UNKNOWN", "ValueError")
    assert "a plain mistake" in error["message"]
    assert error["data"]["error_id"]
    assert "debug" not in error["data"]
    error = await client.error("fail", {"how": "chosen"})
    assert (error["code"], error["data"]["reason"]) == (-32055, "NO_PLANET")
    assert error["data"]["metadata"] == {"planet": "Vulcan"}
    assert await client.call("add", [1]) == 2


async def test_J14_a_server_with_debug_shows_tracebacks(wire: OpenWire) -> None:
    client = await wire(Calc, debug=True)
    assert "ValueError" in (await client.error("fail", {"how": "plain"}))["data"]["debug"]


async def test_J15_what_json_cannot_carry_has_a_form(wire: OpenWire) -> None:
    client = await wire(Calc)
    assert await client.call("give", ["bytes"]) == {"$bytes": "aGk="}
    assert await client.call("give", ["nan"]) == {"$float": "nan"}
    assert await client.call("give", ["big"]) == 10**30
    assert await client.call("give", ["reference"]) == {"$ref": "#/$defs/x"}
    assert await client.call("give", ["form"]) == {"$map": [["$bytes", "mine"]]}


async def test_J15_what_nothing_can_carry_is_the_tools_error_and_no_torn_frame(wire: OpenWire, framing: str) -> None:
    client = await wire(Calc, framing=framing)
    error = await client.error("give", {"what": "object"})
    assert (error["code"], error["data"]["reason"]) == (-32052, "UNSUPPORTED_RESULT")
    assert error["data"]["violations"][0]["field"] == "$.rows[0]"
    assert await client.call("add", [1]) == 2


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"$bytes": "aGk="}, "bytes"),
        ([{"$bytes": "aGk="}], "list"),
        ({"$ref": "x"}, "dict"),
        ({"$decimal": "1.10"}, "Decimal"),
        (2**80, "int"),
        (1.0, "float"),
        (1, "int"),
        (None, "NoneType"),
    ],
    ids=repr,
)
async def test_J15_arguments_in_the_same_forms_are_the_values(wire: OpenWire, value: Any, kind: str) -> None:
    client = await wire(Calc)
    assert await client.call("kinds", {"value": value}) == kind
    assert await client.call("kinds", [value]) == kind
    assert await client.call("tools.call", {"name": "kinds", "arguments": {"value": value}}) == kind


async def test_an_answer_over_the_limit_is_an_error(wire: OpenWire) -> None:
    client = await wire(Calc, max_message_bytes=4096)
    error = await client.error("give", {"what": "much"})
    assert (error["code"], error["data"]["reason"]) == (-32058, "MESSAGE_TOO_LARGE")


async def test_a_result_that_looks_like_an_end_ends_nothing(wire: OpenWire) -> None:
    client = await wire(Calc)
    assert await client.call("looks_like_an_end") == {"action": "shutdown"}
    assert await client.call("add", [1]) == 2


async def test_J04_a_notification_runs_a_tool_and_gets_no_answer(wire: OpenWire, journal: probes.Journal) -> None:
    client = await wire(probes.Inline)
    client.tell("fail", {"kind": "value"})
    client.tell("nobody")
    client.tell("add", {"a": "wrong"})
    client.tell("tools.call", {"name": "echo"})
    await journal.wait("cleanup", 2)
    assert await client.call("add", [1]) == 2
    assert client.heard == []


async def test_tools_list_describes_the_tools(wire: OpenWire) -> None:
    client = await wire(probes.Inline)
    listing = {found["name"]: found for found in (await client.call("tools.list"))["tools"]}
    add, count = listing["add"], listing["count"]
    assert add["description"].startswith("Adds.")
    assert add["parameters"] == ["a", "b"]
    assert add["input_schema"]["required"] == ["a"]
    assert add["output_schema"]["type"] == "integer"
    assert not add.get("streaming")
    assert count["streaming"] is True


class Trace(Adapter):
    @tool
    async def headers(self, ctx: SessionContext) -> dict[str, Any]:
        return {"headers": dict(ctx._call.headers), "metadata": dict(ctx.metadata), "frontend": ctx._call.frontend}


async def test_what_is_said_about_a_call_reaches_the_tool(wire: OpenWire) -> None:
    client = await wire(Trace)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    meta = {"traceparent": trace, "metadata": {"k": "v"}, "somebody": "else"}
    for found in (
        await client.call("headers", {"_meta": meta}),
        await client.call("tools.call", {"name": "headers", "_meta": meta}),
    ):
        assert found == {"headers": {"traceparent": trace}, "metadata": {"k": "v"}, "frontend": "jsonrpc"}


class Slow(Adapter):
    @tool
    async def slow(self) -> str:
        await asyncio.to_thread(probes.journal.release.wait, 5)
        return "slow"

    @tool
    async def fast(self, n: int = 0) -> int:
        return n

    @tool
    async def ticks(self, times: int, ctx: SessionContext) -> int:
        """Tells how far it is, each time when the test has heard of the one before."""
        for number in range(times):
            ctx.progress(number / times, f"step {number}")
            await asyncio.to_thread(probes.journal.release.wait, 5)
            probes.journal.release.clear()
        return times

    @tool
    async def beats(self, times: int, pause: float, ctx: SessionContext) -> AsyncIterator[int]:
        for number in range(times):
            await asyncio.sleep(pause)
            yield number

    @tool
    async def works(self, times: int, pause: float, ctx: SessionContext) -> int:
        for number in range(times):
            await asyncio.sleep(pause)
            ctx.progress(number / times)
        return times


async def test_C01_a_fast_call_behind_a_slow_one_is_answered_first(
    wire: OpenWire, framing: str, journal: probes.Journal
) -> None:
    client = await wire(Slow, framing=framing)
    slow, fast = client.ask("slow"), client.ask("fast", [7])
    assert await client.next() == {"jsonrpc": "2.0", "id": fast, "result": 7}
    journal.release.set()
    assert await client.next() == {"jsonrpc": "2.0", "id": slow, "result": "slow"}


async def test_C01_a_hundred_calls_at_once_are_all_answered_once(wire: OpenWire) -> None:
    client = await wire(Slow)
    asked = {client.ask("fast", [n]): n for n in range(100)}
    answers = [await client.next() for _ in range(100)]
    assert {answer["id"]: answer["result"] for answer in answers} == asked


async def test_C02_a_cancelled_async_tool_sees_it_and_the_request_fails_so(
    wire: OpenWire, journal: probes.Journal
) -> None:
    client = await wire(probes.Inline)
    id = client.ask("hang")
    await journal.wait("started")
    client.tell("$/cancelRequest", {"id": id})
    assert (await client.answer(id))["error"]["code"] == -32800
    await journal.wait("ended")
    await journal.wait("cleanup")


async def test_C03_a_sync_tool_that_looks_is_stopped(wire: OpenWire, journal: probes.Journal) -> None:
    client = await wire(probes.Threaded)
    id = client.ask("hang")
    await journal.wait("started")
    client.tell("notifications/cancelled", {"requestId": id})
    assert (await client.answer(id))["error"]["code"] == -32800
    await journal.wait("ended")


async def test_C03_a_sync_tool_that_does_not_look_costs_its_place_and_not_the_answer(
    wire: OpenWire, probe_here: type, journal: probes.Journal
) -> None:
    client = await wire(probe_here, max_concurrent_calls=1)
    id = client.ask("stubborn")
    await journal.wait("started")
    client.tell("$/cancelRequest", {"id": id})
    assert (await client.answer(id))["error"]["code"] == -32800
    assert journal.count("ended") == 0
    assert (await client.error("add", [1]))["data"]["reason"] == "SERVER_BUSY"
    journal.release.set()
    async with asyncio.timeout(5):
        while (await client.call("system.stats"))["calls"]:  # noqa: ASYNC110 - nobody is told of its end
            await asyncio.sleep(0)
    assert await client.call("add", [1]) == 2


async def test_C03_an_id_may_be_used_again_while_the_tool_before_still_dies(
    wire: OpenWire, probe_here: type, journal: probes.Journal
) -> None:
    client = await wire(probe_here)
    timed = {"_meta": {"timeout": 0.3}}
    client.send({"jsonrpc": "2.0", "id": 7, "method": "stubborn", "params": timed})
    await journal.wait("started")
    client.tell("$/cancelRequest", {"id": 7})
    assert (await client.next())["error"]["code"] == -32800
    client.send({"jsonrpc": "2.0", "id": 7, "method": "hang"})
    await journal.wait("started", 2)
    # The deadline of the first has passed when that of another one has, and nobody is told.
    assert (await client.error("hang", timed))["code"] == -32001
    journal.release.set()
    await journal.wait("cleanup", 2)
    assert await client.call("add", [1]) == 2
    assert client.heard == []
    client.tell("$/cancelRequest", {"id": 7})
    assert (await client.next())["id"] == 7


async def test_C04_cancels_of_what_does_not_run_are_ignored(wire: OpenWire) -> None:
    client = await wire(Slow)
    done = client.ask("fast")
    await client.answer(done)
    for id in (done, 999, "x", None, [1]):
        client.tell("$/cancelRequest", {"id": id})
    assert await client.call("fast", [1]) == 1
    assert client.heard == []


async def test_C05_a_client_that_leaves_cancels_its_calls(
    wire: OpenWire, probe_here: type, journal: probes.Journal
) -> None:
    client = await wire(probe_here)
    client.ask("hang")
    client.tell("hang")
    await journal.wait("started", 2)
    client.close()
    await journal.wait("ended", 2)
    await journal.wait("cleanup", 2)


async def test_C06_a_deadline_ends_a_call_and_no_other_gets_its_answer(
    wire: OpenWire, probe_here: type, journal: probes.Journal
) -> None:
    client = await wire(probe_here)
    late = client.ask("stubborn", {"_meta": {"timeout": 0.1}})
    error = (await client.answer(late))["error"]
    assert (error["code"], error["data"]["reason"]) == (-32001, "DEADLINE_EXCEEDED")
    journal.release.set()
    await journal.wait("ended")
    assert await client.call("add", [1]) == 2
    assert client.heard == []


async def test_C07_chunks_come_in_order_with_the_id_and_then_the_result(wire: OpenWire, framing: str) -> None:
    client = await wire(probes.Inline, framing=framing)
    id = client.ask("tools.stream", {"name": "count", "arguments": {"n": 50}})
    assert (await client.answer(id))["result"] == {"chunks": 50}
    assert [note["method"] for note in client.heard] == ["tools.chunk"] * 50
    assert [note["params"] for note in client.heard] == [{"id": id, "sequence": n, "value": n} for n in range(50)]


async def test_C07_a_stream_that_fails_keeps_what_came_before(wire: OpenWire) -> None:
    client = await wire(probes.Inline)
    id = client.ask("tools.stream", {"name": "fail_midway", "arguments": [2]})
    assert (await client.answer(id))["error"]["data"]["reason"] == "ValueError"
    assert [note["params"]["value"] for note in client.heard] == [0, 1]


async def test_C07_a_client_that_does_not_read_stops_the_producer(wire: OpenWire, journal: probes.Journal) -> None:
    client = await wire(probes.Inline)
    id = client.ask("tools.stream", {"name": "pour"})
    await journal.wait("poured")
    async with asyncio.timeout(10):
        # Nobody reads on. The generator stops as soon as the buffers on the way are full.
        with pytest.raises(TimeoutError):
            while True:
                await journal.wait("poured", journal.count("poured") + 1, timeout=0.3)
    assert journal.count("poured") < 200
    client.tell("$/cancelRequest", {"id": id})
    assert (await client.answer(id))["error"]["code"] == -32800
    await journal.wait("closed")


async def test_C08_progress_comes_by_its_token_while_the_call_runs(wire: OpenWire, journal: probes.Journal) -> None:
    client = await wire(Slow)
    id = client.ask("ticks", {"times": 2, "_meta": {"progressToken": "t"}})
    for number in range(2):
        note = await client.next()
        assert note["method"] == "$/progress"
        assert note["params"] == {"token": "t", "value": {"fraction": number / 2, "message": f"step {number}"}}
        journal.release.set()
    assert (await client.answer(id))["result"] == 2


class Lists(Adapter):
    @tool
    async def lists(self, ctx: SessionContext) -> str:
        ctx.progress(0.5, "\udcff.txt")
        return "done"

    @tool
    def lists_in_a_thread(self, ctx: SessionContext) -> str:
        ctx.progress(0.5, "\udcff.txt")
        return "done"

    @tool(isolation="process")
    def lists_in_a_process(self, ctx: SessionContext) -> str:
        ctx.progress(0.5, "\udcff.txt")
        return "done"


@pytest.mark.parametrize("name", ["lists", "lists_in_a_thread", "lists_in_a_process"])
async def test_C08_the_last_note_comes_before_the_result_whatever_text_it_has(wire: OpenWire, name: str) -> None:
    client = await wire(Lists, workers=1)
    id = client.ask(name, {"_meta": {"progressToken": "t"}})
    assert (await client.next())["params"]["value"] == {"fraction": 0.5, "message": "?.txt"}
    assert await client.next() == {"jsonrpc": "2.0", "id": id, "result": "done"}


async def test_C08_without_a_token_nobody_hears_of_progress(wire: OpenWire) -> None:
    client = await wire(Slow)
    assert await client.call("works", {"times": 3, "pause": 0.001}) == 3
    assert client.heard == []


@pytest.mark.parametrize("how", ["works", "beats"])
async def test_C08_signs_of_life_renew_the_time_of_a_call(wire: OpenWire, how: str) -> None:
    client = await wire(Slow)
    arguments = {"times": 6, "pause": 0.2}
    meta = {"idle_timeout": 0.4}
    params = {"name": how, "arguments": arguments, "_meta": meta}
    id = client.ask("tools.stream" if how == "beats" else "tools.call", params)
    assert "error" not in await client.answer(id)


async def test_C08_silence_and_the_whole_timeout_end_it(wire: OpenWire, journal: probes.Journal) -> None:
    client = await wire(Slow, probes.Inline)
    error = await client.error("hang", {"_meta": {"idle_timeout": 0.1, "timeout": 60}})
    assert error["code"] == -32001
    meta = {"idle_timeout": 60, "timeout": 0.2}
    error = await client.error("works", {"times": 1000, "pause": 0.05, "_meta": meta})
    assert error["code"] == -32001


async def test_C09_more_calls_than_are_allowed_are_refused_at_once(wire: OpenWire, journal: probes.Journal) -> None:
    client = await wire(probes.Inline, max_concurrent_calls=1)
    held = client.ask("hang")
    await journal.wait("started")
    error = await client.error("add", [1])
    assert (error["code"], error["data"]["reason"]) == (-32058, "SERVER_BUSY")
    assert error["data"]["retry_after"] > 0
    client.tell("$/cancelRequest", {"id": held})
    await client.answer(held)
