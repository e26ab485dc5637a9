"""What tools return arrives in Elixir as exactly that, and what JSON cannot carry as the nearest thing it can."""

from __future__ import annotations

import array
import collections
import dataclasses
import enum
import json
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError, Code
from bridge.snakepit import messages
from bridge.snakepit.carrying import write_chunk
from bridge.snakepit.values import ResultRules, plain, write_result

PREFIX = "type.googleapis.com/snakepit."
WHEN = datetime(2024, 1, 2, 3, 4, 5)  # noqa: DTZ001 - tools return such


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(enum.StrEnum):
    ANN = "ann"


class Point(NamedTuple):
    x: int
    y: Any


@dataclasses.dataclass
class Box:
    content: Any


class Model(msgspec.Struct, tag="model", rename="camel"):
    first_name: str
    ratio: float = math.nan


class Person(pydantic.BaseModel):
    name: str
    home: Path


class Described:
    def __init__(self, **parts: Any) -> None:
        self._parts = parts

    def to_dict(self) -> dict[str, Any]:
        return self._parts


class Handle:
    def to_payload(self) -> dict[str, Any]:
        return {"__snakepit_zero_copy__": True, "ref": "g2gB"}


class Odd:
    def __str__(self) -> str:
        return "odd"


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Row(tuple[Any, ...]):
    __slots__ = ()


class Rows(list[Any]):
    pass


class Bag(frozenset[Any]):
    pass


class Scalar:
    def tolist(self) -> int:
        return 5


def mark(name: str) -> dict[str, Any]:
    return {"__ffi_unserializable__": True, "__type__": name}


@pytest.mark.parametrize(
    ("value", "kind", "document"),
    [
        (None, "null", b"null"),
        (True, "boolean", b"true"),
        (False, "boolean", b"false"),
        (0, "integer", b"0"),
        (-5, "integer", b"-5"),
        (2**53 + 1, "integer", b"9007199254740993"),
        (10**30, "integer", b"1" + b"0" * 30),
        (5.0, "float", b"5.0"),
        (-0.0, "float", b"-0.0"),
        (1e22, "float", b"1e22"),
        (math.nan, "float", b'"NaN"'),
        (math.inf, "float", b'"Infinity"'),
        (-math.inf, "float", b'"-Infinity"'),
        ("", "string", b'""'),
        ("None", "string", b'"None"'),
        ("é😀", "string", '"é😀"'.encode()),
        ({}, "map", b"{}"),
        ({"a": [1, 2.5, None]}, "map", b'{"a":[1,2.5,null]}'),
        ([], "list", b"[]"),
        ((1, (2, "x")), "list", b'[1,[2,"x"]]'),
        ({3, 1, 2}, "list", b"[1,2,3]"),
        (np.array([1.0, 2.0]), "list", b"[1.0,2.0]"),
        (np.int64(3), "integer", b"3"),
        (np.float64(1.5), "float", b"1.5"),
        (np.bool_(True), "boolean", b"true"),
        (WHEN, "string", b'"2024-01-02T03:04:05"'),
        (Decimal("1.10"), "string", b'"1.10"'),
    ],
)
def test_a_result_arrives_as_what_it_is(value: Any, kind: str, document: bytes) -> None:
    assert write_result(value) == (PREFIX + kind, document, b"")


# Contract of stock Snakepit's results, for callers that rely on them.
@pytest.mark.parametrize(
    ("value", "kind", "document"),
    [
        (None, "string", b'"None"'),
        (True, "boolean", b"true"),
        (5, "float", b"5.0"),
        (2**53 + 1, "float", b"9007199254740992.0"),
        (10**30, "float", b"1e30"),
        (1.5, "float", b"1.5"),
        (math.nan, "float", b'"NaN"'),
        (-math.inf, "float", b'"-Infinity"'),
        ("x", "string", b'"x"'),
        ({"a": [1, math.nan, None]}, "map", b'{"a":[1,null,null]}'),
        ([math.inf, {"n": 5}], "list", b'[null,{"n":5}]'),
        (b"x", "string", b"\"b'x'\""),
        (b"", "string", b"\"b''\""),
        ((1, 2), "string", b'"(1, 2)"'),
        ({1}, "string", b'"{1}"'),
        (np.array([1.0, 2.0]), "string", b'"[1. 2.]"'),
        (np.int64(3), "string", b'"3"'),
        (WHEN, "string", b'"2024-01-02 03:04:05"'),
        ([WHEN], "list", b'["2024-01-02T03:04:05"]'),
        (Odd(), "string", b'"odd"'),
        (Handle(), "map", b'{"__snakepit_zero_copy__":true,"ref":"g2gB"}'),
    ],
)
def test_a_result_by_the_rules_of_stock_arrives_as_stock_sends_it(value: Any, kind: str, document: bytes) -> None:
    assert write_result(value, ResultRules.STOCK) == (PREFIX + kind, document, b"")
    made = plain(value, ResultRules.STOCK)
    assert made == json.loads(document)
    assert write_result(made, ResultRules.STOCK)[1] == document, "twice changes no more than once"


def test_an_integer_beyond_floats_is_refused_by_the_rules_of_stock() -> None:
    with pytest.raises(BridgeError, match="--results exact"):
        write_result(10**400, ResultRules.STOCK)


@pytest.mark.parametrize("made", [bytes, bytearray, memoryview])
def test_bytes_travel_beside_the_document(made: Any) -> None:
    assert write_result(made(b"\x00\xff")) == (PREFIX + "null", b"null", b"\x00\xff")


def test_every_second_byte_of_a_view_is_copied() -> None:
    assert write_result(memoryview(b"abcd")[::2])[2] == b"ac"


def test_empty_bytes_are_a_result_without_a_document() -> None:
    # Elixir gives the bytes of what is no JSON to the caller: `""`, and not nil.
    assert write_result(b"") == (PREFIX + "binary", b"", b"")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, 2), [1, 2]),
        ({2, 1}, [1, 2]),
        (frozenset({"a"}), ["a"]),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array(5), 5),
        (np.array([1.0, math.nan]), [1.0, "NaN"]),
        (np.array([math.inf, 1], dtype=np.float32), ["Infinity", 1.0]),
        (np.array(["x", b"y"], dtype=object), ["x", mark("builtins.bytes")]),
        (np.float32(0.5), 0.5),
        (np.float64(-math.inf), "-Infinity"),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.str_("x"), "x"),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (array.array("i", [1, 2]), [1, 2]),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Name.ANN, "ann"),
        (WHEN, "2024-01-02T03:04:05"),
        (WHEN.replace(tzinfo=UTC), "2024-01-02T03:04:05+00:00"),
        (date(2024, 1, 2), "2024-01-02"),
        (time(3, 4), "03:04:00"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (PurePosixPath("/a/b"), "/a/b"),
        (Decimal("1.10"), "1.10"),
        (Decimal("NaN"), "NaN"),
        (Point(1, {2}), {"x": 1, "y": [2]}),
        (Box(Box(b"")), {"content": {"content": mark("builtins.bytes")}}),
        (Model("Ann"), {"type": "model", "firstName": "Ann", "ratio": "NaN"}),
        (Person(name="Ann", home=Path("/a")), {"name": "Ann", "home": "/a"}),
        (Described(a=(1, Described(b=2))), {"a": [1, {"b": 2}]}),
        (Handle(), {"__snakepit_zero_copy__": True, "ref": "g2gB"}),
        (MappingProxyType({"a": {1}}), {"a": [1]}),
        (collections.UserDict(a=1), {"a": 1}),
        (collections.OrderedDict(b=1, a=()), {"b": 1, "a": []}),
        ({Name.ANN: (), Color.RED: 1}, {"ann": [], "red": 1}),
        (Text("x"), "x"),
        (Whole(5), 5),
        (Real(2.5), 2.5),
        (Row((1, ())), [1, []]),
        (Rows([()]), [[]]),
        (Bag("a"), ["a"]),
        (Scalar(), 5),
        ([math.nan, math.inf, -math.inf], ["NaN", "Infinity", "-Infinity"]),
        ({"a": {"b": math.nan}}, {"a": {"b": "NaN"}}),
        (Odd(), mark(f"{__name__}.Odd")),
        (Odd, mark("builtins.type")),
        (timedelta(1), mark("datetime.timedelta")),
        (2 + 1j, mark("builtins.complex")),
        (bytearray(b"x"), mark("builtins.bytearray")),
        (memoryview(b"x"), mark("builtins.memoryview")),
        (Described, mark("builtins.type")),
        (Person, mark("pydantic._internal._model_construction.ModelMetaclass")),
        (len, mark("builtins.builtin_function_or_method")),
    ],
)
def test_what_json_has_no_form_for_becomes_the_nearest_it_has(value: Any, expected: Any) -> None:
    made = plain([value])
    assert made == [expected]
    assert json.loads(write_result({"a": value})[1]) == {"a": expected}
    assert type(made[0]) is type(expected) or isinstance(value, enum.Enum)  # one that equals its value may stay


def test_what_json_carries_exactly_is_handed_back_itself() -> None:
    for value in ({"a": [1, 2.5, None, {"b": "é"}]}, [1], "x", None, True, 10**30, 2.5, b"x", bytearray(b"x")):
        assert plain(value) is value


def test_the_object_that_is_made_leaves_the_tools_own_alone() -> None:
    value = {"a": [(1, math.nan)]}
    plain(value)
    assert isinstance(value["a"][0], tuple)


def failing(method: str) -> Any:
    def fail(self: object) -> None:
        raise RuntimeError("secret")

    return type("Failing", (), {method: fail, "isoformat": lambda self: "2024"})()


@pytest.mark.parametrize("method", ["model_dump", "to_dict", "_asdict", "tolist"])
def test_a_conversion_that_fails_leaves_it_to_the_next(method: str) -> None:
    assert plain([failing(method)]) == ["2024"]


def test_conversions_are_tried_in_the_order_of_snakepit() -> None:
    methods = ("model_dump", "to_dict", "_asdict", "tolist", "isoformat")
    for first in range(len(methods)):
        body = {name: (lambda self, name=name: [name]) for name in methods[first:]}
        assert plain(type("All", (), body)()) == [methods[first]]


def test_an_object_that_becomes_itself_is_marked() -> None:
    body = {"to_dict": lambda self: self, "__module__": "m"}
    assert plain([type("Self", (), body)()]) == [mark("m.Self")]


class Left:
    def to_dict(self) -> Any:
        return Right()


class Right:
    def to_dict(self) -> Any:
        return Left()


def test_objects_that_become_one_another_without_end_are_refused() -> None:
    with pytest.raises(BridgeError) as caught:
        plain([Left()])
    assert caught.value.reason == "UNSUPPORTED_VALUE"


def test_an_array_that_is_too_large_is_marked_before_it_becomes_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain([np.lib.stride_tricks.as_strided(np.zeros(1), (1001, 1000), (0, 0))]) == [mark("numpy.ndarray")]
    monkeypatch.setenv("SNAKEPIT_TOLIST_MAX_ELEMENTS", "4")
    assert plain([np.zeros(4)]) == [[0.0] * 4]
    assert plain([np.zeros((5, 1))]) == [mark("numpy.ndarray")]
    assert plain([array.array("b", b"1234")]) == [[49, 50, 51, 52]]
    assert plain([array.array("b", b"12345")]) == [mark("array.array")]
    nested = type("Nested", (), {"tolist": lambda self: [[1, 2, 3], [4, 5]], "__module__": "m"})
    assert plain([nested()]) == [mark("m.Nested")]


@pytest.mark.parametrize("setting", ["", "many", " 7 "])
def test_a_limit_of_elements_that_is_no_number_does_not_stop_results(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAKEPIT_TOLIST_MAX_ELEMENTS", setting)
    assert plain([np.zeros(7)]) == [[0.0] * 7]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({1: "a"}, "$[1]"),
        ({"rows": [{}, {None: 1}]}, "$.rows[1][NoneType]"),
        ({"a": {True: 1}}, "$.a[bool]"),
        ({"a": {b"k": 1}}, "$.a[bytes]"),
        ([{Level.HIGH: 1}], f"$[0][{__name__}.Level]"),
        ({"a": "\ud800"}, "$.a"),
        ("\ud800", "$"),
        ([Box({"\ud800": 1})], "$[0].content"),
        ({"n": [10**4300]}, "$.n[0]"),
        ({"n": -(10**4300)}, "$.n"),
        ({Color.RED: (), "red": 1}, "$.red"),
    ],
)
def test_what_has_no_form_at_all_is_refused_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(BridgeError) as caught:
        write_result(value)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "UNSUPPORTED_VALUE")
    assert caught.value.violations[0].field.startswith(path)


def test_a_key_that_is_not_text_says_what_to_do() -> None:
    with pytest.raises(BridgeError, match=r"key is of type int, .* use str\(key\)"):
        write_result({1: 2})


def nest(depth: int, innermost: Any) -> Any:
    for _ in range(depth):
        innermost = [innermost]
    return innermost


@pytest.mark.parametrize("innermost", [1, math.nan, np.zeros(0), {}])
def test_nesting_is_carried_up_to_the_limit_and_refused_beyond(innermost: Any) -> None:
    levels = 64 if isinstance(innermost, (int, float)) else 63
    assert write_result(nest(levels, innermost))[1].count(b"[") >= 63
    with pytest.raises(BridgeError, match="nested deeper than 64 levels"):
        write_result(nest(levels + 1, innermost))


def test_what_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.extend([value, value])
    with pytest.raises(BridgeError, match="holds itself"):
        write_result(value)


class Broken(collections.UserDict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("secret")


def test_a_value_that_cannot_be_read_is_refused_without_what_it_said() -> None:
    with pytest.raises(BridgeError, match="failed with RuntimeError") as caught:
        write_result(Broken())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, b""),
        ("", b""),
        ("héllo", "héllo".encode()),
        (Name.ANN, b"ann"),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"abcd")[::2], b"ac"),
        ({"n": 10**30}, b'{"n":1000000000000000000000000000000}'),
        ([1, (2,)], b"[1,[2]]"),
        (5, b"5"),
        (True, b"true"),
        (math.nan, b'"NaN"'),
        (WHEN, b'"2024-01-02T03:04:05"'),
        ({"a": 1j}, b'{"a":{"__ffi_unserializable__":true,"__type__":"builtins.complex"}}'),
    ],
)
def test_a_chunk_is_bytes_or_text_as_they_are_and_json_else(value: Any, data: bytes) -> None:
    assert write_chunk(value) == data


def test_a_chunk_of_text_that_utf8_cannot_carry_is_refused() -> None:
    with pytest.raises(BridgeError, match="lone surrogate at index 1"):
        write_chunk("a\udc80")


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.uuids()
    | st.complex_numbers()
    | st.sampled_from([Color.RED, Level.HIGH, Odd()]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Box, inner)
        | st.builds(Point, st.just(1), inner)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(ANYTHING.filter(lambda value: not isinstance(value, bytes)), st.sampled_from(ResultRules))
def test_whatever_a_tool_returns_is_json_and_stays_the_same_when_done_twice(value: Any, rules: ResultRules) -> None:
    document = write_result(value, rules)[1]
    made = json.loads(document, parse_constant=pytest.fail)
    again = plain(plain(value, rules), rules)
    assert json.loads(write_result(again, rules)[1]) == made


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        ({"n": 5}, b'\x08\x01\x12+\n type.googleapis.com/snakepit.map\x12\x07{"n":5}'),
        (None, b"\x08\x01\x12)\n!type.googleapis.com/snakepit.null\x12\x04null"),
        (b"\x89PNG", b"\x08\x01\x12)\n!type.googleapis.com/snakepit.null\x12\x04null2\x04\x89PNG"),
    ],
)
def test_a_reply_is_the_recorded_bytes(value: Any, recorded: bytes) -> None:
    reply = messages.ExecuteToolResponse(success=True)
    reply.result.type_url, reply.result.value, reply.binary_result = write_result(value)
    assert reply.SerializeToString(deterministic=True) == recorded
