"""``session.*`` and ``host.*`` as other languages see them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge import Adapter, BridgeError, SessionContext, tool
from bridge.host import CallScope
from tests.frontends.jsonrpc.conftest import OpenWire, Start
from tests.support import probes
from tests.support.jsonrpc_wire import Wire, wire_to


async def opened(wire: Wire, **params: Any) -> str:
    session_id: str = (await wire.call("session.open", params))["session_id"]
    return session_id


async def test_variables_are_written_and_read(wire: OpenWire, framing: str) -> None:
    client = await wire(probes.Inline, framing=framing)
    id = await opened(client, metadata={"k": "v"}, ttl=60)
    assert await client.call("session.set", {"session_id": id, "name": "x", "value": 1}) == {"version": 1}
    assert await client.call("session.set", [id, "x", 2, 1]) == {"version": 2}
    assert await client.call("session.set", [id, "b", {"$bytes": "aGk="}]) == {"version": 1}
    found = await client.call("session.get", {"session_id": id, "name": "x"})
    assert (found["value"], found["version"], found["type"], found["changed_by"]) == (2, 2, "integer", "client")
    assert (await client.call("session.get", [id, "b"]))["value"] == {"$bytes": "aGk="}
    info = await client.call("session.info", [id])
    assert (info["metadata"], info["ttl"], info["variable_count"]) == ({"k": "v"}, 60.0, 2)


async def test_a_batch_of_writes_says_what_became_of_each(wire: OpenWire) -> None:
    client = await wire(probes.Inline)
    id = await opened(client)
    writes = [{"name": "a", "value": 1}, {"name": "b", "value": [1, None]}, {"name": "no good", "value": 1}]
    found = await client.call("session.set_many", {"session_id": id, "writes": writes, "atomic": False})
    assert found["a"] == found["b"] == {"version": 1}
    assert found["no good"]["error"]["data"]["reason"] == "NAME_REFUSED"
    error = await client.error("session.set_many", {"session_id": id, "writes": writes})
    assert error["code"] == -32602
    assert set(await client.call("session.get_many", [id, ["a", "b", "c"]])) == {"a", "b"}
    assert [each["name"] for each in await client.call("session.variables", [id])] == ["a", "b"]


async def test_a_variable_has_its_type_its_history_and_its_end(wire: OpenWire) -> None:
    client = await wire(probes.Inline)
    id = await opened(client)
    declared = {"session_id": id, "name": "t", "type": "float", "value": 0.5, "constraints": {"min": 0, "max": 1}}
    assert (await client.call("session.register", declared))["constraints"]["max"] == 1
    error = await client.error("session.set", [id, "t", 2])
    assert error["data"]["reason"] == "CONSTRAINT_VIOLATED"
    await client.call("session.set", [id, "t", 1])
    history = await client.call("session.history", [id, "t"])
    assert [(entry["kind"], entry["variable"]["value"]) for entry in history] == [("CHANGED", 1.0), ("REGISTERED", 0.5)]
    assert (await client.call("session.rollback", [id, "t", 1]))["value"] == 0.5
    error = await client.error("session.set", {"session_id": id, "name": "t", "value": 1, "expected_version": 1})
    assert (error["data"]["reason"], error["data"]["metadata"]["current_version"]) == ("VERSION_MISMATCH", "3")
    assert await client.call("session.delete", [id, "t"]) is None
    assert (await client.error("session.get", [id, "t"]))["data"]["reason"] == "VARIABLE_NOT_FOUND"


async def test_a_watch_tells_of_changes_by_the_id_of_its_request(wire: OpenWire) -> None:
    client = await wire(probes.Inline)
    id = await opened(client)
    watch = client.ask("session.watch", {"session_id": id, "names": ["x"]})
    assert (await client.next())["params"] == {"id": watch, "kind": "STARTED", "positions": {"x": 0}}
    await client.call("tools.call", {"name": "write", "arguments": ["x", 7], "_meta": {"session_id": id}})
    (note,) = client.heard
    assert (note["method"], note["params"]["id"], note["params"]["kind"]) == ("session.update", watch, "CHANGED")
    assert (note["params"]["variable"]["value"], note["params"]["variable"]["changed_by"]) == (7, "tool:write")
    await client.call("session.close", [id])
    assert (await client.answer(watch))["error"]["data"]["reason"] == "SESSION_CLOSED"


async def test_a_watch_that_is_cancelled_frees_its_place(wire: OpenWire) -> None:
    client = await wire(probes.Inline, max_watches=1)
    id = await opened(client)
    for _ in range(3):
        watch = client.ask("session.watch", [id, ["x"]])
        assert (await client.next())["params"]["kind"] == "STARTED"
        client.tell("$/cancelRequest", {"id": watch})
        assert (await client.answer(watch))["error"]["code"] == -32800


async def test_C05_a_session_ends_with_its_connection_unless_it_is_to_be_kept(serve: Start) -> None:
    server = await serve(probes.Inline)
    async with wire_to(server.jsonrpc_address) as client:
        gone, kept = await opened(client), await opened(client, keep=True)
        assert {each["session_id"] for each in await client.call("session.list")} == {gone, kept}
    async with wire_to(server.jsonrpc_address) as client, asyncio.timeout(5):
        while len(found := await client.call("session.list")) > 1:  # noqa: ASYNC110 - the host tells nobody
            await asyncio.sleep(0)
        assert [each["session_id"] for each in found] == [kept]


async def test_C05_a_session_that_is_being_opened_when_its_client_goes_is_closed(serve: Start, tmp_path: Path) -> None:
    server = await serve(probes.Inline, store=f"sqlite:{tmp_path / 'db'}")
    host = server.parts.session_host
    assert host is not None
    opened = await host.open_session(CallScope())
    async with asyncio.timeout(10):
        for _ in range(10):
            async with wire_to(server.jsonrpc_address) as client:
                for _ in range(5):
                    client.ask("session.open")
        async with wire_to(server.jsonrpc_address) as client:
            found: list[str] = []
            while found != [opened.session_id]:
                found = [session["session_id"] for session in await client.call("session.list")]


async def test_a_session_of_both_wires_is_the_same(start: Start, tmp_path: Any) -> None:
    server = await start(probes.Inline, jsonrpc=f"unix:{tmp_path / 'own' / 'rpc'}")
    async with wire_to(server.jsonrpc_address) as client:
        id = await opened(client)
        await client.call("session.set", [id, "x", 5])
        from bridge_client import BridgeClient

        async with BridgeClient(server.addresses[0]) as other:
            assert await other.call("read", name="x", session=id) == 5


class Asks(Adapter):
    @tool
    async def double(self, name: str, ctx: SessionContext) -> Any:
        await ctx.set(name, 2 * await ctx.get(name))
        return [part async for part in ctx.stream("parts", n=2)]

    @tool
    async def ask(self, name: str, ctx: SessionContext) -> Any:
        return await ctx.get(name)

    @tool
    async def asks_a_tool(self, ctx: SessionContext) -> Any:
        return await ctx.call("anything", n=1)


async def test_C10_a_client_that_is_a_host_is_asked_while_its_call_runs(wire: OpenWire, framing: str) -> None:
    client = await wire(Asks, framing=framing)
    assert (await client.call("system.initialize", {"host": True}))["host"] is True
    call = client.ask("double", {"name": "x", "_meta": {"session_id": "mine", "timeout": 60}})

    asked = await client.next()
    assert (asked["method"], asked["params"]["names"]) == ("host.get_many", ["x"])
    assert asked["params"]["session_id"] == "mine"
    meta = asked["params"]["_meta"]
    assert (meta["bridge-call-path"], meta["bridge-changed-by"]) == ("double", "tool:double")
    assert 0 < meta["timeout"] <= 60
    variable = {"name": "x", "type": "integer", "version": 1, "value": 21}
    client.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"x": variable}})

    asked = await client.next()
    assert (asked["method"], asked["params"]["writes"][0]["value"]) == ("host.set_many", 42)
    client.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"x": {"version": 2}}})

    asked = await client.next()
    assert (asked["method"], asked["params"]["name"]) == ("host.stream", "parts")
    assert asked["params"]["arguments"] == {"n": 2}
    assert asked["params"]["_meta"]["session_id"] == "mine"
    for number in range(2):
        client.tell("host.chunk", {"id": asked["id"], "sequence": number, "value": {"$bytes": "aGk="}})
    client.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"chunks": 2}})
    assert (await client.answer(call))["result"] == [{"$bytes": "aGk="}] * 2


async def test_C10_a_cancelled_call_cancels_what_it_has_asked_of_the_client(wire: OpenWire) -> None:
    client = await wire(Asks)
    await client.call("system.initialize", {"host": True})
    call = client.ask("ask", {"name": "x", "_meta": {"session_id": "mine"}})
    asked = await client.next()
    client.tell("$/cancelRequest", {"id": call})
    assert (await client.answer(call))["error"]["code"] == -32800
    assert [note["params"] for note in client.heard if note["method"] == "$/cancelRequest"] == [{"id": asked["id"]}]


async def test_a_client_that_answers_only_some_methods_is_no_host_for_the_others(wire: OpenWire) -> None:
    client = await wire(Asks)
    await client.call("system.initialize", [True])
    call = client.ask("asks_a_tool")
    asked = await client.next()
    assert asked["method"] == "host.call"
    client.send({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no such method"}})
    assert (await client.answer(call))["error"]["data"]["reason"] == "NO_HOST"
    call = client.ask("asks_a_tool")
    asked = await client.next()
    client.send({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32055, "message": "none", "data": None}})
    assert (await client.answer(call))["error"]["code"] == -32055


@pytest.mark.parametrize("result", [None, [], {"x": 1}, {"x": {"name": "x"}}, "text"], ids=repr)
async def test_a_host_that_answers_nonsense_costs_one_call(wire: OpenWire, result: Any) -> None:
    client = await wire(Asks)
    await client.call("system.initialize", {"host": True})
    call = client.ask("ask", {"name": "x", "_meta": {"session_id": "mine"}})
    client.send({"jsonrpc": "2.0", "id": (await client.next())["id"], "result": result})
    assert (await client.answer(call))["error"]["data"]["reason"] == "BAD_RESPONSE"
    assert (await client.call("system.ping"))["pong"] is True


async def test_a_client_that_is_a_host_keeps_the_sessions_itself(wire: OpenWire) -> None:
    client = await wire(Asks)
    await client.call("system.initialize", {"host": True})
    assert (await client.error("session.open"))["data"]["reason"] == "CLIENT_IS_HOST"


async def test_a_client_is_not_the_host_of_another(serve: Start) -> None:
    server = await serve(Asks)
    async with wire_to(server.jsonrpc_address) as one, wire_to(server.jsonrpc_address) as other:
        await one.call("system.initialize", {"host": True})
        id = await opened(other)
        await other.call("session.set", [id, "x", 1])
        assert await other.call("ask", {"name": "x", "_meta": {"session_id": id}}) == 1
        with pytest.raises(BridgeError):
            await server.host.get_variables(CallScope("mine"), ["x"])
