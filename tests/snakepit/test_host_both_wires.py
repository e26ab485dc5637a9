"""History, watches, and what Snakepit's wire and ours show of one session."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest

from bridge import engines
from bridge.host import CallScope
from bridge.hosts.grpc import GrpcHost
from bridge.testing import serving
from bridge.variables import Constraints, Declaration, UpdateKind, Write
from tests.snakepit.host_stub import SessionStub, Stub, get, host_stub, register, status, value_of, write

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def session() -> AsyncIterator[SessionStub]:
    async with host_stub() as stub:
        await stub.InitializeSession(session_id="s")
        yield SessionStub(stub, "s")


# -- history and rollback --------------------------------------------------------------------------------------------


async def test_history_is_newest_first_with_who_and_when(session: SessionStub) -> None:
    await register(session, "x", "module", "A", metadata={"a": "1"})
    await write(session, "x", "B")
    await session.DeleteVariable(variable_identifier="x")
    for identifier in ("x", "var_x"):
        entries = (await session.GetVariableHistory(variable_identifier=identifier)).entries
        assert [entry.version for entry in entries] == [3, 2, 1]
        assert [json.loads(entry.value.value) for entry in entries[1:]] == ["B", "A"]
        assert not entries[0].HasField("value")
        assert entries[1].value.type_url.endswith("snakepit.module")
        assert dict(entries[1].metadata) == {"a": "1", "bridge.change": "changed"}
        assert entries[1].changed_by == "client"
        assert abs(entries[1].timestamp.seconds - time.time()) < 60
    assert len((await session.GetVariableHistory(variable_identifier="x", limit=2)).entries) == 2
    assert (await status(session.GetVariableHistory(variable_identifier="x", limit=-1)))[0] == "INVALID_ARGUMENT"


async def test_rollback_writes_an_earlier_value_again(session: SessionStub) -> None:
    await register(session, "x", "integer", 1)
    await write(session, "x", 2)
    answer = await session.RollbackVariable(variable_identifier="var_x", target_version=1)
    assert (answer.success, answer.variable.version, value_of(answer.variable)) == (True, 3, 1)
    assert (await status(session.RollbackVariable(variable_identifier="x", target_version=9)))[0] == "OUT_OF_RANGE"
    assert (await status(session.RollbackVariable(variable_identifier="x", target_version=-1)))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("method", ["AddDependency", "StartOptimization", "StopOptimization"])
async def test_what_nobody_has_implemented_is_said_to_be_so(session: SessionStub, method: str) -> None:
    code, text = await status(getattr(session, method)())
    assert code == "UNIMPLEMENTED"
    assert "implemented by nobody" in text


# -- watches ---------------------------------------------------------------------------------------------------------


async def test_watch_tells_the_values_there_are_and_every_change(session: SessionStub) -> None:
    await register(session, "a", "integer", 1)
    watch = session.WatchVariables(variable_identifiers=["var_a", "later"], include_initial_values=True)
    began, initial = await watch.read(), await watch.read()
    assert (began.update_type, began.HasField("variable"), dict(began.update_metadata)) == (
        "heartbeat",
        False,
        {"later": "0"},
    )
    assert (initial.update_type, initial.variable_id, value_of(initial.variable)) == ("initial", "var_a", 1)
    await write(session, "a", 2)
    await register(session, "later", "list", [1])
    await session.DeleteVariable(variable_identifier="a")
    changed, registered, deleted = [await watch.read() for _ in range(3)]
    assert (changed.update_type, changed.variable.version, value_of(changed.variable)) == ("value_changed", 2, 2)
    assert (changed.update_source, dict(changed.update_metadata)) == ("client", {"bridge.change": "changed"})
    assert abs(changed.timestamp.seconds - time.time()) < 60
    assert (registered.update_type, registered.variable_id, value_of(registered.variable)) == (
        "value_changed",
        "var_later",
        [1],
    )
    assert (deleted.update_type, deleted.variable.version, deleted.variable.HasField("value")) == ("deleted", 3, False)
    watch.cancel()


async def test_watch_without_initial_values_begins_with_the_next_change(session: SessionStub) -> None:
    await register(session, "a", "integer", 1)
    watch = session.WatchVariables(variable_identifiers=["a"])
    assert (await watch.read()).update_type == "heartbeat"
    await write(session, "a", 2)
    assert (await watch.read()).update_type == "value_changed"
    watch.cancel()


async def test_watch_ends_with_its_session(session: SessionStub) -> None:
    watch = session.WatchVariables(variable_identifiers=["a"])
    await watch.read()
    await session.CleanupSession()
    code, text = await status(watch.read())
    assert (code, "closed while it was watched" in text) == ("NOT_FOUND", True)


async def test_watch_of_nothing_or_of_no_session_is_refused(session: SessionStub) -> None:
    assert (await status(session.WatchVariables().read()))[0] == "INVALID_ARGUMENT"
    gone = session.stub.WatchVariables(session_id="gone", variable_identifiers=["a"])
    assert await status(gone.read()) == ("NOT_FOUND", "Session not found: gone")


async def test_watch_that_is_dropped_frees_its_place() -> None:
    async with host_stub(max_watches=1) as stub:
        await stub.InitializeSession(session_id="s")
        session = SessionStub(stub, "s")
        watch = session.WatchVariables(variable_identifiers=["a"])
        await watch.read()
        assert (await status(session.WatchVariables(variable_identifiers=["a"]).read()))[0] == "RESOURCE_EXHAUSTED"
        watch.cancel()
        async with asyncio.timeout(5):
            while True:
                again = session.WatchVariables(variable_identifiers=["a"])
                try:
                    await again.read()
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0)
        again.cancel()


# -- what the other wire of the same host has --------------------------------------------------------------------------


@pytest.fixture
async def both() -> AsyncIterator[tuple[SessionStub, GrpcHost]]:
    """One session, over both wires of a host."""
    async with (
        serving(role="host", snakepit=True, listen=("127.0.0.1:0",)) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        host = GrpcHost(engines.connect(server.addresses[0]))
        stub = Stub(channel)
        await stub.InitializeSession(session_id="s")
        yield SessionStub(stub, "s"), host
        await host.aclose()


SCOPE = CallScope("s", changed_by="tool:t")


async def test_session_is_the_same_over_both_wires(both: tuple[SessionStub, GrpcHost]) -> None:
    session, host = both
    await host.set_variables(SCOPE, [Write(name="x", value=5)])
    variable = await get(session, "x")
    assert (variable.type, value_of(variable), variable.source) == ("integer", 5, 1)
    await write(session, "x", 6)
    found = (await host.get_variables(SCOPE, ["x"]))["x"]
    assert (found.value, found.version) == (6, 2)


JSON_VALUES: list[tuple[Any, str]] = [
    ({"a": 1}, "map"),
    ([1], "list"),
    ("a", "string"),
    (1, "integer"),
    (1.5, "float"),
    (True, "boolean"),
    (None, "map"),
]


@pytest.mark.parametrize(("value", "type_"), JSON_VALUES)
async def test_json_has_the_type_of_what_it_is_at_the_time(
    both: tuple[SessionStub, GrpcHost], value: Any, type_: str
) -> None:
    session, host = both
    await host.register_variable(SCOPE, Declaration(name="x", type="json", value=value))
    variable = await get(session, "x")
    assert (variable.type, value_of(variable)) == (type_, value)


async def test_pattern_of_whole_texts_is_told_as_one(both: tuple[SessionStub, GrpcHost]) -> None:
    session, host = both
    limits = Constraints(pattern="a|bc", max_length=9)
    await host.register_variable(SCOPE, Declaration(name="x", type="string", value="a", constraints=limits))
    told = (await get(session, "x")).constraints_json
    assert json.loads(told) == {"max_length": 9, "pattern": "^(?:a|bc)$"}
    await register(session, "y", "string", "bc", constraints_json=told)
    assert (await host.get_variables(SCOPE, ["y"]))["y"].constraints == limits


async def test_bound_that_json_cannot_carry_is_left_out(both: tuple[SessionStub, GrpcHost]) -> None:
    session, host = both
    limits = Constraints(min=0.5, max=float("inf"))
    await host.register_variable(SCOPE, Declaration(name="x", type="float", value=1.0, constraints=limits))
    assert json.loads((await get(session, "x")).constraints_json) == {"min": 0.5}


async def test_arrays_of_every_kind_are_told_as_json(both: tuple[SessionStub, GrpcHost]) -> None:
    session, host = both
    values = {"f": np.array([[1.5, np.nan], [-np.inf, 2]], "f4"), "i": np.array([1, 2], "u1"), "b": np.array([True])}
    for name, value in values.items():
        await host.register_variable(SCOPE, Declaration(name=name, type="tensor", value=value))
    await host.register_variable(SCOPE, Declaration(name="e", type="embedding", value=np.array([1.5, 2.5])))
    told = {name: value_of(await get(session, name)) for name in "fibe"}
    assert told == {
        "f": {"shape": [2, 2], "data": [[1.5, "NaN"], ["-Infinity", 2.0]]},
        "i": {"shape": [2], "data": [1, 2]},
        "b": {"shape": [1], "data": [True]},
        "e": [1.5, 2.5],
    }


@pytest.mark.parametrize(("type_", "value"), [("bytes", b"x"), ("tensor", np.array([1j]))])
async def test_what_this_wire_cannot_carry_is_refused_and_left_out_of_lists(
    both: tuple[SessionStub, GrpcHost], type_: str, value: Any
) -> None:
    session, host = both
    await host.register_variable(SCOPE, Declaration(name="x", type=type_, value=value))
    await host.set_variables(SCOPE, [Write(name="y", value=1)])
    calls = [get(session, "x"), session.GetVariables(variable_identifiers=["x"]), write(session, "x", "text")]
    assert [(await status(call))[0] for call in calls] == ["INVALID_ARGUMENT"] * 3
    assert [variable.name for variable in (await session.ListVariables()).variables] == ["y"]


async def test_change_of_both_wires_is_watched(both: tuple[SessionStub, GrpcHost]) -> None:
    session, host = both
    watch = session.WatchVariables(variable_identifiers=["x"])
    await watch.read()
    await host.set_variables(SCOPE, [Write(name="x", value=1)])
    update = await watch.read()
    assert (update.update_source, update.variable.source) == ("tool:t", 1)
    updates = host.watch_variables(SCOPE, ["x"])
    assert (await anext(updates)).kind is UpdateKind.STARTED
    await session.DeleteVariable(variable_identifier="x")
    assert (await anext(updates)).kind is UpdateKind.DELETED
    assert (await watch.read()).update_type == "deleted"
    await updates.aclose()
    watch.cancel()


async def test_answer_that_no_message_can_carry_says_to_ask_for_less() -> None:
    async with host_stub(max_message_bytes=64 * 1024) as stub:
        await stub.InitializeSession(session_id="s")
        session = SessionStub(stub, "s")
        for name in "ab":
            await register(session, name, "string", "x" * 40_000)
        assert (await status(session.ListVariables()))[0] == "RESOURCE_EXHAUSTED"
        assert len((await session.ListVariables(pattern="a")).variables) == 1
