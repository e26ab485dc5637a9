"""Variables of a session: values, versions, refusals."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.variables import Constraints, Write
from tests.support.declare import declare


async def _refusal(awaitable: Any) -> BridgeError:
    with pytest.raises(BridgeError) as refusal:
        await awaitable
    return refusal.value


async def _get(host: Any, scope: CallScope, name: str) -> Any:
    return (await host.get_variables(scope, [name])).get(name)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (True, "boolean"),
        (-(2**63), "integer"),
        (2**80, "integer"),
        (0.1, "float"),
        (float("inf"), "float"),
        ("é", "string"),
        (b"\0\xff", "bytes"),
        (None, "json"),
        ([1, 2.5, "x", None, {"a": [2**70]}], "json"),
        ({}, "json"),
    ],
)
async def test_unknown_name_is_registered_with_the_type_of_its_value(
    host: Any, scope: CallScope, clock: Any, value: Any, type_: str
) -> None:
    assert await host.set_variables(scope, [Write(name="x", value=value)]) == {"x": 1}
    variable = await _get(host, scope, "x")
    assert variable.value == value
    assert type(variable.value) is type(value)
    assert (variable.name, variable.type, variable.version, variable.changed_by) == ("x", type_, 1, "client")
    assert (variable.updated_at, variable.expires_at) == (clock.now, None)
    assert variable.constraints == Constraints()


async def test_arrays_come_back_as_given(host: Any, scope: CallScope) -> None:
    array = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
    await host.set_variables(scope, [Write(name="t", value=array)])
    await host.register_variable(scope, declare("e", "embedding", array[0], constraints=Constraints(dimensions=3)))
    await host.register_variable(scope, declare("l", "embedding", [1, 2]))
    found = await host.get_variables(scope, ["t", "e", "l"])
    assert found["t"].value.dtype == numpy.float32
    assert (found["t"].value == array).all()
    assert (found["e"].value == array[0]).all()
    assert found["l"].value == [1.0, 2.0]


async def test_stored_value_cannot_be_changed_from_outside(host: Any, scope: CallScope) -> None:
    mine = {"list": [1]}
    await host.set_variables(scope, [Write(name="x", value=mine)])
    mine["list"].append(2)
    (await _get(host, scope, "x")).value["list"].append(3)
    assert (await _get(host, scope, "x")).value == {"list": [1]}


async def test_version_rises_by_one_with_each_change(host: Any, scope: CallScope) -> None:
    for version in range(1, 5):
        assert await host.set_variables(scope, [Write(name="x", value=version)]) == {"x": version}
    assert (await _get(host, scope, "x")).version == 4
    await host.delete_variable(scope, "x")  # a change, too
    assert await host.set_variables(scope, [Write(name="x", value="other")]) == {"x": 6}


async def test_integer_becomes_a_float_in_a_float_and_never_the_other_way(host: Any, scope: CallScope) -> None:
    await host.set_variables(scope, [Write(name="f", value=0.5), Write(name="i", value=1)])
    await host.set_variables(scope, [Write(name="f", value=2)])
    value = (await _get(host, scope, "f")).value
    assert (value, type(value)) == (2.0, float)
    error = await _refusal(host.set_variables(scope, [Write(name="i", value=2.0)]))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "VALUE_REFUSED")
    assert error.violations[0].field == "i"


async def test_constraint_outlives_the_registration(host: Any, scope: CallScope) -> None:
    limits = Constraints(min=0.0, max=2)
    registered = await host.register_variable(
        scope, declare("t", "float", 1, constraints=limits, metadata={"unit": "K"}, ttl=None)
    )
    assert (registered.value, registered.version, registered.constraints) == (1.0, 1, limits)
    error = await _refusal(host.set_variables(scope, [Write(name="t", value=2.5)]))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "CONSTRAINT_VIOLATED")
    assert "max 2" in error.message
    assert "2.5" not in error.message
    error = await _refusal(host.set_variables(scope, [Write(name="t", value=float("nan"))]))
    assert error.reason == "CONSTRAINT_VIOLATED"
    assert (await _get(host, scope, "t")).version == 1
    assert (await _get(host, scope, "t")).metadata == {"unit": "K"}


async def test_every_constraint_comes_back_as_given(host: Any, scope: CallScope) -> None:
    declared: list[tuple[str, Any, Constraints]] = [
        ("integer", 5, Constraints(min=-(2**70), max=10)),
        ("string", "ab", Constraints(min_length=0, max_length=2, choices=("ab", "c"))),
        ("choice", "a", Constraints(choices=("a", ""))),
        ("embedding", [0.0], Constraints(dimensions=1)),
        ("tensor", numpy.zeros((2, 3)), Constraints(shape=(2, -1))),
    ]
    for type_, value, constraints in declared:
        await host.register_variable(scope, declare(type_, type_, value, constraints=constraints))
    for type_, _, constraints in declared:
        assert (await _get(host, scope, type_)).constraints == constraints


async def test_registering_again_replaces_the_declaration(host: Any, scope: CallScope) -> None:
    await host.register_variable(scope, declare("x", "integer", 1, constraints=Constraints(max=1), metadata={"a": "b"}))
    again = await host.register_variable(scope, declare("x", "string", "s"))
    assert (again.type, again.value, again.version) == ("string", "s", 2)
    assert (again.metadata, again.constraints) == ({}, Constraints())
    error = await _refusal(host.register_variable(scope, declare("x", "integer", "s")))
    assert error.reason == "VALUE_REFUSED"
    assert (await _get(host, scope, "x")).type == "string"


async def test_compare_and_set(host: Any, scope: CallScope) -> None:
    assert await host.set_variables(scope, [Write(name="x", value=1, expected_version=0)]) == {"x": 1}
    for expected in (0, 2, 2**63 - 1):
        error = await _refusal(host.set_variables(scope, [Write(name="x", value=9, expected_version=expected)]))
        assert (error.code, error.reason) == (Code.ABORTED, "VERSION_MISMATCH")
        assert error.details.metadata == {"name": "x", "current_version": "1"}
    assert await host.set_variables(scope, [Write(name="x", value=2, expected_version=1)]) == {"x": 2}
    error = await _refusal(host.set_variables(scope, [Write(name="y", value=2, expected_version=1)]))
    assert error.details.metadata["current_version"] == "0"
    for impossible in (-1, 2**63, True):
        error = await _refusal(host.set_variables(scope, [Write(name="x", value=9, expected_version=impossible)]))
        assert error.code is Code.INVALID_ARGUMENT


async def test_atomic_batch_is_all_or_nothing(host: Any, scope: CallScope) -> None:
    await host.set_variables(scope, [Write(name="b", value=1), Write(name="c", value="x")])
    for bad in (
        Write(name="b", value="no"),
        Write(name="b", value=5, expected_version=7),
        Write(name="b", value=object()),
    ):
        error = await _refusal(host.set_variables(scope, [Write(name="a", value=1), bad, Write(name="c", value="y")]))
        assert error.code in (Code.INVALID_ARGUMENT, Code.ABORTED)
        assert "b" in error.message
    found = await host.get_variables(scope, ["a", "b", "c"])
    assert {name: (one.value, one.version) for name, one in found.items()} == {"b": (1, 1), "c": ("x", 1)}


async def test_other_batch_tells_each_name_its_result(host: Any, scope: CallScope) -> None:
    await host.set_variables(scope, [Write(name="b", value=1)])
    writes = [
        Write(name="a", value=1),
        Write(name="b", value="no"),
        Write(name="c", value=1, expected_version=3),
        Write(name="d", value=object()),
        Write(name="bad name", value=1),
        Write(name="e", value=2),
    ]
    results = await host.set_variables(scope, writes, atomic=False)
    assert (results["a"], results["e"]) == (1, 1)
    refused = {name: (error.code, error.reason) for name, error in results.items() if isinstance(error, BridgeError)}
    assert refused["b"] == (Code.INVALID_ARGUMENT, "VALUE_REFUSED")
    assert refused["c"] == (Code.ABORTED, "VERSION_MISMATCH")
    assert refused["d"][0] is Code.INVALID_ARGUMENT
    assert refused["bad name"] == (Code.INVALID_ARGUMENT, "NAME_REFUSED")
    assert results["c"].details.metadata == {"name": "c", "current_version": "0"}
    assert [variable.name for variable in await host.list_variables(scope)] == ["a", "b", "e"]


@pytest.mark.parametrize("atomic", [True, False])
async def test_name_twice_in_a_batch_is_refused(host: Any, scope: CallScope, atomic: bool) -> None:
    writes = [Write(name="x", value=1), Write(name="x", value=2)]
    error = await _refusal(host.set_variables(scope, writes, atomic=atomic))
    assert error.code is Code.INVALID_ARGUMENT
    assert await host.list_variables(scope) == []


async def test_empty_batch_changes_nothing(host: Any, scope: CallScope) -> None:
    assert await host.set_variables(scope, []) == {}
    assert await host.set_variables(scope, [], atomic=False) == {}
    assert await host.get_variables(scope, []) == {}


async def test_missing_names_are_absent_and_bad_names_refused(host: Any, scope: CallScope) -> None:
    await host.set_variables(scope, [Write(name="x", value=1)])
    assert set(await host.get_variables(scope, ["x", "y", "x"])) == {"x"}
    for name in ("x" * 10_000, "a\0", ""):
        error = await _refusal(host.get_variables(scope, ["x", name]))
        assert error.reason == "NAME_REFUSED"
        error = await _refusal(host.set_variables(scope, [Write(name=name, value=1)]))
        assert error.reason == "NAME_REFUSED"
        error = await _refusal(host.register_variable(scope, declare(name, "integer", 1)))
        assert error.reason == "NAME_REFUSED"
        error = await _refusal(host.delete_variable(scope, name))
        assert error.reason == "NAME_REFUSED"


async def test_list_by_pattern_is_sorted(host: Any, scope: CallScope) -> None:
    writes = [Write(name=name, value=1) for name in ("model/b", "model/a", "temperature", "m")]
    await host.set_variables(scope, writes)

    async def names(pattern: str) -> list[str]:
        return [variable.name for variable in await host.list_variables(scope, pattern)]

    assert await names("") == ["m", "model/a", "model/b", "temperature"]
    assert await names("model/*") == ["model/a", "model/b"]
    assert await names("?") == ["m"]
    assert await names("none*") == []
    assert (await _refusal(host.list_variables(scope, "[a]"))).reason == "PATTERN_REFUSED"


async def test_delete_asks_for_the_version_if_told_to(host: Any, scope: CallScope) -> None:
    await host.set_variables(scope, [Write(name="x", value=1)])
    error = await _refusal(host.delete_variable(scope, "x", expected_version=2))
    assert error.reason == "VERSION_MISMATCH"
    await host.delete_variable(scope, "x", expected_version=1)
    error = await _refusal(host.delete_variable(scope, "x"))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "VARIABLE_NOT_FOUND")


async def test_variable_ends_by_itself(host: Any, scope: CallScope, clock: Any) -> None:
    await host.register_variable(scope, declare("r", "integer", 1, ttl=10.0))
    await host.set_variables(scope, [Write(name="w", value=1, ttl=10.0)])
    assert (await _get(host, scope, "w")).expires_at == clock.now + 10
    clock.advance(9.0)
    await host.set_variables(scope, [Write(name="r", value=2)])  # as before
    assert (await _get(host, scope, "r")).expires_at == clock.now + 1
    await host.set_variables(scope, [Write(name="w", value=2, ttl=10.0)])
    clock.advance(1.0)
    assert [variable.name for variable in await host.list_variables(scope)] == ["w"]
    assert await _get(host, scope, "r") is None
    assert (await _refusal(host.delete_variable(scope, "r"))).reason == "VARIABLE_NOT_FOUND"
    assert await host.set_variables(scope, [Write(name="r", value="again", expected_version=0)]) == {"r": 4}
    assert (await _get(host, scope, "r")).expires_at is None


@pytest.mark.parametrize("ttl", [0, -1.0, float("nan"), float("inf"), 1e300])
async def test_impossible_ttl_of_a_variable_is_refused(host: Any, scope: CallScope, ttl: float) -> None:
    for refused in (
        host.register_variable(scope, declare("x", "integer", 1, ttl=ttl)),
        host.set_variables(scope, [Write(name="x", value=1, ttl=ttl)]),
    ):
        error = await _refusal(refused)
        assert (error.code, error.violations[0].field) == (Code.INVALID_ARGUMENT, "ttl")


async def test_metadata_stays_until_it_is_given_again(host: Any, scope: CallScope) -> None:
    await host.set_variables(scope, [Write(name="x", value=1, metadata={"by": "hand"})])
    await host.set_variables(scope, [Write(name="x", value=2)])
    assert (await _get(host, scope, "x")).metadata == {"by": "hand"}
    batch = [Write(name=name, value=3, metadata={"step": "3"}) for name in ("x", "y")]
    await host.set_variables(scope, batch)
    assert (await _get(host, scope, "x")).metadata == {"step": "3"}
    writes = [Write(name="x", value=1, metadata={"k": "v" * 9000})]
    assert (await _refusal(host.set_variables(scope, writes))).details.metadata["limit"] == "max_metadata_bytes"


async def test_variable_tells_who_changed_it(host: Any, scope: CallScope, of: Any) -> None:
    tool = of("alice", scope.session_id, changed_by="tool:word_count")
    await host.set_variables(tool, [Write(name="x", value=1)])
    assert (await _get(host, scope, "x")).changed_by == "tool:word_count"
    await host.set_variables(scope, [Write(name="x", value=2)])
    assert (await _get(host, scope, "x")).changed_by == "client"


@pytest.mark.parametrize(
    "value",
    [[b"x"], {"a": float("nan")}, {1: "x"}, [numpy.zeros(2)], object(), {"a": {1, object()}}],
)
async def test_what_json_cannot_carry_is_refused(host: Any, scope: CallScope, value: Any) -> None:
    error = await _refusal(host.set_variables(scope, [Write(name="x", value=value)]))
    assert error.code is Code.INVALID_ARGUMENT
    assert error.violations[0].field.startswith("x")
    assert await _get(host, scope, "x") is None


@pytest.mark.parametrize(
    ("limits", "writes", "limit"),
    [
        ({"max_variables": 2}, [("a", 1), ("b", 1), ("c", 1)], "max_variables"),
        ({"max_variable_bytes": 1000}, [("a", b"x" * 1000)], "max_variable_bytes"),
        ({"max_session_bytes": 1000}, [("a", b"x" * 600), ("b", b"x" * 600)], "max_session_bytes"),
        ({"max_names_per_call": 2}, [("a", 1), ("b", 1), ("c", 1)], "max_names_per_call"),
    ],
)
async def test_quota_is_named_and_nothing_is_written(
    make_host: Any, of: Any, limits: dict[str, int], writes: list[tuple[str, Any]], limit: str
) -> None:
    host = await make_host(**limits)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    error = await _refusal(host.set_variables(scope, [Write(name=name, value=value) for name, value in writes]))
    assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
    assert error.details.metadata["limit"] == limit
    assert limit in error.message
    assert await host.list_variables(scope) == []
    await host.set_variables(scope, [Write(name="a", value=1)])


async def test_too_many_names_in_a_read_are_refused(make_host: Any, of: Any) -> None:
    host = await make_host(max_names_per_call=2)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    error = await _refusal(host.get_variables(scope, ["a", "b", "c"]))
    assert error.details.metadata["limit"] == "max_names_per_call"


async def test_quota_is_given_back(make_host: Any, of: Any, clock: Any) -> None:
    host = await make_host(max_variables=2, max_session_bytes=1000)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    await host.set_variables(
        scope, [Write(name="a", value=b"x" * 500, ttl=5.0), Write(name="b", value=1, ttl=5.0)], atomic=False
    )
    assert (await _refusal(host.set_variables(scope, [Write(name="c", value=1)]))).code is Code.RESOURCE_EXHAUSTED
    await host.set_variables(scope, [Write(name="a", value=b"x" * 600)])
    clock.advance(5.0)  # both are over, though nobody has swept them away
    await host.set_variables(scope, [Write(name="c", value=b"x" * 800)])
    await host.delete_variable(scope, "c")
    await host.set_variables(scope, [Write(name="d", value=b"x" * 800)])


async def test_text_counts_by_its_bytes(make_host: Any, of: Any) -> None:
    host = await make_host(max_variable_bytes=600)
    scope = of("alice", (await host.open_session(of("alice"))).session_id)
    choices = Constraints(choices=("a", "\N{CJK UNIFIED IDEOGRAPH-6F22}" * 300))
    error = await _refusal(host.register_variable(scope, declare("x", "choice", "a", constraints=choices)))
    assert error.details.metadata["limit"] == "max_variable_bytes"
    assert error.code is Code.RESOURCE_EXHAUSTED
