"""Names, types and constraints of variables."""

from __future__ import annotations

import enum
import math
from typing import Any

import numpy
import pytest

from bridge.errors import BridgeError, Code
from bridge.variable_types import MAX_CHOICES, TYPES, check_constraints, check_value, infer_type
from bridge.variables import Constraints, check_name, check_version


class Color(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (True, "boolean"),
        (1, "integer"),
        (2**100, "integer"),
        (1.0, "float"),
        ("x", "string"),
        (Color.RED, "string"),
        (b"x", "bytes"),
        (bytearray(b"x"), "bytes"),
        (memoryview(b"x"), "bytes"),
        (None, "json"),
        ([1], "json"),
        ((1, 2), "json"),
        ({"a": 1}, "json"),
        (numpy.zeros(3), "tensor"),
        (numpy.int32(3), "integer"),
        (numpy.float32(0.5), "float"),
        (numpy.bool_(True), "boolean"),
    ],
)
def test_type_is_inferred_from_the_value(value: Any, type_: str) -> None:
    assert infer_type(value) == type_


@pytest.mark.parametrize(
    ("type_", "value", "held"),
    [
        ("integer", 7, 7),
        ("integer", numpy.int64(7), 7),
        ("float", 7, 7.0),
        ("float", numpy.float32(0.5), 0.5),
        ("string", Color.RED, "red"),
        ("boolean", numpy.bool_(False), False),
        ("choice", "a", "a"),
        ("json", {"a": [1, None]}, {"a": [1, None]}),
        ("embedding", (1, 2.5), [1.0, 2.5]),
        ("bytes", memoryview(b"ab"), b"ab"),
    ],
)
def test_value_is_held_as_the_type_says(type_: str, value: Any, held: Any) -> None:
    result = check_value("x", type_, value)
    assert result == held
    assert type(result) is type(held)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("integer", True),
        ("integer", 1.0),
        ("integer", "1"),
        ("float", True),
        ("float", 2**53 + 1),
        ("float", 10**400),
        ("float", "1.0"),
        ("string", b"x"),
        ("string", None),
        ("boolean", 1),
        ("boolean", "true"),
        ("choice", 1),
        ("json", b"x"),
        ("json", math.nan),
        ("json", numpy.zeros(2)),
        ("embedding", "12"),
        ("embedding", [1.0, "x"]),
        ("embedding", [True]),
        ("embedding", [math.inf]),
        ("embedding", numpy.zeros((2, 2))),
        ("embedding", numpy.array([math.nan])),
        ("embedding", numpy.array([1j])),
        ("tensor", [1.0]),
        ("tensor", numpy.array(["x"])),
        ("bytes", "x"),
        ("bytes", [1]),
    ],
)
def test_value_of_another_type_is_refused_by_kind(type_: str, value: Any) -> None:
    with pytest.raises(BridgeError) as refusal:
        check_value("temperature", type_, value)
    assert (refusal.value.code, refusal.value.reason) == (Code.INVALID_ARGUMENT, "VALUE_REFUSED")
    assert refusal.value.violations[0].field == "temperature"


@pytest.mark.parametrize(
    ("type_", "constraints", "fine", "bad"),
    [
        ("integer", Constraints(min=0), 0, -1),
        ("integer", Constraints(max=2**64), 2**64, 2**64 + 1),
        ("float", Constraints(min=0.0, max=2.0), 2.0, 2.0000001),
        ("float", Constraints(min=0.0), math.inf, math.nan),
        ("float", Constraints(max=0.0), -math.inf, math.nan),
        ("float", Constraints(max=1), 1, 2),
        ("string", Constraints(min_length=2), "éé", "é"),
        ("string", Constraints(max_length=1), "é", "ab"),
        ("string", Constraints(choices=("a", "b")), "b", "c"),
        ("choice", Constraints(choices=("a", "b")), "a", "A"),
        ("bytes", Constraints(min_length=1, max_length=2), b"ab", b"abc"),
        ("embedding", Constraints(dimensions=2), [1, 2], [1]),
        ("embedding", Constraints(dimensions=2), numpy.zeros(2), numpy.zeros(3)),
        ("tensor", Constraints(shape=(2, -1)), numpy.zeros((2, 7)), numpy.zeros((3, 7))),
        ("tensor", Constraints(shape=(2, -1)), numpy.zeros((2, 0)), numpy.zeros(2)),
    ],
)
def test_constraint_tells_good_from_bad(type_: str, constraints: Constraints, fine: Any, bad: Any) -> None:
    check_constraints(type_, constraints)
    check_value("x", type_, fine, constraints)
    with pytest.raises(BridgeError) as refusal:
        check_value("x", type_, bad, constraints)
    assert (refusal.value.code, refusal.value.reason) == (Code.INVALID_ARGUMENT, "CONSTRAINT_VIOLATED")


def test_refusal_never_shows_the_value() -> None:
    for type_, value in (("integer", "hunter2"), ("choice", "hunter2"), ("string", "hunter2hunter2")):
        constraints = Constraints(choices=("a",)) if type_ != "integer" else Constraints()
        with pytest.raises(BridgeError) as refusal:
            check_value("x", type_, value, constraints)
        assert "hunter2" not in refusal.value.message
        assert "x" in refusal.value.message
        assert "str" in refusal.value.message


@pytest.mark.parametrize(
    ("type_", "constraints", "field"),
    [
        ("string", Constraints(min=1), "min"),
        ("integer", Constraints(min_length=1), "min_length"),
        ("boolean", Constraints(choices=("a",)), "choices"),
        ("json", Constraints(dimensions=1), "dimensions"),
        ("bytes", Constraints(shape=(1,)), "shape"),
        ("integer", Constraints(min=2, max=1), "min"),
        ("bytes", Constraints(min_length=2, max_length=1), "min_length"),
        ("float", Constraints(min=math.nan), "min"),
        ("float", Constraints(max=True), "max"),
        ("float", Constraints(max="1"), "max"),  # type: ignore[arg-type]
        ("integer", Constraints(max=10**5000), "max"),
        ("string", Constraints(min_length=-1), "min_length"),
        ("string", Constraints(max_length=True), "max_length"),
        ("string", Constraints(choices=("\ud800",)), "choices"),
        ("string", Constraints(choices=("a",) * (MAX_CHOICES + 1)), "choices"),
        ("choice", Constraints(), "choices"),
        ("choice", Constraints(choices=["a"]), "choices"),  # type: ignore[arg-type]
        ("choice", Constraints(choices=("a",), pattern="a"), "pattern"),
        ("bytes", Constraints(pattern="a"), "pattern"),
        ("string", Constraints(pattern=None), "pattern"),  # type: ignore[arg-type]
        ("string", Constraints(choices=None), "choices"),  # type: ignore[arg-type]
        ("tensor", Constraints(shape=(-2,)), "shape"),
        ("tensor", Constraints(shape=()), "shape"),
        ("float", Constraints(min=numpy.zeros(2)), "min"),  # type: ignore[arg-type]
        ("tensor", Constraints(shape=(1,) * 65), "shape"),
        ("embedding", Constraints(dimensions=-1), "dimensions"),
    ],
)
def test_constraints_that_make_no_sense_are_refused(type_: str, constraints: Constraints, field: str) -> None:
    with pytest.raises(BridgeError) as refusal:
        check_constraints(type_, constraints)
    assert (refusal.value.code, refusal.value.reason) == (Code.INVALID_ARGUMENT, "CONSTRAINTS_REFUSED")
    assert refusal.value.violations[0].field == f"constraints.{field}"


def test_unknown_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BridgeError, match="embedding") as refusal:
        check_constraints("module", Constraints())
    assert refusal.value.reason == "TYPE_REFUSED"
    assert len(TYPES) == 9


@pytest.mark.parametrize("name", ["x", "a.b:c/d-e_1", "9", "-", "x" * 256])
def test_name_of_allowed_characters_passes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "x" * 257, "x" * 10_000, "a b", "a\n", "a\0", "é", "*", "\ud800", 7, None])
def test_other_names_are_refused(name: Any) -> None:
    with pytest.raises(BridgeError) as refusal:
        check_name(name)
    assert refusal.value.reason == "NAME_REFUSED"
    assert len(refusal.value.message) < 200


@pytest.mark.parametrize("version", [-1, 2**63, True, 1.0, "1"])
def test_impossible_version_is_refused(version: Any) -> None:
    with pytest.raises(BridgeError) as refusal:
        check_version(version)
    assert refusal.value.code is Code.INVALID_ARGUMENT
