"""What a pool sends arrives as the same value of the same type, and nothing that could run as code is decoded."""

from __future__ import annotations

import contextlib
import json
import math
import pickle
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError, Code
from bridge.snakepit import messages
from bridge.snakepit.values import read_arguments, read_parameter, write_result

STRING = "type.googleapis.com/google.protobuf.StringValue"
JSON_VALUE = "type.googleapis.com/google.protobuf.Value"
FLOAT = "type.googleapis.com/snakepit.float"

# As Snakepit's Elixir client writes it: JSON under the URL of a StringValue.
RECORDED = (
    b"\n\x09session_1"
    b"\x12\x04echo"
    b"\x1a\x3d\n\x04text\x125\n/type.googleapis.com/google.protobuf.StringValue\x12\x02"
    b'""'
    b"\x1a\x41\n\x05count\x128\n/type.googleapis.com/google.protobuf.StringValue\x12\x05"
    b"90071"
    b'"\x22\n\x0ecorrelation_id\x12\x10sp-0123456789abc'
    b"2\x0d\n\x05image\x12\x04\x89PNG"
)


def read(value: bytes, url: str = STRING) -> Any:
    return read_parameter(url, value, "$.name")


def refusal(value: bytes, url: str = STRING) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        read(value, url)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.violations[0].field == "$.name"
    return caught.value


def same(left: Any, right: Any) -> bool:
    """Equal in type and value, down to the last item."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right)


def test_a_recorded_request_becomes_arguments() -> None:
    request = messages.ExecuteToolRequest.FromString(RECORDED)
    arguments = read_arguments(request.parameters, request.binary_parameters, request.metadata)
    assert arguments == {"text": "", "count": 90071, "image": b"\x89PNG"}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"null", None),
        (b"true", True),
        (b"false", False),
        (b"5", 5),
        (b"5.0", 5.0),
        (b"-0.0", -0.0),
        (b"9007199254740993", 2**53 + 1),
        (b"1" + b"0" * 30, 10**30),
        (b"1.0e-7", 1e-7),
        (b'"hello"', "hello"),
        (b'"5"', "5"),
        (b'"\\u00e9\\ud83d\\ude00"', "é😀"),
        ('"é😀"'.encode(), "é😀"),
        (b'{"a":[1,2.5,null,{"b":false}]}', {"a": [1, 2.5, None, {"b": False}]}),
        (b"[]", []),
        (b'"NaN"', "NaN"),
    ],
)
@pytest.mark.parametrize("url", [STRING, JSON_VALUE, "", "type.snakepit.bridge/json", "dspex.variables/any"])
def test_raw_json_is_read_whatever_its_type_says(document: bytes, expected: Any, url: str) -> None:
    assert same(read(document, url), expected)


@pytest.mark.parametrize(
    "text",
    ["", "hello", "5", "123456789", "1234567890", "true     ", "x" * 34, "9" * 49, "é" * 500, '{"a":1}', "[" * 90],
)
def test_a_packed_text_is_the_text_it_holds(text: str) -> None:
    packed = StringValue(value=text).SerializeToString()
    assert same(read(packed), text)


@given(st.text())
def test_any_packed_text_is_the_text_it_holds(text: str) -> None:
    assert same(read(StringValue(value=text).SerializeToString()), text)


def test_json_after_a_line_break_is_json() -> None:
    assert read(b"\n[1, 2]\n") == [1, 2]
    assert read(b"\n\t123456789", JSON_VALUE) == 123456789


@pytest.mark.parametrize(("text", "expected"), [("NaN", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf)])
def test_texts_that_stand_for_floats_are_floats_where_the_type_says_so(text: str, expected: float) -> None:
    document = json.dumps(text).encode()
    assert same(read(document, FLOAT), expected)
    assert same(read(document, STRING), text)


@pytest.mark.parametrize(
    "document",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[NaN]",
        b"hello",
        b"{",
        b"[1,]",
        b"01",
        b"1 2",
        b"\n\x05hel",
        b"\n\x05hello\n\x01x",
        b"\x0a\x02\xff\xfe",
        b'"\xff"',
        b"\x80\x04N.",
        b"\x83h\x02",
    ],
)
def test_what_is_neither_json_nor_a_packed_text_is_refused_with_its_path(document: bytes) -> None:
    assert refusal(document).reason == "VALUE_MALFORMED"


def test_no_bytes_are_a_text_only_where_the_type_says_text() -> None:
    assert refusal(b"", JSON_VALUE).reason == refusal(b"", "").reason == "VALUE_MALFORMED"


def test_an_empty_result_of_bytes_is_read_as_one() -> None:
    url, document, binary = write_result(b"")
    assert read_parameter(url, document, "$") == b"" == binary


def test_nothing_of_a_refused_value_stands_in_the_message() -> None:
    assert "secret" not in str(refusal(b"secret-token"))


def test_nesting_is_read_up_to_the_limit_and_refused_beyond() -> None:
    deep: Any = json.loads("[" * 64 + "]" * 64)
    assert read(b"[" * 64 + b"]" * 64) == deep
    assert refusal(b"[" * 65 + b"]" * 65).reason == "VALUE_REFUSED"
    assert refusal(b"[" * 100_000 + b"]" * 100_000).reason == "VALUE_REFUSED"


def test_integers_are_read_up_to_the_limit_of_digits_and_refused_beyond() -> None:
    assert read(b"9" * 4300) == int("9" * 4300)
    assert refusal(b"9" * 4301).reason == "VALUE_REFUSED"
    assert refusal(b"1e400").reason == "VALUE_REFUSED"


@pytest.mark.parametrize("kind", ["tensor", "embedding"])
def test_tensors_beside_pickled_data_are_refused(kind: str) -> None:
    metadata = b'{"shape":[2],"dtype":"float32","binary_format":"pickle"}'
    assert refusal(metadata, f"type.googleapis.com/snakepit.{kind}.binary").reason == "VALUE_REFUSED"


class Bomb:
    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize("form", ["pickle", "erlang_binary", "PICKLE", "anything"])
def test_bytes_that_want_to_be_more_than_bytes_are_refused(form: str) -> None:
    with pytest.raises(BridgeError) as caught:
        read_arguments({}, {"data": pickle.dumps(Bomb())}, {"binary_format:data": form})
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "VALUE_REFUSED")
    assert caught.value.violations[0].field == "$.data"


@pytest.mark.parametrize("metadata", [{}, {"binary_format:data": ""}, {"binary_format:data": "raw"}])
def test_bytes_arrive_as_they_were_sent(metadata: dict[str, str]) -> None:
    pickled = pickle.dumps(Bomb())
    assert read_arguments({}, {"data": pickled, "empty": b""}, metadata) == {"data": pickled, "empty": b""}


def test_a_name_that_comes_twice_is_refused() -> None:
    request = messages.ExecuteToolRequest(binary_parameters={"data": b"x"})
    request.parameters["data"].value = b"1"
    with pytest.raises(BridgeError, match=r"^INVALID_ARGUMENT: \$\.data: stands in parameters and"):
        read_arguments(request.parameters, request.binary_parameters, request.metadata)


def test_a_wrong_parameter_is_named() -> None:
    request = messages.ExecuteToolRequest()
    request.parameters["right"].value = b"1"
    request.parameters["not an identifier"].value = b"one"
    with pytest.raises(BridgeError) as caught:
        read_arguments(request.parameters, {}, {})
    assert caught.value.violations[0].field == '$["not an identifier"]'


def test_a_zero_copy_reference_stays_the_object_that_it_is() -> None:
    handle = {"__snakepit_zero_copy__": True, "kind": "arrow", "ref": "g2gB"}
    assert read(json.dumps(handle).encode()) == handle


FINITE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON_VALUES = st.recursive(
    FINITE | st.integers(-(10**400), 10**400),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_what_elixir_sends_comes_back_equal_in_type_and_value(value: Any) -> None:
    for document in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        received = read(document)
        assert same(received, value)
        url, back, binary = write_result(received)
        assert not binary
        assert same(read(back, url), value)
        assert same(json.loads(back), value)


@given(st.integers(0, 63), JSON_VALUES.filter(lambda value: not isinstance(value, (list, dict))))
def test_values_at_every_depth_come_back(depth: int, value: Any) -> None:
    for _ in range(depth):
        value = {"a": value}
    url, document, _ = write_result([value])
    assert same(read(document, url), [value])


@given(st.binary())
def test_bytes_of_any_kind_are_read_or_refused(value: bytes) -> None:
    for url in (STRING, JSON_VALUE, FLOAT, "", "x.binary"):
        with contextlib.suppress(BridgeError):
            read(value, url)
