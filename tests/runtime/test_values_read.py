"""Whatever bytes arrive in a plugin, they are read or refused as in the bridge."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import example, given
from hypothesis import strategies as st

from bridge import codec
from bridge.codec import pack
from bridge.runtime.errors import BridgeError
from bridge.runtime.values import from_any, to_any
from bridge.v1 import values_pb2
from tests.support.twin_values import PREFIX, agrees, document, outcomes
from tests.unit.codec_values import QUICK, json_values, same, values

TYPES = sorted(url.rpartition("/")[2] for url in codec.api.BUILT_IN)


@QUICK
@given(st.sampled_from(TYPES), st.binary(max_size=60))
@example("google.protobuf.StringValue", b"\n\x01\xff")
@example("bridge.v1.Json", b"\n\x01\xff")
@example("bridge.v1.Json", b"\n\x02-0")
@example("bridge.v1.Json", b"\n\x04\x0b[1]")
@example("google.protobuf.DoubleValue", b"\n\x07" + bytes(7))
@example("google.protobuf.Duration", b"\x08" + b"\xff" * 9 + b"\x01\x10\x01")
@example("google.protobuf.Duration", b"\x08\x01\x10" + b"\xff" * 9 + b"\x01")
@example("google.protobuf.BoolValue", b"\x08\x05")
@example("google.protobuf.BoolValue", b"\x08\x01\x08\x00")
@example("bridge.v1.Map", b"\n\x05\n\x01a\x18\x01")
def test_any_bytes_of_any_type_are_read_or_refused_as_by_the_bridge(name: str, data: bytes) -> None:
    if name != "google.protobuf.Empty":  # of which protobuf's parser takes fields with the number 0
        agrees(AnyMessage(type_url=PREFIX + name, value=data))


@QUICK
@given(values, st.data())
def test_damaged_values_are_read_or_refused_as_by_the_bridge(value: Any, data: st.DataObject) -> None:
    packed = pack([value, b""])
    raw = bytearray(packed.value)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    agrees(AnyMessage(type_url=packed.type_url, value=bytes(raw)))
    agrees(AnyMessage(type_url=packed.type_url, value=packed.value[: len(raw) // 2]))


@QUICK
@given(st.text(max_size=300))
def test_any_type_url_is_known_or_refused_as_by_the_bridge(type_url: str) -> None:
    agrees(AnyMessage(type_url=type_url.encode("utf-8", "ignore").decode(), value=b"x"))


@pytest.mark.parametrize(
    "type_url",
    ["", "google.protobuf.StringValue", "x/", "x/google.protobuf.Any", "x/y" + "z" * 999, "x/bridge.v1.List"],
)
def test_an_unknown_type_is_named_and_clipped(type_url: str) -> None:
    agrees(AnyMessage(type_url=type_url))
    if "List" not in type_url:
        with pytest.raises(BridgeError) as caught:
            from_any(type_url, b"")
        assert type_url.rpartition("/")[2][:100] in caught.value.message
        assert len(caught.value.message) < 300


tokens = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', '"a"', "1", "-1", "0", "01", "-0", "1.5", "1e5", "1E+400", "-1e999", ".5", "1.",
     "true", "false", "null", "NaN", "Infinity", "-Infinity", " ", "\n", "\t", "\x0b", "\ufeff", "\\", "\\u0041", "\\n",
     "\\ud83d", "\\ude00", "\\uD83D\\uDE00", "\\ud83d\\n", "\\u00zz", "\\x", "é", "\x00", "\x1f", "\x7f",
     "tru", "-", "9" * 400,
     "e5"]
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        '"\\ud83d\\ude00"',
        '"\\ud83d"',
        '"\\\\ud83d"',
        '"\\\\\\ud83d"',
        '["\\\\", "\\ud83d\\ud83d\\ude00"]',
        '"\\uD83D\\n"',
        '{"a":1,"a":2}',
        "-0",
        "-0.0",
        "NaN",
        "[-Infinity]",
        "1e400",
        "[-1E+999]",
        "9" * 400 + ".0",
        "9" * 400 + "e-395",
        "9" * 4300,
        "9" * 4301,
        "[1,]",
        "01",
        "\ufeff1",
        "\ud800",
        "\x0b1",
        '"\x1f"',
        " \t\r\n1 ",
        "",
        "[" * 65 + "]" * 65,
        '{"a":' * 65 + "1" + "}" * 65,
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '[{"[":' * 40_000,
    ],
    ids=range(30),
)
def test_a_document_is_read_or_refused_as_by_the_bridge(text: str) -> None:
    agrees(document(text))


@QUICK
@given(st.lists(tokens, max_size=8).map("".join))
@example('"\\ud83d\\ude00"')
def test_any_document_is_read_or_refused_as_by_the_bridge(text: str) -> None:
    for packed in (document(text), document(f"[{text}]"), document(f'"{text}"')):
        found, expected = outcomes(packed)
        if found[0] == expected[0] == "refusal":
            # One with two mistakes is refused for one of them.
            found, expected = [found[1], found[3]], [expected[1], expected[3]]
        assert same(found, expected)


@QUICK
@given(json_values.map(lambda value: json.dumps(value, ensure_ascii=True, indent=1)), st.data())
def test_documents_of_other_writers_are_read_as_by_the_bridge(text: str, data: st.DataObject) -> None:
    agrees(document(text))
    raw = bytearray(text.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    agrees(document(bytes(raw)))


def test_integers_have_at_most_4300_digits_whatever_python_is_told() -> None:
    before = sys.get_int_max_str_digits()
    try:
        for limit in (0, 5000):
            sys.set_int_max_str_digits(limit)
            assert from_any(*to_any([10**4299])) == [10**4299]
            agrees(document("[" + "9" * 4301 + "]"))
            agrees(document('["' + "9" * 4301 + '",1.' + "9" * 4301 + "]"))
            with pytest.raises(BridgeError, match=r"\$\[0\].*4300 digits"):
                to_any([10**4300])
        sys.set_int_max_str_digits(700)
        for value in ("9" * 800, "[" + "9" * 800 + "]"):
            with pytest.raises(BridgeError) as caught:
                from_any("x/bridge.v1.Json", document(value).value)
            assert caught.value.reason == "VALUE_REFUSED"
        with pytest.raises(BridgeError):
            to_any([10**800])
    finally:
        sys.set_int_max_str_digits(before)


def wrapped(depth: int, innermost: AnyMessage) -> AnyMessage:
    for level in range(depth):
        made = values_pb2.List(items=[innermost]) if level % 2 else values_pb2.Map(fields={"m": innermost})
        innermost = AnyMessage()
        innermost.Pack(made)
    return innermost


def test_levels_are_counted_across_maps_lists_json_and_structs() -> None:
    struct = struct_pb2.Struct()
    struct.update({"a": {"b": 1}})
    packed = AnyMessage()
    packed.Pack(struct)
    for innermost, own in ((pack(1), 0), (document("[[]]"), 2), (packed, 2)):
        for depth in (63, 64, 65, 66):
            agrees(wrapped(depth - own, innermost))
