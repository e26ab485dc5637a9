"""Bytes written by hand are the bytes protobuf writes, and bytes read by hand are read as protobuf reads them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import struct_pb2, wrappers_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from bridge.codec import decode, pack
from bridge.codec.ordered_map import ordered_map
from bridge.codec.wire import LARGE, payload, trailing_field, varint
from bridge.errors import BridgeError
from bridge.runtime.json_structure import is_deeper
from bridge.v1 import values_pb2
from tests.unit.codec_values import QUICK, json_values, same, text, values

WRAPPERS = {
    bool: wrappers_pb2.BoolValue,
    int: wrappers_pb2.Int64Value,
    float: wrappers_pb2.DoubleValue,
    str: wrappers_pb2.StringValue,
    bytes: wrappers_pb2.BytesValue,
}
LENGTHS = [0, 1, 126, 127, 128, 129, 16383, 16384, LARGE + 1, LARGE + 2, LARGE + 3, 70_000, 2_200_000]


@QUICK
@given(st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300) | st.floats() | text | st.binary())
def test_scalars_have_the_bytes_protobuf_writes(value: Any) -> None:
    expected = AnyMessage()
    expected.Pack(WRAPPERS[type(value)](value=value))
    assert pack(value) == expected or value != value


@pytest.mark.parametrize("length", LENGTHS)
def test_payloads_of_every_length_are_written_and_read_as_protobuf_does(length: int) -> None:
    for value in ("x" * length, b"\xff" * length):
        packed = pack(value)
        assert packed.value == WRAPPERS[type(value)](value=value).SerializeToString()
        assert decode(packed) == value
    document = b'["%s"]' % (b"x" * length)
    packed = pack(["x" * length])
    assert packed.value == values_pb2.Json(document=document).SerializeToString()
    assert decode(packed) == ["x" * length]


def test_null_has_the_bytes_protobuf_writes() -> None:
    expected = AnyMessage()
    expected.Pack(struct_pb2.Value(null_value=struct_pb2.NULL_VALUE))
    assert pack(None) == expected


@QUICK
@given(st.dictionaries(st.integers() | text, values, max_size=2))
def test_a_map_in_order_is_the_map_of_the_contract(value: dict[Any, Any]) -> None:
    packed = pack({**value, "bytes": b""})
    assert packed.type_url.endswith("/bridge.v1.Map")
    message = values_pb2.Map.FromString(packed.value)
    back = {key: decode(item) for key, item in message.fields.items()}
    back |= {decode(entry.key): decode(entry.value) for entry in message.entries}
    expected = {**value, "bytes": b""}
    assert back.keys() == expected.keys()
    assert all(same(back[key], expected[key]) for key in expected)
    again = AnyMessage(type_url=packed.type_url, value=message.SerializeToString())
    assert decode(again).keys() == expected.keys()


def test_the_last_of_two_fields_with_one_name_wins_as_in_protobuf() -> None:
    message = ordered_map()()
    for item in (1, 2):
        message.fields.add(key="a").value.CopyFrom(pack(item))
    raw = message.SerializeToString()
    assert decode(values_pb2.Map.FromString(raw).fields["a"]) == 2
    assert decode(AnyMessage(type_url="x/bridge.v1.Map", value=raw)) == {"a": 2}


@QUICK
@given(st.binary(max_size=200), st.sampled_from([b"", b"\n", b"\n\x05", b"\x0a\x80\x80\x02"]), st.booleans())
def test_whatever_is_read_by_hand_is_read_so_by_protobuf(body: bytes, prefix: bytes, large: bool) -> None:
    data = prefix + body + (bytes(LARGE) if large else b"")
    by_hand = payload(data)
    if by_hand is not None:
        assert wrappers_pb2.BytesValue.FromString(data).value == by_hand


@QUICK
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 5]), st.binary(max_size=300)), max_size=6), st.binary(max_size=3))
def test_a_trailing_field_is_found_where_protobuf_finds_it(fields: list[tuple[int, bytes]], junk: bytes) -> None:
    data = b"".join(bytes([number << 3 | 2]) + varint(len(content)) + content for number, content in fields) + junk
    found = trailing_field(data, 0x1A)
    if found is None:
        return
    try:
        whole = values_pb2.Tensor.FromString(data)
        header = values_pb2.Tensor.FromString(data[: found[0]])
    except DecodeError:
        return  # a header that is not one is refused when it is parsed
    assert whole.data == data[found[1] :]
    assert (whole.dtype, whole.shape) == (header.dtype, header.shape)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@QUICK
@given(json_values, st.integers(0, 4), st.text(st.sampled_from('[]{}"\\a,:'), max_size=12))
def test_the_depth_of_a_document_is_that_of_its_value(value: Any, allowed: int, tricky: str) -> None:
    whole = {tricky: [tricky, value, {tricky: tricky}]}
    document = pack(whole)
    assert decode(document) == whole
    raw = values_pb2.Json.FromString(document.value).document
    assert is_deeper(raw, allowed) == (_depth(whole) > allowed)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("depth", [1, 63, 64, 65, 200])
def test_depth_is_told_of_short_and_of_long_documents(depth: int, long: bool) -> None:
    inside = b'"%b"' % (b"x" * 100_000 if long else b"[[[{{{")
    assert is_deeper(b"[" * depth + inside + b"]" * depth, 64) == (depth > 64)
    assert is_deeper(b'{"a":' * depth + inside + b"}" * depth, 64) == (depth > 64)
    assert not is_deeper(b"[" + b",".join([b"[{}]"] * 100 + [inside]) + b"]", 64)


@QUICK
@given(st.binary(max_size=300).map(lambda data: data.translate(bytes(b'[]{}"\\1,'[i % 8] for i in range(256)))))
def test_brackets_in_any_order_never_hurt(document: bytes) -> None:
    message = AnyMessage(type_url="x/bridge.v1.Json", value=values_pb2.Json(document=document).SerializeToString())
    try:
        decode(message)
    except BridgeError:
        pass
