"""Objects of classes travel from a plugin as they do from the bridge, and what cannot travel is refused as there."""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
import pydantic
import pytest
from google.protobuf import descriptor_pb2, struct_pb2

from bridge.codec import decode, pack
from bridge.errors import BridgeError as FullError
from bridge.runtime.errors import BridgeError
from bridge.runtime.values import from_any, to_any
from tests.support.twin_values import name, nested, read, written
from tests.unit.codec_values import same


class Mode(enum.StrEnum):
    FAST = "fast"


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass(frozen=True)
class Record:
    id: UUID
    at: datetime
    day: date
    amount: Decimal
    blob: bytes
    points: list[Point]
    spans: dict[str, timedelta]
    by_id: dict[UUID, str]
    maybe: bytes | None = None
    kind: Mode = Mode.FAST
    pair: tuple[int, bytes] = (1, b"x")
    tags: frozenset[str] = frozenset()


@dataclass
class Loose:
    value: Any
    hidden: Any = field(default=None, compare=False)


@dataclass
class Picky:
    value: int
    blob: bytes = b""

    def __post_init__(self) -> None:
        if self.value > 1:
            raise ValueError("too large")


@dataclass
class Meeting:
    at: datetime


@dataclass
class Holder:
    constant = 1
    items: list[bytes]


class Shape(msgspec.Struct, tag="shape", rename="camel"):
    side_length: float
    extra: Any | msgspec.UnsetType = msgspec.UNSET


class Person(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(default=0, alias="years")
    password: str = pydantic.Field(default="", exclude=True)
    notes: Any = None

    model_config = pydantic.ConfigDict(extra="allow", arbitrary_types_allowed=True, populate_by_name=True)


RECORD = Record(
    UUID(int=1), datetime(2020, 1, 1, tzinfo=UTC), date(2020, 2, 2), Decimal("1.10"), b"ab", [Point(1.0)],
    {"a": timedelta(1, 5, 6), "b": -timedelta(microseconds=1), "c": timedelta(0), "d": timedelta(hours=5)},
    {UUID(int=2): "two"},
)  # fmt: skip


def spoiled() -> Picky:
    odd = Picky(1, b"x")
    odd.value = 5
    return odd


OBJECTS = [
    Point(1.5),
    Point(math.nan),
    RECORD,
    dataclasses.replace(RECORD, maybe=b"z", at=datetime(2020, 1, 1, 5, 0, 0, 7, tzinfo=timezone(timedelta(hours=-3)))),
    Meeting(datetime(2020, 1, 1)),  # noqa: DTZ001 - as text it may be without a zone
    Meeting(datetime(2020, 1, 1, tzinfo=timezone(timedelta(seconds=30)))),
    dataclasses.replace(RECORD, tags=frozenset({"one"})),
    Loose({"a": [1, None]}),
    Loose(b"x"),
    Loose(1, math.nan),
    Loose(Decimal("1.5")),
    Loose((1, 2)),
    Loose({1: 2}),
    Loose(np.arange(3)),
    Loose([Point(1.0), RECORD]),
    Picky(1, b"x"),
    spoiled(),
    Holder([b"a", b""]),
    [Point(1.0), {"rows": [Point(1.0), RECORD]}],
    Shape(1.0),
    Shape(1.0, b"x"),
    Shape(math.inf),
    [Shape(2.0)],
    Person(name="a", age=3),
    Person(name="a", notes=b"\xff", password="p"),
    Person.model_validate({"name": "a", "more": b"\xff"}),
]  # fmt: skip


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_objects_go_as_they_go_from_the_bridge(value: Any) -> None:
    packed = pack(value)
    assert name(value) == packed.type_url.rpartition("/")[2]
    assert same(written(value), decode(packed))


def test_keys_of_an_object_that_are_no_text_stay_what_they_are() -> None:
    @dataclass
    class Numbered:
        names: dict[int, str]
        blob: bytes = b""

    assert written(Numbered({1: "one"}, b"x")) == {"names": {1: "one"}, "blob": b"x"}


def test_the_fields_of_a_dataclass_come_back_to_it() -> None:
    assert msgspec.convert(written(RECORD), Record) == RECORD


class Clash(enum.Enum):
    A = "a"


class Pandas(datetime):
    nanosecond = 7


class NotATime(datetime):
    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__


class Angry:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("secret")

    __hash__ = object.__hash__


class Lazy(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("secret")


class Secret:
    def __repr__(self) -> str:
        return "secret"

    __str__ = __repr__


NAIVE = datetime(2020, 1, 1)  # noqa: DTZ001
LOOP: list[Any] = []
LOOP.append({"a": LOOP})
BOX = Loose(None)
BOX.value = [BOX]


class Account(pydantic.BaseModel):
    key: pydantic.SecretStr


REFUSED = [
    object(),
    [Secret()],
    1j,
    np.complex128(1),
    np.longdouble(1),
    np.datetime64("2020-01-01"),
    {"rows": [1, {}, (), {"when": NAIVE}]},
    {"rows": [b"", {"f": print}]},
    {"a b": Secret()},
    {'"': {"": Secret()}},
    {"\ud800": 1},
    {"x" * 100: Secret()},
    {7: [Secret()]},
    {2**70: [Secret()]},
    {b"secret": Secret()},
    {None: 1},
    {(1, 2): 1},
    {datetime(2020, 1, 1, tzinfo=UTC): 1},
    {"a": 1, Clash.A: 2},
    "\ud800",
    {"s": ["ok", "é\udcff"]},
    10**4300,
    -(10**4300),
    [0, 10**4300],
    Decimal("nan"),
    [Decimal("-inf")],
    Decimal("1e1000000"),
    Decimal("0e-1000000"),
    Decimal("1" * 4301),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    Pandas(2020, 1, 1, tzinfo=UTC),
    NotATime(2020, 1, 1, tzinfo=UTC),
    timedelta.max,
    timedelta.min,
    np.array(["secret"]),
    {"x": [np.array([object()])]},
    np.array(["2020-01-01"], "M8[s]"),
    np.zeros(1, [("a", "i4")]),
    np.zeros(1, np.longdouble),
    np.ma.masked_array([1, 2], [True, False]),
    Loose(Secret()),
    [Shape(1.0, NAIVE)],
    Loose(Loose({"a": [Secret()]})),
    [Account(key=pydantic.SecretStr("p"))],
    Lazy(a=b""),
    [Angry()],
    Loose,
    len,
    (i for i in ()),
    PurePosixPath("\udcff"),
    LOOP,
    BOX,
    nested(65, 0),
    nested(65, b""),
    {"a": b"", "deep": nested(64, 1)},
    nested(100_000, 0),
    pa.array([1]),
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_the_bridge_refuses_is_refused_in_the_same_words(value: Any) -> None:
    with pytest.raises(FullError) as full:
        pack(value)
    with pytest.raises(BridgeError) as caught:
        to_any(value)
    error, expected = caught.value, full.value
    assert (int(error.code), error.reason) == (int(expected.code), expected.reason)
    assert [tuple(one) for one in error.violations] == [(v.field, v.description) for v in expected.violations] or (
        "cannot be carried" in error.message and error.message.partition(":")[0] == expected.message.partition(":")[0]
    )
    assert "secret" not in str(error)


def test_values_may_be_64_levels_deep() -> None:
    for innermost in (0, b"", math.nan):
        assert same(written(nested(64, innermost)), nested(64, innermost))
    to_any(nested(63, Loose(None)))
    to_any(nested(63, Loose(b"")))
    with pytest.raises(BridgeError, match="64 levels"):
        to_any(nested(64, Loose(None)))


def test_messages_are_refused_and_say_what_to_do() -> None:
    with pytest.raises(BridgeError, match=r"\$\.a: a protobuf message.*return a dict") as caught:
        to_any({"a": struct_pb2.Struct()})
    assert caught.value.reason == "UNSUPPORTED_VALUE"
    with pytest.raises(BridgeError, match="not known here") as caught:
        read(descriptor_pb2.FieldDescriptorProto(name="x"))
    assert caught.value.reason == "VALUE_TYPE_UNKNOWN"


def test_the_path_begins_where_the_caller_says() -> None:
    with pytest.raises(BridgeError) as caught:
        to_any([object()], "counter")
    assert caught.value.violations[0].field == "counter[0]"
    with pytest.raises(BridgeError) as caught:
        from_any("", b"", "counter")
    assert caught.value.violations[0].field == "counter"
