"""Whatever bytes arrive, the answer is a value or a typed error with a path."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.codec import Limits, decode, pack
from bridge.codec.registry import READERS
from bridge.errors import BridgeError, Code
from bridge.v1.values_pb2 import BigNumber, Json, List, Map, Tensor
from tests.unit.codec_values import QUICK, values

TYPES = sorted(url.rpartition("/")[2] for url in READERS)
PREFIX = "type.googleapis.com/"


def packed(message: Message) -> AnyMessage:
    result = AnyMessage()
    result.Pack(message)
    return result


def json(document: bytes | str) -> AnyMessage:
    return packed(Json(document=document if isinstance(document, bytes) else document.encode()))


def refusal(message: AnyMessage, **limits: int) -> tuple[str, str, str]:
    """Reason, path and description."""
    with pytest.raises(BridgeError) as caught:
        decode(message, limits=Limits(**limits))
    assert caught.value.code is Code.INVALID_ARGUMENT
    (violation,) = caught.value.violations
    return caught.value.reason, violation.field, violation.description


def decodes_or_refuses(message: AnyMessage) -> None:
    try:
        decode(message)
    except BridgeError as error:
        refusal = error
    else:
        return
    assert refusal.code is Code.INVALID_ARGUMENT
    assert refusal.reason in {"VALUE_MALFORMED", "VALUE_REFUSED", "VALUE_TYPE_UNKNOWN"}
    assert refusal.violations[0].field.startswith("$")


@QUICK
@given(st.sampled_from(TYPES), st.binary(max_size=60))
@example("google.protobuf.StringValue", b"\n\x01\xff")
@example("bridge.v1.Json", b"\n\x01\xff")
def test_any_bytes_of_any_type_are_decoded_or_refused(name: str, data: bytes) -> None:
    decodes_or_refuses(AnyMessage(type_url=PREFIX + name, value=data))


@QUICK
@given(values, st.data())
def test_damaged_values_are_decoded_or_refused(value: Any, data: st.DataObject) -> None:
    message = pack([value, b""])
    raw = bytearray(message.value)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    decodes_or_refuses(AnyMessage(type_url=message.type_url, value=bytes(raw)))
    decodes_or_refuses(AnyMessage(type_url=message.type_url, value=message.value[: len(raw) // 2]))


@QUICK
@given(st.text(max_size=300))
def test_any_type_url_is_known_or_refused(url: str) -> None:
    decodes_or_refuses(AnyMessage(type_url=url.encode("utf-8", "ignore").decode(), value=b"x"))


@pytest.mark.parametrize("url", ["", "google.protobuf.StringValue", "x/", "x/google.protobuf.Any", "x/y" + "z" * 999])
def test_an_unknown_type_is_named_and_clipped(url: str) -> None:
    reason, path, description = refusal(AnyMessage(type_url=url))
    assert (reason, path) == ("VALUE_TYPE_UNKNOWN", "$")
    assert url.rpartition("/")[2][:100] in description
    assert len(description) < 300


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "VALUE_MALFORMED"),
        ("NaN", "VALUE_MALFORMED"),
        ("[Infinity]", "VALUE_MALFORMED"),
        ("[1,]", "VALUE_MALFORMED"),
        ("01", "VALUE_MALFORMED"),
        ("1 2", "VALUE_MALFORMED"),
        ("\ufeff1", "VALUE_MALFORMED"),
        ('"\\ud800"', "VALUE_MALFORMED"),
        (b'"\xff"', "VALUE_MALFORMED"),
        (b'"\xed\xa0\x80"', "VALUE_MALFORMED"),
        ("1e400", "VALUE_REFUSED"),
        ("9" * 4301, "VALUE_REFUSED"),
        ("[" * 65 + "]" * 65, "VALUE_REFUSED"),
        ('{"a":' * 65 + "1" + "}" * 65, "VALUE_REFUSED"),
        ("[" * 100_000, "VALUE_REFUSED"),
        ("[" * 100_000 + "]" * 100_000, "VALUE_REFUSED"),
        ('[{"[":' * 40_000, "VALUE_REFUSED"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_json_that_is_not_ours_is_refused(document: str, reason: str) -> None:
    assert refusal(json(document))[:2] == (reason, "$")


def test_json_at_the_limits_is_decoded() -> None:
    decode(json("[" * 64 + "]" * 64))
    assert decode(json("9" * 4300)) == 10**4300 - 1
    brackets = '"[[[[{{{{\\"[[\\\\"'
    assert decode(json("[" + ",".join([brackets] * 100) + "]")) == ['[[[[{{{{"[[\\'] * 100
    assert decode(json('{"a":1,"a":2}')) == {"a": 2}


@pytest.mark.parametrize(
    ("message", "reason", "path", "what"),
    [
        (timestamp_pb2.Timestamp(seconds=253_402_300_800), "VALUE_REFUSED", "$", "9999"),
        (timestamp_pb2.Timestamp(seconds=-62_135_596_801), "VALUE_REFUSED", "$", "years"),
        (timestamp_pb2.Timestamp(nanos=-1), "VALUE_MALFORMED", "$", "nanos"),
        (timestamp_pb2.Timestamp(nanos=1_000_000_000), "VALUE_MALFORMED", "$", "nanos"),
        (duration_pb2.Duration(seconds=315_576_000_001), "VALUE_REFUSED", "$", "10,000 years"),
        (duration_pb2.Duration(seconds=1, nanos=-1), "VALUE_MALFORMED", "$", "sign"),
        (duration_pb2.Duration(nanos=-1_000_000_000), "VALUE_MALFORMED", "$", "nanos"),
        (BigNumber(), "VALUE_MALFORMED", "$", "no number"),
        (BigNumber(integer=""), "VALUE_MALFORMED", "$", "digits"),
        (BigNumber(integer="+1"), "VALUE_MALFORMED", "$", "digits"),
        (BigNumber(integer="1_0"), "VALUE_MALFORMED", "$", "digits"),
        (BigNumber(integer="١"), "VALUE_MALFORMED", "$", "digits"),
        (BigNumber(integer="1\n"), "VALUE_MALFORMED", "$", "digits"),
        (BigNumber(integer="9" * 4301), "VALUE_REFUSED", "$", "4300 digits"),
        (BigNumber(decimal="NaN"), "VALUE_MALFORMED", "$", "decimal"),
        (BigNumber(decimal="1."), "VALUE_MALFORMED", "$", "decimal"),
        (BigNumber(decimal="1e1000000"), "VALUE_REFUSED", "$", "exponent"),
        (BigNumber(decimal="0e-99999999999999999999"), "VALUE_REFUSED", "$", "exponent"),
        (BigNumber(decimal="1e99999999999999999999"), "VALUE_REFUSED", "$", "exponent"),
        (BigNumber(decimal="1" * 4301), "VALUE_REFUSED", "$", "4300 digits"),
        (struct_pb2.Value(), "VALUE_MALFORMED", "$", "nothing"),
        (struct_pb2.Struct(fields={"a": struct_pb2.Value()}), "VALUE_MALFORMED", "$.a", "nothing"),
        (struct_pb2.ListValue(values=[{"null_value": 0}, {}]), "VALUE_MALFORMED", "$[1]", "nothing"),
        (List(items=[pack(1), AnyMessage()]), "VALUE_TYPE_UNKNOWN", "$[1]", "type_url is empty"),
        (List(items=[pack({"a": b""}), json("NaN")]), "VALUE_MALFORMED", "$[1]", "JSON"),
        (Map(fields={"when": packed(timestamp_pb2.Timestamp(nanos=-1))}), "VALUE_MALFORMED", "$.when", "nanos"),
        (Map(entries=[Map.Entry(key=pack(None), value=pack(1))]), "VALUE_MALFORMED", '$["entries[0].key"]', "key"),
        (Map(entries=[Map.Entry(key=pack([]), value=pack(1))]), "VALUE_REFUSED", '$["entries[0].key"]', "deep"),
        (Map(entries=[Map.Entry(key=pack([b""]), value=pack(1))]), "VALUE_REFUSED", '$["entries[0].key"]', "deep"),
        (Map(entries=[Map.Entry(key=pack(7), value=AnyMessage())]), "VALUE_TYPE_UNKNOWN", "$[7]", "type_url"),
        (
            Map(entries=[Map.Entry(key=pack(key), value=pack(1)) for key in (1, True)]),
            "VALUE_REFUSED",
            "$[bool]",
            "twice",
        ),
        (
            Map(fields={"a": pack(1)}, entries=[Map.Entry(key=pack("a"), value=pack(1))]),
            "VALUE_REFUSED",
            "$.a",
            "twice",
        ),
        (Tensor(dtype="object", data=b""), "VALUE_MALFORMED", "$", "element type"),
        (Tensor(dtype="<f4", shape=[1], data=bytes(4)), "VALUE_MALFORMED", "$", "element type"),
        (Tensor(dtype="float32", shape=[2], data=bytes(4)), "VALUE_MALFORMED", "$", "8 bytes"),
        (Tensor(dtype="float32", data=b""), "VALUE_MALFORMED", "$", "4 bytes"),
        (Tensor(dtype="float32", shape=[-1], data=bytes(4)), "VALUE_MALFORMED", "$", "dimension"),
        (Tensor(dtype="int8", shape=[2**40, 2**40], data=b""), "VALUE_MALFORMED", "$", "dimension"),
        (Tensor(dtype="int8", shape=[0, 2**30, 2**30], data=b""), "VALUE_MALFORMED", "$", "2 GiB"),
        (Tensor(dtype="int8", shape=[1] * 33, data=b"x"), "VALUE_MALFORMED", "$", "32 dimensions"),
        (Tensor(dtype="bool", shape=[2], data=b"\1\2"), "VALUE_MALFORMED", "$", "neither 0 nor 1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_that_break_their_own_rules_are_refused(message: Message, reason: str, path: str, what: str) -> None:
    found = refusal(packed(message))
    assert found[:2] == (reason, path)
    assert what in found[2]


def test_fractions_of_a_microsecond_are_cut_off() -> None:
    assert (
        decode(packed(timestamp_pb2.Timestamp(seconds=-1, nanos=999_999_999))).isoformat().endswith("59.999999+00:00")
    )
    assert decode(packed(duration_pb2.Duration(seconds=-1, nanos=-1999))).total_seconds() == -1.000001
    assert decode(packed(duration_pb2.Duration(nanos=999))).total_seconds() == 0


def wrapped(depth: int, innermost: AnyMessage) -> AnyMessage:
    for level in range(depth):
        innermost = packed(List(items=[innermost]) if level % 2 else Map(fields={"m": innermost}))
    return innermost


def test_levels_are_counted_across_maps_lists_json_and_structs() -> None:
    struct = struct_pb2.Struct()
    struct.update({"a": {"b": 1}})
    for innermost, own in ((pack(1), 0), (json("[[]]"), 2), (packed(struct), 2)):
        decode(wrapped(64 - own, innermost))
        reason, path, description = refusal(wrapped(65 - own, innermost))
        assert reason == "VALUE_REFUSED"
        assert "64 levels" in description
        assert path.startswith(("$[0].m[0].m", "$.m[0].m[0]"))


def test_smaller_limits_are_kept() -> None:
    assert decode(json("[1]"), limits=Limits(max_depth=1)) == [1]
    assert refusal(json("[[1]]"), max_depth=1)[0] == "VALUE_REFUSED"
    assert decode(pack(5), limits=Limits(max_depth=0)) == 5
    assert refusal(json("[]"), max_depth=0)[0] == "VALUE_REFUSED"
    assert refusal(packed(List()), max_depth=0)[0] == "VALUE_REFUSED"
    assert refusal(packed(struct_pb2.ListValue()), max_depth=0)[0] == "VALUE_REFUSED"
    assert refusal(pack(2**70), max_digits=20)[2] == "the number has more than 20 digits"
    assert decode(pack(-(10**20) + 1), limits=Limits(max_digits=20)) == 1 - 10**20
    assert refusal(json("[123456]"), max_digits=5)[2] == "a number has more than 5 digits"
    assert decode(json('["123456", 12345, 0.123456]'), limits=Limits(max_digits=5)) == ["123456", 12345, 0.123456]


def test_larger_limits_never_break_the_interpreter() -> None:
    reason = refusal(json("[" * 200_000 + "]" * 200_000), max_depth=1_000_000)[0]  # deeper than any C stack allows
    assert reason == "VALUE_REFUSED"
    assert refusal(packed(BigNumber(integer="9" * 5000)), max_digits=100_000)[0] == "VALUE_REFUSED"
    assert refusal(json("9" * 5000), max_digits=100_000)[0] == "VALUE_REFUSED"


def test_the_path_begins_where_the_caller_says() -> None:
    with pytest.raises(BridgeError) as caught:
        decode(packed(List(items=[AnyMessage()])), path="$.arguments.rows")
    assert caught.value.violations[0].field == "$.arguments.rows[0]"
