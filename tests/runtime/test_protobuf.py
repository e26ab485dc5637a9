"""The wire format by tables is protobuf's: the fields of its files, the same bytes, the same verdict on any bytes."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from google.protobuf import any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2  # noqa: F401
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as RealMessage
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2  # noqa: F401
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.runtime import tables
from bridge.runtime.protobuf import MAP, MAX_DEPTH, OPTIONAL, PLAIN, REPEATED, Field, Message, decode, encode, varint
from bridge.v1 import bridge_pb2, host_pb2, values_pb2  # noqa: F401
from tests.unit.codec_values import QUICK

MESSAGES = {
    message.name: message
    for value in vars(tables).values()
    for message in (value.values() if isinstance(value, dict) else [value])
    if isinstance(message, Message)
}
KINDS = {
    getattr(FieldDescriptor, "TYPE_" + kind.upper()): kind
    for kind in ("string", "bytes", "bool", "double", "float", "int32", "int64", "uint32", "uint64", "enum", "message")
}
NOT_COMPARED = {
    "google.protobuf.Empty",  # of a message without fields protobuf's parser takes fields with the number 0
    "google.rpc.BadRequest",  # the table has a part of the fields, so it cannot know that another one is damaged
    "google.rpc.BadRequest.FieldViolation",
}
names = st.sampled_from(sorted(MESSAGES.keys() - NOT_COMPARED))


def descriptor(name: str) -> Descriptor:
    found: Descriptor = Default().FindMessageTypeByName(name)
    return found


def real(name: str) -> type[RealMessage]:
    return GetMessageClass(descriptor(name))


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_table_has_the_fields_of_its_proto_file(message: Message) -> None:
    fields = {field.number: field for field in descriptor(message.name).fields}
    assert [field.number for field in message.fields] == sorted(message.by_number)
    if not message.name.startswith("google.rpc."):  # of these only what the bridge uses
        assert fields.keys() == message.by_number.keys()
    for field in message.fields:
        expected = fields[field.number]
        assert field.name == expected.name
        assert is_map(expected) == (field.form == MAP or field.message is tables.MAP_FIELD)
        assert expected.is_repeated == (field.form in (MAP, REPEATED))
        assert expected.has_presence == (field.form == OPTIONAL)
        if field.form == MAP:
            key, expected = expected.message_type.fields
            assert key.type == FieldDescriptor.TYPE_STRING
        assert field.kind == KINDS[expected.type]
        assert (field.message and field.message.name) == (expected.message_type and expected.message_type.full_name)


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_table_knows_of_a_oneof(message: Message) -> None:
    oneofs = [one for one in descriptor(message.name).oneofs if not one.name.startswith("_")]
    assert [[field.name for field in one.fields] for one in oneofs] == (
        [[field.name for field in message.fields]] if message.oneof else []
    )


def test_every_message_of_a_call_has_a_table() -> None:
    """Those that only clients and servers exchange have none."""
    missing = {
        name
        for file in (values_pb2, bridge_pb2)
        for name in (f"bridge.v1.{own}" for own in file.DESCRIPTOR.message_types_by_name)
        if name not in MESSAGES
    }
    assert missing == {
        f"bridge.v1.{own}" for own in ("ListToolsRequest", "GetServerInfoRequest", "GetServerInfoResponse", "Limits")
    }


SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=10),
    "bytes": st.binary(max_size=10),
    "bool": st.booleans(),
    "double": st.floats(allow_nan=False),
    "float": st.floats(allow_nan=False, width=32),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 127, 128, -1]),
    "uint32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "enum": st.just(0),
}


def fields_of(message: Message, depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    """Fields for ``encode``; no map has more than one entry, as the order of entries is nobody's."""

    def one(field: Field) -> st.SearchStrategy[Any]:
        item = SCALARS[field.kind] if field.message is None else fields_of(field.message, depth - 1)
        if field.form == REPEATED:
            return st.lists(item, max_size=3)
        return st.dictionaries(st.text(max_size=5), item, max_size=1) if field.form == MAP else item

    usable = [field for field in message.fields if field.message is None or depth > 0]
    chosen = st.fixed_dictionaries({}, optional={field.name: one(field) for field in usable})
    if message.oneof:
        return chosen.map(lambda fields: dict(list(fields.items())[:1]))
    return chosen


def fill(into: Any, fields: dict[str, Any], message: Message) -> None:
    """Does to a real message what ``encode`` is told."""
    for field in message.fields:
        value = fields.get(field.name)
        if value is None:
            continue
        if field.form == MAP:
            for key, item in value.items():
                if field.message is not None:
                    getattr(into, field.name)[key].SetInParent()
                    fill(getattr(into, field.name)[key], item, field.message)
                else:
                    getattr(into, field.name)[key] = item
        elif field.message is tables.MAP_FIELD:
            for item in value[:1]:
                fill(getattr(into, field.name)[item.get("key", "")], item.get("value", {}), tables.ANY)
        elif field.message is None:
            if field.form == REPEATED:
                getattr(into, field.name).extend(value)
            else:
                setattr(into, field.name, value)
        elif field.form == REPEATED:
            for item in value:
                fill(getattr(into, field.name).add(), item, field.message)
        else:
            getattr(into, field.name).SetInParent()
            fill(getattr(into, field.name), value, field.message)


@QUICK
@given(names.flatmap(lambda name: st.tuples(st.just(MESSAGES[name]), fields_of(MESSAGES[name]))))
def test_what_is_written_is_what_protobuf_writes(case: tuple[Message, dict[str, Any]]) -> None:
    message, fields = case
    if message is tables.MAP_VALUE:
        # As a map it always writes key and value of an entry; as the repeated message it is here, what is set.
        pairs = [{"key": item.get("key") or "k", "value": item.get("value", {})} for item in fields.get("fields", ())]
        fields = {**fields, "fields": pairs[:1]}
    into = real(message.name)()
    fill(into, fields, message)
    assert encode(message, fields) == into.SerializeToString(deterministic=True)


@QUICK
@given(names.flatmap(lambda name: st.tuples(st.just(MESSAGES[name]), fields_of(MESSAGES[name]))))
def test_what_is_written_is_read_again(case: tuple[Message, dict[str, Any]]) -> None:
    message, fields = case
    back = decode(message, encode(message, fields))
    assert back.keys() == {field.name for field in message.fields}
    again = encode(message, back)
    assert again == encode(message, fields)
    assert decode(message, again) == back


def plain(into: Any, message: Message) -> dict[str, Any]:
    """What ``decode`` should make of what a real message holds."""
    fields: dict[str, Any] = {}
    for field in message.fields:
        value = getattr(into, field.name)
        if field.form == MAP:
            fields[field.name] = {key: _plain_item(item, field) for key, item in value.items()}
        elif field.message is tables.MAP_FIELD:
            fields[field.name] = [{"key": key, "value": plain(item, tables.ANY)} for key, item in value.items()]
        elif field.form == REPEATED:
            fields[field.name] = [_plain_item(item, field) for item in value]
        elif field.form == OPTIONAL and not into.HasField(field.name):
            fields[field.name] = None
        else:
            fields[field.name] = _plain_item(value, field)
    return fields


def _plain_item(value: Any, field: Field) -> Any:
    return value if field.message is None else plain(value, field.message)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def agrees(message: Message, data: bytes) -> None:
    """Both refuse the bytes, or both read the same of them."""
    try:
        expected: Any = real(message.name).FromString(data)
    except DecodeError:
        with pytest.raises(ValueError):
            decode(message, data)
        return
    found = decode(message, data)
    if message is tables.MAP_VALUE:
        return  # here the order is kept, and an entry that comes twice comes twice
    assert same(found, plain(expected, message))


pieces = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from([0, 1, 2, 5]), st.binary(max_size=9), st.integers(0, 2**70)),
    max_size=5,
)


def piece(number: int, wire: int, content: bytes, value: int) -> bytes:
    """A field, well-formed, whatever its message thinks of it."""
    tag = bytes([number << 3 | wire])
    if wire == 0:
        return tag + varint(value)
    if wire == 2:
        return tag + bytes([len(content)]) + content
    return tag + content.ljust(9)[: 8 if wire == 1 else 4]


@QUICK
@given(names, pieces, st.binary(max_size=3))
def test_fields_of_any_number_and_type_are_read_as_protobuf_reads_them(
    name: str, fields: list[tuple[int, int, bytes, int]], junk: bytes
) -> None:
    data = b"".join(piece(*field) for field in fields)
    agrees(MESSAGES[name], data)
    agrees(MESSAGES[name], data + junk)


@QUICK
@given(names, st.binary(max_size=60))
@example("google.protobuf.StringValue", b"\n\x01\xff")
@example("google.protobuf.Int64Value", b"\x08" + b"\xff" * 9 + b"\x01")
@example("google.protobuf.Int64Value", b"\x08" + b"\xff" * 9 + b"\x7f")
@example("google.protobuf.Int64Value", b"\x08" + b"\xff" * 10 + b"\x01")
@example("google.protobuf.Int32Value", b"\x08\xff\xff\xff\xff\xff\x01")
@example("google.protobuf.BoolValue", b"\x08\x80\x80\x01")
@example("google.protobuf.BoolValue", b"\x08" + b"\x80" * 9 + b"\x02")
@example("google.protobuf.UInt64Value", b"\x08" + b"\xff" * 9 + b"\x7f")
@example("google.protobuf.StringValue", b"\x8a\x80\x80\x80\x80\x00\x01x")
@example("google.protobuf.StringValue", b"\x8a\x80\x80\x80\x80\x80\x00\x01x")
@example("google.protobuf.StringValue", b"\x0a\xff\xff\xff\xff\x0f")
@example("google.protobuf.StringValue", b"\x02\x00")
@example("google.protobuf.StringValue", b"\x1b\x1c")
@example("google.protobuf.StringValue", b"\x1b\x0a\x01x\x08\x01\x23\x24\x11" + bytes(8) + b"\x1c")
@example("google.protobuf.StringValue", b"\x1b\x24")
@example("google.protobuf.StringValue", b"\x1b")
@example("google.protobuf.StringValue", b"\x1c")
@example("google.protobuf.StringValue", b"\x0e")
@example("bridge.v1.Tensor", b"\x12\x02\x01\x80")
@example("bridge.v1.Tensor", b"\x10\x05\x12\x02\x06\x07")
@example("bridge.v1.BigNumber", b"\x0a\x011\x12\x012")
@example("bridge.v1.BigNumber", b"\x12\x012\x0a\x011")
@example("google.protobuf.Value", b"\x2a\x00\x1a\x01x")
@example("google.protobuf.Value", b"\x32\x04\x0a\x02\x08\x00\x32\x04\x0a\x02\x20\x01")
@example("google.protobuf.Value", b"\x2a\x02\x0a\x00\x32\x00\x2a\x00")
@example("bridge.v1.ExecuteToolResponse", b"\x12\x03\x0a\x01x\x12\x03\x12\x01y")
@example("bridge.v1.ExecuteToolRequest", b"\x22\x08\x0a\x01x\x12\x01y\x18\x01\x22\x06\x0a\x01z\x12\x01y")
@example("bridge.v1.ExecuteToolRequest", b"\x22\x08\x0a\x01x\x12\x01y\x1b\x1c")
@example("bridge.v1.ExecuteToolRequest", b"\x22\x08\x0a\x01x\x12\x01y\x10\x01")
@example("bridge.v1.SetVariablesResponse", b"\x18\x01")
@example("bridge.v1.Map.Entry", b"\x0a\x01\x08\x0a\x01\x00")
@example("bridge.v1.ExecuteToolRequest", b"\x1a\x00\x1a\x03\x0a\x01x\x22\x03\x12\x01y")
@example("bridge.v1.ExecuteToolRequest", b"\x1a\x0c\x12\x03\x0a\x01x\x12\x03\x12\x01y\x0a\x00")
def test_any_bytes_are_read_as_protobuf_reads_them(name: str, data: bytes) -> None:
    agrees(MESSAGES[name], data)


@QUICK
@given(names.flatmap(lambda name: st.tuples(st.just(MESSAGES[name]), fields_of(MESSAGES[name]))), st.data())
def test_damaged_messages_are_read_as_protobuf_reads_them(
    case: tuple[Message, dict[str, Any]], data: st.DataObject
) -> None:
    message, fields = case
    raw = bytearray(encode(message, fields))
    for _ in range(data.draw(st.integers(0, 2)) if raw else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    agrees(message, bytes(raw))
    agrees(message, bytes(raw[: data.draw(st.integers(0, len(raw)))]))


def nested(depth: int, *tags: bytes) -> bytes:
    """Messages inside one another, each with the next of the tags, over and over; the innermost is empty."""
    data = b""
    for level in range(depth):
        data = tags[level % len(tags)] + varint(len(data)) + data
    return data


@pytest.mark.parametrize("around", [-1, 0, 1, 2])
def test_messages_inside_one_another_are_read_as_deep_as_protobuf_does(around: int) -> None:
    lists = nested(MAX_DEPTH + around, b"\x32", b"\x0a")  # a Value in a ListValue in a Value
    structs = nested(MAX_DEPTH + around, b"\x2a", b"\x12", b"\x0a")  # a Value in an entry in a Struct
    for data in (lists, structs):
        for message in (tables.VALUE, tables.LIST_VALUE, tables.STRUCT):
            agrees(message, data)


def test_bytes_that_are_nested_without_end_are_refused() -> None:
    for message, data in (
        (tables.VALUE, b"\x1b" * 5000),
        (tables.VALUE, nested(5000, b"\x0a", b"\x32")),
        (tables.STRUCT, nested(5001, b"\x2a", b"\x12", b"\x0a")),
    ):
        agrees(message, data)
        with pytest.raises(ValueError, match=f"deeper than {MAX_DEPTH}"):
            decode(message, data)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", 5),
        ("string", b"x"),
        ("string", "\ud800"),
        ("bytes", "x"),
        ("int64", 2**63),
        ("int64", -(2**63) - 1),
        ("int64", "x"),
        ("int32", 2**31),
        ("uint32", -1),
        ("uint64", 2**64),
        ("double", "x"),
    ],
)
def test_what_a_field_cannot_hold_is_refused(kind: str, value: Any) -> None:
    for form, given_value in ((PLAIN, value), (OPTIONAL, value), (REPEATED, [value]), (MAP, {"k": value})):
        with pytest.raises((TypeError, ValueError, struct.error)):
            encode(Message("x", Field(1, "f", kind, form)), {"f": given_value})


def test_keys_of_maps_are_text() -> None:
    with pytest.raises(TypeError):
        encode(Message("x", Field(1, "f", "string", MAP)), {"f": {1: "x"}})


def test_minus_zero_is_not_the_default() -> None:
    message = tables.WRAPPERS["DoubleValue"]
    assert encode(message, {"value": 0.0}) == b""
    assert math.copysign(1, decode(message, encode(message, {"value": -0.0}))["value"]) == -1
