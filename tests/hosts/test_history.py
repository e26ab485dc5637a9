"""Earlier values: what is kept, and going back to one."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.variables import Constraints, UpdateKind, Write
from tests.support.declare import declare


async def _set(host: Any, scope: CallScope, **values: Any) -> None:
    await host.set_variables(scope, [Write(name=name, value=value) for name, value in values.items()])


async def _history(host: Any, scope: CallScope, name: str = "x", **options: Any) -> list[tuple[int, Any]]:
    entries = await host.get_history(scope, name, **options)
    return [(entry.variable.version, entry.variable.value) for entry in entries]


async def _refusal(awaitable: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await awaitable
    return caught.value


async def test_history_has_every_change_newest_first(host: Any, scope: CallScope, clock: Any) -> None:
    await host.register_variable(scope, declare("x", "integer", 1, constraints=Constraints(min=0)))
    clock.advance(1.0)
    await host.set_variables(scope, [Write(name="x", value=2, metadata={"why": "more"})])
    await host.delete_variable(scope, "x")
    deleted, changed, registered = await host.get_history(scope, "x")
    assert [one.kind for one in (deleted, changed, registered)] == [
        UpdateKind.DELETED,
        UpdateKind.CHANGED,
        UpdateKind.REGISTERED,
    ]
    assert (changed.variable.value, changed.variable.version, changed.variable.type) == (2, 2, "integer")
    assert (changed.variable.metadata, changed.variable.updated_at) == ({"why": "more"}, clock.now)
    assert registered.variable.constraints == Constraints(min=0)
    assert deleted.variable.value is None


async def test_history_is_cut_to_what_is_asked_for(host: Any, scope: CallScope) -> None:
    for value in range(1, 6):
        await _set(host, scope, x=value)
    assert await _history(host, scope, limit=2) == [(5, 5), (4, 4)]
    assert await _history(host, scope, limit=100) == [(n, n) for n in (5, 4, 3, 2, 1)]


async def test_history_is_bounded_by_its_number_and_its_bytes(make_host: Any, of: Any) -> None:
    host = await make_host(history_entries=4, history_bytes=5000)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    for value in range(1, 11):
        await _set(host, scope, x=value, big=bytes(2000))
    assert [version for version, _ in await _history(host, scope)] == [10, 9, 8, 7, 6]
    assert [version for version, _ in await _history(host, scope, "big")] == [10, 9, 8]


async def test_history_never_keeps_a_write_out(make_host: Any, of: Any) -> None:
    host = await make_host(max_session_bytes=10_000)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    for value in range(20):
        await _set(host, scope, x=bytes([value]) * 4000)
    await _set(host, scope, y=bytes(5000))
    assert (await host.get_variables(scope, ["x"]))["x"].value == bytes([19]) * 4000


async def test_variable_too_many_is_refused_without_a_loss_of_history(make_host: Any, of: Any) -> None:
    host = await make_host(max_variables=2)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    for value in range(1, 6):
        await _set(host, scope, x=value)
    await _set(host, scope, y=1)
    assert (await _refusal(_set(host, scope, z=1))).details.metadata["limit"] == "max_variables"
    assert [version for version, _ in await _history(host, scope)] == [5, 4, 3, 2, 1]
    await host.delete_variable(scope, "y")
    await _set(host, scope, z=1)
    assert (await host.get_variables(scope, ["x", "z"])).keys() == {"x", "z"}


async def test_answer_about_a_long_history_of_large_values_fits_into_a_message(host: Any, scope: CallScope) -> None:
    for value in range(5):
        await _set(host, scope, x=bytes([value]) * 3_000_000)
    assert [version for version, _ in await _history(host, scope)] == [5, 4]


async def test_variable_that_never_was_has_no_history(host: Any, scope: CallScope) -> None:
    assert (await _refusal(host.get_history(scope, "x"))).reason == "VARIABLE_NOT_FOUND"
    assert (await _refusal(host.get_history(scope, "no name"))).reason == "NAME_REFUSED"
    assert (await _refusal(host.get_history(scope, "x", limit=-1))).code is Code.INVALID_ARGUMENT


async def test_rollback_writes_an_earlier_value_as_a_new_version(host: Any, scope: CallScope) -> None:
    for value in ("one", "two", "three"):
        await _set(host, scope, x=value)
    variable = await host.rollback_variable(scope, "x", 1)
    assert (variable.value, variable.version) == ("one", 4)
    assert await _history(host, scope) == [(4, "one"), (3, "three"), (2, "two"), (1, "one")]


async def test_rollback_is_refused_if_the_version_is_not_the_expected_one(host: Any, scope: CallScope) -> None:
    await _set(host, scope, x=1)
    await _set(host, scope, x=2)
    error = await _refusal(host.rollback_variable(scope, "x", 1, expected_version=1))
    assert (error.code, error.reason, error.details.metadata["current_version"]) == (
        Code.ABORTED,
        "VERSION_MISMATCH",
        "2",
    )
    assert (await host.rollback_variable(scope, "x", 1, expected_version=2)).version == 3


async def test_rollback_obeys_the_constraints_of_today(host: Any, scope: CallScope) -> None:
    await host.register_variable(scope, declare("x", "integer", 100))
    await host.register_variable(scope, declare("x", "integer", 5, constraints=Constraints(max=10)))
    assert (await _refusal(host.rollback_variable(scope, "x", 1))).reason == "CONSTRAINT_VIOLATED"
    await host.register_variable(scope, declare("x", "string", "five"))
    assert (await _refusal(host.rollback_variable(scope, "x", 2))).reason == "VALUE_REFUSED"


async def test_rollback_brings_a_deleted_variable_back_as_it_was(host: Any, scope: CallScope) -> None:
    await host.register_variable(scope, declare("x", "integer", 5, constraints=Constraints(max=10)))
    await host.delete_variable(scope, "x")
    variable = await host.rollback_variable(scope, "x", 1)
    assert (variable.version, variable.value, variable.constraints) == (3, 5, Constraints(max=10))
    assert (await _refusal(host.set_variables(scope, [Write(name="x", value=11)]))).reason == "CONSTRAINT_VIOLATED"


@pytest.mark.parametrize(("version", "why"), [(0, "never"), (1, "not kept"), (9, "its end"), (10, "never")])
async def test_rollback_to_what_is_not_kept_says_so(make_host: Any, of: Any, version: int, why: str) -> None:
    host = await make_host(history_entries=3)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    for value in range(1, 9):
        await _set(host, scope, x=value)
    await host.delete_variable(scope, "x")
    error = await _refusal(host.rollback_variable(scope, "x", version))
    assert (error.code, error.reason) == (Code.OUT_OF_RANGE, "VERSION_GONE")
    assert why in error.message
