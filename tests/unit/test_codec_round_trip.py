"""Every row of the table comes back as the table says."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st

from bridge.codec import decode, encode, pack, register_message
from bridge.errors import BridgeError
from tests.unit.codec_values import (
    QUICK,
    carried,
    datetimes,
    decimals,
    integers,
    json_values,
    same,
    text,
    timedeltas,
    url,
    values,
)


class Color(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.StrEnum):
    FAST = "fast"


class Sub(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not the text"


@QUICK
@given(values)
def test_every_value_comes_back_the_same(value: Any) -> None:
    assert same(carried(value), value)


@QUICK
@given(st.lists(json_values) | st.dictionaries(text, json_values))
def test_what_json_carries_exactly_goes_as_json(value: Any) -> None:
    assert url(value) == "bridge.v1.Json"
    assert same(carried(value), value)


@QUICK
@given(st.none() | st.booleans() | integers | st.floats() | text | st.binary() | decimals)
def test_scalars_come_back_the_same(value: Any) -> None:
    assert same(carried(value), value)


@QUICK
@given(datetimes)
def test_aware_datetimes_come_back_in_utc(value: datetime) -> None:
    assert carried(value) == value
    east = value.replace(tzinfo=timezone(timedelta(hours=5, minutes=30)))
    if value.year > 1:
        back = carried(east)
        assert back == east
        assert back.tzinfo is UTC


@QUICK
@given(timedeltas)
def test_timedeltas_come_back_the_same(value: timedelta) -> None:
    assert carried(value) == value


def test_the_type_of_a_number_is_kept() -> None:
    for value in (1, 1.0, True, [1, 1.0, True], {"a": 1, "b": 1.0, "c": True}, [b"", 1, 1.0, True], [-0.0, 0.0, 0]):
        assert same(carried(value), value)


@pytest.mark.parametrize(
    ("value", "expected", "name"),
    [
        (bytearray(b"ab"), b"ab", "google.protobuf.BytesValue"),
        (memoryview(b"abcd")[::2], b"ac", "google.protobuf.BytesValue"),
        ((1, 2), [1, 2], "bridge.v1.Json"),
        ((1, (2, b"x")), [1, [2, b"x"]], "bridge.v1.List"),
        ({3, 1, 2}, [1, 2, 3], "bridge.v1.Json"),
        (frozenset({b"b", b"a"}), [b"a", b"b"], "bridge.v1.List"),
        ({"rows": [(1, "a"), (2, "b")]}, {"rows": [[1, "a"], [2, "b"]]}, "bridge.v1.Json"),
        ({"f": math.inf}, {"f": math.inf}, "bridge.v1.Map"),
        ({1: "a", "b": 2}, {"b": 2, 1: "a"}, "bridge.v1.Map"),
        ({2**70: 1, Decimal("1.5"): 2, math.inf: 3, True: 4}, None, "bridge.v1.Map"),
        (OrderedDict(a=1), {"a": 1}, "bridge.v1.Json"),
        (MappingProxyType({"a": (1,)}), {"a": [1]}, "bridge.v1.Json"),
        (namedtuple("Pair", "x y")(1, 2), [1, 2], "bridge.v1.Json"),  # noqa: PYI024
        (Color.RED, "red", "google.protobuf.StringValue"),
        (Color.PAIR, [1, 2], "bridge.v1.Json"),
        (Level.LOW, 1, "google.protobuf.Int64Value"),
        (Mode.FAST, "fast", "google.protobuf.StringValue"),
        ([Level.LOW, Mode.FAST, Color.RED], [1, "fast", "red"], "bridge.v1.Json"),
        ({Mode.FAST: 1, Color.RED: 2}, {"fast": 1, "red": 2}, "bridge.v1.Json"),
        ({Level.LOW: "x"}, {1: "x"}, "bridge.v1.Map"),
        (Sub("text"), "text", "google.protobuf.StringValue"),
        ([Sub("text")], ["text"], "bridge.v1.Json"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001", "google.protobuf.StringValue"),
        (date(2020, 2, 29), "2020-02-29", "google.protobuf.StringValue"),
        (time(1, 2, 3, 4), "01:02:03.000004", "google.protobuf.StringValue"),
        (PurePosixPath("/a/b"), "/a/b", "google.protobuf.StringValue"),
        (PureWindowsPath("a/b"), "a\\b", "google.protobuf.StringValue"),
        ({"id": UUID(int=1), "day": date(2020, 1, 1)}, None, "bridge.v1.Json"),
        (np.float32(1.5), 1.5, "google.protobuf.DoubleValue"),
        (np.float64("nan"), math.nan, "google.protobuf.DoubleValue"),
        (np.int8(-3), -3, "google.protobuf.Int64Value"),
        (np.uint64(2**64 - 1), 2**64 - 1, "bridge.v1.BigNumber"),
        (np.bool_(True), True, "google.protobuf.BoolValue"),
        (np.str_("a"), "a", "google.protobuf.StringValue"),
        (np.bytes_(b"a"), b"a", "google.protobuf.BytesValue"),
        ({"n": np.float64(0.5), "i": np.int32(2)}, {"n": 0.5, "i": 2}, "bridge.v1.Json"),
    ],
)
def test_what_has_no_type_of_its_own_becomes_a_plain_value(value: Any, expected: Any, name: str) -> None:
    assert url(value) == name
    if expected is not None:
        assert same(carried(value), expected)


@pytest.mark.parametrize(
    "value",
    [
        [Decimal("1.1")],
        [b"a"],
        [math.nan],
        {"a": datetime(2020, 1, 1, tzinfo=UTC)},
        {"a": timedelta(1)},
        {1: 2},
        {"a": {1.5: b"x"}},
        {"": None, "k": [[], {}, [b""]]},
    ],
)
def test_what_a_json_encoder_would_convert_silently_is_kept(value: Any) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value)) != value
    assert same(carried(value), value)


def test_sets_that_cannot_be_sorted_keep_every_element() -> None:
    assert sorted(carried({1, "a"}), key=str) == [1, "a"]


def test_the_order_of_keys_is_kept_in_json_and_in_maps() -> None:
    names = [f"column {i * 7919 % 101}" for i in range(101)]
    assert list(carried(dict.fromkeys(names, 1))) == names
    assert list(carried(dict.fromkeys(names, b"x"))) == names


def test_encode_replaces_what_the_message_held_and_leaves_it_alone_on_refusal() -> None:
    message = pack("before")
    with pytest.raises(BridgeError):
        encode(object(), message)
    assert decode(message) == "before"
    encode(None, message)
    assert decode(message) is None


def test_messages_are_packed_as_themselves_and_decoded_when_registered() -> None:
    message = descriptor_pb2.FieldDescriptorProto(name="a field", number=3)
    packed = pack(message)
    with pytest.raises(BridgeError, match=r"google\.protobuf\.FieldDescriptorProto.*register_message"):
        decode(packed)
    assert register_message(descriptor_pb2.FieldDescriptorProto) is descriptor_pb2.FieldDescriptorProto
    assert decode(packed) == message
    assert decode(pack({"deep": [message]})) == {"deep": [message]}


@pytest.mark.parametrize("cls", [int, struct_pb2.Struct, timestamp_pb2.Timestamp, "not a class"])
def test_only_messages_without_a_meaning_of_their_own_can_be_registered(cls: Any) -> None:
    with pytest.raises(BridgeError):
        register_message(cls)


def test_a_packed_value_is_passed_through() -> None:
    inner = pack({"a": b"x"})
    assert pack(inner) == inner
    assert carried([inner, 1]) == [{"a": b"x"}, 1]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (empty_pb2.Empty(), None),
        (struct_pb2.Value(null_value=struct_pb2.NULL_VALUE), None),
        (wrappers_pb2.FloatValue(value=1.5), 1.5),
        (wrappers_pb2.UInt64Value(value=2**64 - 1), 2**64 - 1),
        (wrappers_pb2.Int32Value(value=-5), -5),
        (wrappers_pb2.UInt32Value(value=5), 5),
        (wrappers_pb2.StringValue(), ""),
        (wrappers_pb2.BytesValue(), b""),
        (wrappers_pb2.DoubleValue(), 0.0),
    ],
)
def test_every_wrapper_is_decoded(message: Any, expected: Any) -> None:
    packed = AnyMessage()
    packed.Pack(message)
    assert same(decode(packed), expected)


def test_structs_are_decoded_as_plain_values_with_floats() -> None:
    struct = struct_pb2.Struct()
    struct.update({"n": 5, "s": "x", "none": None, "b": True, "l": [1.5, {"deep": []}]})
    packed = AnyMessage()
    packed.Pack(struct)
    result = decode(packed)
    assert result == {"n": 5.0, "s": "x", "none": None, "b": True, "l": [1.5, {"deep": []}]}
    assert type(result["n"]) is float
    packed.Pack(struct_pb2.ListValue(values=[struct_pb2.Value(number_value=2)]))
    assert same(decode(packed), [2.0])


def test_any_prefix_of_a_type_url_is_accepted() -> None:
    packed = pack("x")
    packed.type_url = "example.com/types/google.protobuf.StringValue"
    assert decode(packed) == "x"
