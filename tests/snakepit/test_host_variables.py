"""The RPCs about session variables of Snakepit v0.4.2, row by row, asked as a program of its time asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from bridge import engines
from bridge.engines.base import ServerOptions
from bridge.frontends.snakepit_variables import VariableMethods
from bridge.host import CallScope
from bridge.hosts.memory import InMemoryHost
from bridge.variables import Variable, Write
from tests.snakepit.host_stub import SessionStub, Stub, get, host_stub, packed, register, status, value_of, write

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def session() -> AsyncIterator[SessionStub]:
    async with host_stub() as stub:
        await stub.InitializeSession(session_id="s")
        yield SessionStub(stub, "s")


# -- register, get, set, delete --------------------------------------------------------------------------------------


async def test_variable_is_described(session: SessionStub) -> None:
    await register(session, "x", "integer", 5, metadata={"unit": "mm"})
    answer = await session.GetVariable(variable_identifier="x", bypass_cache=True)
    variable = answer.variable
    assert not answer.from_cache
    assert (variable.id, variable.name, variable.type, variable.version) == ("var_x", "x", "integer", 1)
    assert (dict(variable.metadata), variable.source, variable.access_control_json) == ({"unit": "mm"}, 0, "")
    assert (variable.HasField("optimization_status"), variable.optimization_status.optimizing) == (True, False)
    assert abs(variable.last_updated_at.seconds - time.time()) < 60


async def test_writer_that_says_it_is_python_is_believed(session: SessionStub) -> None:
    await register(session, "x", "integer", 5, metadata={"source": "python"})
    assert (await get(session, "x")).source == 1


async def test_variable_is_known_by_name_and_id(session: SessionStub) -> None:
    await register(session, "x", "integer", 5)
    await write(session, "var_x", 6)
    assert [value_of(await get(session, one)) for one in ("x", "var_x")] == [6, 6]
    found = (await session.GetVariables(variable_identifiers=["x", "var_x"])).variables
    assert {one: variable.name for one, variable in found.items()} == {"x": "x", "var_x": "x"}
    await session.DeleteVariable(variable_identifier="var_x")
    assert await status(get(session, "x")) == ("NOT_FOUND", "Variable not found: x")


async def test_name_comes_before_an_id(session: SessionStub) -> None:
    await register(session, "x", "integer", 1)
    await register(session, "var_x", "integer", 2)
    assert value_of(await get(session, "var_x")) == 2
    assert value_of(await get(session, "var_var_x")) == 2
    assert value_of(await get(session, "x")) == 1


async def test_longest_name_has_an_id_too(session: SessionStub) -> None:
    name = "n" * 256
    await register(session, name, "integer", 1)
    assert value_of(await get(session, "var_" + name)) == 1


async def test_name_that_exists_gets_the_later_declaration(session: SessionStub) -> None:
    await register(session, "x", "integer", 5)
    await register(session, "x", "string", "a")
    variable = await get(session, "x")
    assert (variable.type, variable.version, value_of(variable)) == ("string", 2, "a")


MISSING = ["x", "var_x", "", "a b", "ä", "var_", "x" * 300]


@pytest.mark.parametrize("identifier", MISSING)
async def test_variable_that_is_not_there_is_not_found(session: SessionStub, identifier: str) -> None:
    calls = [
        get(session, identifier),
        write(session, identifier, 1),
        write(session, identifier, 1, expected_version=3),
        session.DeleteVariable(variable_identifier=identifier),
        session.GetVariableHistory(variable_identifier=identifier),
        session.RollbackVariable(variable_identifier=identifier, target_version=1),
    ]
    for call in calls:
        code, text = await status(call)
        assert code == "NOT_FOUND"
        assert text.startswith("Variable not found: ")
        assert identifier[:200] in text or not identifier.isascii()
        assert len(text) < 300
    answer = await session.GetVariables(variable_identifiers=[identifier])
    assert (dict(answer.variables), list(answer.missing_variables)) == ({}, [identifier])


SESSION_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("RegisterVariable", {"name": "x", "type": "integer", "initial_value": packed(1)}),
    ("GetVariable", {"variable_identifier": "x"}),
    ("GetVariables", {"variable_identifiers": ["x"]}),
    ("GetVariables", {"variable_identifiers": []}),
    ("SetVariable", {"variable_identifier": "x", "value": packed(1)}),
    ("SetVariables", {"updates": {"x": packed(1)}}),
    ("SetVariables", {"updates": {}}),
    ("ListVariables", {}),
    ("DeleteVariable", {"variable_identifier": "x"}),
    ("GetVariableHistory", {"variable_identifier": "x"}),
    ("RollbackVariable", {"variable_identifier": "x", "target_version": 1}),
]


@pytest.mark.parametrize(("method", "fields"), SESSION_CALLS)
async def test_session_that_is_not_there_is_not_found(
    session: SessionStub, method: str, fields: dict[str, Any]
) -> None:
    call = getattr(session.stub, method)(session_id="gone", **fields)
    assert await status(call) == ("NOT_FOUND", "Session not found: gone")


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 257])
async def test_name_that_could_be_none_is_refused(session: SessionStub, name: str) -> None:
    call = session.RegisterVariable(name=name, type="integer", initial_value=packed(1))
    assert (await status(call))[0] == "INVALID_ARGUMENT"


async def test_every_write_is_the_next_version_and_adds_metadata(session: SessionStub) -> None:
    await register(session, "x", "module", "A", metadata={"a": "1"})
    answer = await write(session, "x", "B", metadata={"b": "2"})
    assert (answer.success, answer.error_message, answer.new_version) == (True, "", 2)
    variable = await get(session, "x")
    assert (variable.type, variable.version, value_of(variable)) == ("module", 2, "B")
    assert dict(variable.metadata) == {"a": "1", "b": "2"}


async def test_expected_version_is_enforced(session: SessionStub) -> None:
    await register(session, "x", "integer", 1)
    assert (await write(session, "x", 2, expected_version=1)).new_version == 2
    answer = await write(session, "x", 3, expected_version=1)
    assert (answer.success, answer.new_version) == (False, 0)
    assert answer.error_message == "x is at version 2, not 1: read it again, then repeat"
    assert value_of(await get(session, "x")) == 2


async def test_expected_version_of_zero_is_none(session: SessionStub) -> None:
    await register(session, "x", "integer", 1)
    assert (await write(session, "x", 2, expected_version=0)).new_version == 2


async def test_expected_version_below_zero_is_refused(session: SessionStub) -> None:
    await register(session, "x", "integer", 1)
    assert (await status(write(session, "x", 2, expected_version=-1)))[0] == "INVALID_ARGUMENT"


async def test_of_many_writers_with_one_expected_version_one_succeeds(session: SessionStub) -> None:
    await register(session, "x", "integer", 0)
    answers = await asyncio.gather(*(write(session, "x", number, expected_version=1) for number in range(20)))
    assert sorted(answer.success for answer in answers) == [False] * 19 + [True]


async def test_writers_without_an_expected_version_all_succeed(session: SessionStub) -> None:
    await register(session, "x", "integer", 0)
    answers = await asyncio.gather(*(write(session, "x", number) for number in range(20)))
    assert sorted(answer.new_version for answer in answers) == list(range(2, 22))


class Interrupted(InMemoryHost):
    """A host whose variables are deleted by somebody else whenever one has been read."""

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        found = await super().get_variables(scope, names)
        for name in found:
            await self.delete_variable(scope, name)
        return found


@pytest.fixture
async def interrupted() -> AsyncIterator[SessionStub]:
    """A session with the variables a and b, each of which is gone when it was read once."""
    host = Interrupted(chosen_ids=True)
    await host.ensure_session(CallScope("s"))
    await host.set_variables(CallScope("s"), [Write(name="a", value=1), Write(name="b", value=1)])
    options = ServerOptions(max_message_bytes=2**20, max_metadata_bytes=8192, max_concurrent_streams=10)
    server = engines.serve(options)
    address = server.listen("127.0.0.1:0")
    await server.start(VariableMethods(host, 2**20).methods())
    async with grpc.aio.insecure_channel(address) as channel:
        yield SessionStub(Stub(channel), "s")
    await server.aclose(0.0)


async def test_write_makes_no_variable_that_is_deleted_meanwhile(interrupted: SessionStub) -> None:
    assert await status(write(interrupted, "a", 5)) == ("NOT_FOUND", "Variable not found: a")
    assert not (await interrupted.ListVariables(pattern="a")).variables


@pytest.mark.parametrize("atomic", [True, False])
async def test_batch_names_what_is_deleted_meanwhile(interrupted: SessionStub, atomic: bool) -> None:
    answer = await interrupted.SetVariables(updates={"a": packed(5), "b": packed(5)}, atomic=atomic)
    assert not answer.success
    assert dict(answer.errors) == {name: f"Variable not found: {name}" for name in "ab"}
    assert not (await interrupted.ListVariables()).variables


# -- batches ---------------------------------------------------------------------------------------------------------


async def _two(session: SessionStub) -> None:
    await register(session, "a", "integer", 1, constraints_json='{"max": 10}')
    await register(session, "b", "string", "x", constraints_json='{"max_length": 3}')


async def test_reads_are_by_the_identifiers_asked_for(session: SessionStub) -> None:
    await _two(session)
    answer = await session.GetVariables(variable_identifiers=["b", "a", "none", "a", "none"], include_metadata=False)
    assert {one: value_of(variable) for one, variable in answer.variables.items()} == {"a": 1, "b": "x"}
    assert list(answer.missing_variables) == ["none"]


async def test_number_of_reads_and_writes_at_once_is_bounded(session: SessionStub) -> None:
    many = [f"v{number}" for number in range(1001)]
    assert (await status(session.GetVariables(variable_identifiers=many)))[0] == "RESOURCE_EXHAUSTED"
    assert (await status(session.SetVariables(updates=dict.fromkeys(many, packed(1)))))[0] == "RESOURCE_EXHAUSTED"
    ids = [f"var_v{number}" for number in range(1000)]
    assert len((await session.GetVariables(variable_identifiers=ids)).missing_variables) == 1000


@pytest.mark.parametrize("atomic", [True, False])
async def test_batch_is_written(session: SessionStub, atomic: bool) -> None:
    await _two(session)
    updates = {"a": packed(5), "var_b": packed("abc")}
    answer = await session.SetVariables(updates=updates, atomic=atomic, metadata={"why": "test"})
    assert (answer.success, dict(answer.errors), dict(answer.new_versions)) == (True, {}, {"a": 2, "var_b": 2})
    assert (await get(session, "b")).metadata["why"] == "test"


async def test_atomic_batch_with_an_error_changes_nothing_and_names_all(session: SessionStub) -> None:
    await _two(session)
    await register(session, "c", "float", 1.5)
    updates = {"a": packed(11), "b": packed("abcd"), "c": packed(2.5)}
    answer = await session.SetVariables(updates=updates, atomic=True)
    assert (answer.success, sorted(answer.errors), dict(answer.new_versions)) == (False, ["a", "b"], {})
    assert "max 10" in answer.errors["a"]
    assert [(await get(session, name)).version for name in "abc"] == [1, 1, 1]


async def test_batch_that_is_not_atomic_writes_what_it_can(session: SessionStub) -> None:
    await _two(session)
    answer = await session.SetVariables(updates={"a": packed(11), "b": packed("abc")})
    assert (answer.success, list(answer.errors), dict(answer.new_versions)) == (False, ["a"], {"b": 2})
    assert [(await get(session, name)).version for name in "ab"] == [1, 2]


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize(
    ("updates", "text"),
    [
        ({"a": packed(5), "none": packed(5)}, "Variable not found: none"),
        ({"a": packed(5), "b": {"value": b"oops"}}, "b: "),
        ({"a": packed(5), "var_a": packed(6)}, "updates: a is there twice"),
    ],
)
async def test_batch_that_cannot_be_read_is_an_invalid_argument(
    session: SessionStub, updates: Any, text: str, atomic: bool
) -> None:
    await _two(session)
    found = await status(session.SetVariables(updates=updates, atomic=atomic))
    assert found[0] == "INVALID_ARGUMENT"
    assert found[1].startswith(text)
    assert (await get(session, "a")).version == 1


async def test_binary_update_without_an_update_is_refused(session: SessionStub) -> None:
    await _two(session)
    assert (await status(session.SetVariables(binary_updates={"a": b"x"})))[0] == "INVALID_ARGUMENT"


async def test_empty_batch_is_no_failure(session: SessionStub) -> None:
    answer = await session.SetVariables()
    assert (answer.success, dict(answer.errors), dict(answer.new_versions)) == (True, {}, {})


@pytest.mark.parametrize("atomic", [True, False])
async def test_batches_of_many_writers_all_succeed(session: SessionStub, atomic: bool) -> None:
    await register(session, "a", "integer", 0)
    await register(session, "b", "integer", 0)
    updates = {"a": packed(1), "b": packed(2)}
    answers = await asyncio.gather(*(session.SetVariables(updates=updates, atomic=atomic) for _ in range(10)))
    assert all(answer.success for answer in answers)
    assert [(await get(session, name)).version for name in "ab"] == [11, 11]


# -- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["my_temp", "temp_a", "temp_b"]),
        ("*", ["my_temp", "temp_a", "temp_b"]),
        ("temp_*", ["temp_a", "temp_b"]),
        ("*temp*", ["my_temp", "temp_a", "temp_b"]),
        ("temp_a", ["temp_a"]),
        ("temp", []),
    ],
)
async def test_list_is_by_pattern(session: SessionStub, pattern: str, names: list[str]) -> None:
    for name in ("temp_b", "my_temp", "temp_a"):
        await register(session, name, "integer", 1)
    assert [variable.name for variable in (await session.ListVariables(pattern=pattern)).variables] == names


async def test_pattern_is_no_regular_expression(session: SessionStub) -> None:
    assert (await status(session.ListVariables(pattern="(a+)+$")))[0] == "INVALID_ARGUMENT"
