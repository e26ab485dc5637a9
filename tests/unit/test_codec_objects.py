"""Instances of typed classes go as the JSON object of their fields, or field by field where JSON would change one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import numpy as np
import pydantic
import pytest

from bridge.codec import pack
from bridge.errors import BridgeError
from tests.unit.codec_values import carried, same, url


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    id: UUID
    at: datetime
    amount: Decimal
    blob: bytes
    points: list[Point]


@dataclass
class Loose:
    value: Any
    hidden: Any = field(default=None, compare=False)


@dataclass(eq=False)
class Identity:
    value: int


@dataclass
class Picky:
    value: int

    def __post_init__(self) -> None:
        if self.value > 1:
            raise ValueError("too large")


class Shape(msgspec.Struct, tag="shape", rename="camel"):
    side_length: float
    extra: Any | msgspec.UnsetType = msgspec.UNSET


class Row(TypedDict):
    a: int


class Person(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(default=0, alias="years")
    password: str = pydantic.Field(default="", exclude=True)
    notes: Any = None

    model_config = pydantic.ConfigDict(extra="allow", arbitrary_types_allowed=True, populate_by_name=True)


def test_exact_objects_go_as_json() -> None:
    record = Record(UUID(int=1), datetime(2020, 1, 1, tzinfo=UTC), Decimal("1.10"), b"ab", [Point(1.0)])
    for value in (Point(1.5), record, Shape(1.0), Row(a=1), Person(name="a"), Identity(1), Loose({"a": [1, None]})):
        assert url(value) == "bridge.v1.Json"
        assert url([value]) == "bridge.v1.Json"
    assert carried(Point(1.5)) == {"x": 1.5, "y": 0.0}
    assert msgspec.convert(carried(record), Record) == record
    assert carried(Shape(1.0)) == {"type": "shape", "sideLength": 1.0}
    assert carried({"rows": [Point(1.0), Person(name="a")]})["rows"][0] == {"x": 1.0, "y": 0.0}
    assert carried(Person(name="a", age=3)) == {"name": "a", "years": 3, "notes": None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Point(math.nan), {"x": math.nan, "y": 0.0}),
        (Loose(b"x"), {"value": b"x", "hidden": None}),
        (Loose(1, math.nan), {"value": 1, "hidden": math.nan}),
        (Loose(Decimal("1.5")), {"value": Decimal("1.5"), "hidden": None}),
        (Shape(1.0, b"x"), {"type": "shape", "sideLength": 1.0, "extra": b"x"}),
        (Shape(math.inf), {"type": "shape", "sideLength": math.inf}),
        (Person(name="a", notes=b"\xff"), {"name": "a", "age": 0, "notes": b"\xff"}),
        (
            Person.model_validate({"name": "a", "more": b"\xff"}),
            {"name": "a", "age": 0, "notes": None, "more": b"\xff"},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_objects_json_would_change_go_field_by_field(value: Any, expected: Any) -> None:
    assert url(value) == "bridge.v1.Map"
    assert same(carried(value), expected)


def test_objects_hold_arrays() -> None:
    result = carried([Loose(np.arange(3))])
    assert result[0]["value"].tolist() == [0, 1, 2]


def test_the_value_of_a_field_counts_and_not_only_its_annotation() -> None:
    class Odd(msgspec.Struct):
        number: int

    assert same(carried(Odd(True)), {"number": True})  # type: ignore[arg-type]
    assert same(carried(Odd("text")), {"number": "text"})  # type: ignore[arg-type]
    assert carried(Loose((1, 2))) == {"value": [1, 2], "hidden": None}


def test_a_class_that_cannot_be_built_from_its_fields_is_carried_all_the_same() -> None:
    odd = Picky(1)
    odd.value = 5
    assert carried(odd) == {"value": 5}

    @dataclass
    class Unresolved:
        value: Missing  # type: ignore[name-defined]  # noqa: F821

    assert carried(Unresolved(1)) == {"value": 1}


def test_excluded_and_secret_fields_stay_at_home() -> None:
    class Account(pydantic.BaseModel):
        key: pydantic.SecretStr

    assert "password" not in carried(Person(name="a", password="p", notes=b"\xff"))
    with pytest.raises(BridgeError, match=r"\$\.key.*SecretStr"):
        pack(Account(key=pydantic.SecretStr("p")))
    with pytest.raises(BridgeError, match="type"):
        pack(Person)
