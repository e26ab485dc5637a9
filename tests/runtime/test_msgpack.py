"""What one side writes the other reads: the codec in pure Python beside msgspec's."""

from __future__ import annotations

import enum
import math
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.runtime.msgpack import MAX_DEPTH, pack, unpack

KEYS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=40), st.binary(max_size=9)
)
SCALARS = KEYS | st.floats(allow_nan=False)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(KEYS, inner, max_size=20), max_leaves=60
)
LENGTHS = [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536]
EDGES = [
    sign * 2**bits + near for bits in (0, 5, 7, 8, 15, 16, 31, 32, 63, 64) for sign in (1, -1) for near in (-1, 0, 1)
]


@given(VALUES)
def test_what_is_written_is_read_by_msgspec(value: Any) -> None:
    assert typed(msgspec.msgpack.decode(pack(value))) == typed(value)


@given(VALUES)
def test_what_msgspec_writes_is_read(value: Any) -> None:
    data = msgspec.msgpack.encode(value)
    assert typed(unpack(data)) == typed(value)
    assert typed(unpack(memoryview(b"." + data)[1:])) == typed(value)
    assert typed(unpack(bytearray(data))) == typed(value)


def typed(value: Any) -> Any:
    """With the types, so that True is not 1."""
    if isinstance(value, dict):
        return {typed(key): typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value), value


@given(VALUES, st.data())
def test_what_is_cut_short_or_followed_by_more_is_refused(value: Any, data: st.DataObject) -> None:
    packed = pack(value)
    with pytest.raises(ValueError):
        unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])
    with pytest.raises(ValueError):
        unpack(packed + b"\0")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = unpack(data)
    except ValueError:
        return
    pack(value)


@pytest.mark.parametrize("length", LENGTHS)
def test_headers_are_as_short_as_msgspecs(length: int) -> None:
    for value in ("a" * length, b"a" * length, [None] * length, dict.fromkeys(range(length))):
        assert pack(value) == msgspec.msgpack.encode(value)


@pytest.mark.parametrize("number", [number for number in EDGES if -(2**63) <= number < 2**64])
def test_ints_are_as_short_as_msgspecs(number: int) -> None:
    assert pack(number) == msgspec.msgpack.encode(number)
    assert unpack(pack(number)) == number


@pytest.mark.parametrize("number", [-0.0, math.inf, -math.inf, math.nan, 5e-324])
def test_floats_keep_their_bits(number: float) -> None:
    assert pack(number) == msgspec.msgpack.encode(number)
    assert pack(unpack(pack(number))) == pack(number)


def test_short_floats_are_read() -> None:
    assert unpack(b"\xca\x3f\x00\x00\x00") == 0.5


class Point(NamedTuple):
    """A tuple of its own class."""

    x: int
    y: int


class Text(str):
    """Text of its own class."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Level(enum.IntEnum):
    """A number of its own class."""

    HIGH = 3


def test_derived_classes_are_written_as_their_base() -> None:
    class Table(dict[str, int]):
        pass

    value = [Point(1, 2), Text("text"), Level.HIGH, Table(a=1), bytearray(b"b"), memoryview(b"c"), (True, 1)]
    assert unpack(pack(value)) == [[1, 2], "text", 3, {"a": 1}, b"b", b"c", [True, 1]]


def test_every_memoryview_is_written_as_its_bytes() -> None:
    assert unpack(pack(memoryview(b"abcdef")[::2])) == b"ace"
    assert unpack(pack(memoryview(b"abcd").cast("H"))) == b"abcd"


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (2**64, ValueError, "65 bits"),
        (-(2**63) - 1, ValueError, "64"),
        ("\ud800", ValueError, "surrogates"),
        (object(), TypeError, "msgpack has no object"),
        ({1, 2}, TypeError, "msgpack has no set"),
        (1j, TypeError, "msgpack has no complex"),
    ],
)
def test_what_the_format_has_not_is_not_written(value: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        pack([value])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cut short"),
        (b"\xc1", "0xc1 begins no value"),
        (b"\xd4\x01a", "0xd4 begins no value"),
        (b"\xc7\x00\x01", "0xc7 begins no value"),
        (b"\xa2\xff\xff", "utf-8"),
        (b"\xc6\xff\xff\xff\xffabc", "cut short"),
        (b"\xdb\xff\xff\xff\xffabc", "cut short"),
        (b"\xdd\xff\xff\xff\xff\x00", "cut short"),
        (b"\xdf\xff\xff\xff\xff\x00", "cut short"),
        (b"\x81\x90\x01", "a key of a map"),
        (b"\x81\x01", "cut short"),
        (b"\xcd\x01", "cut short"),
        (b"\x01\x02", "1 bytes follow"),
    ],
)
def test_nonsense_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unpack(data)


@pytest.mark.parametrize(("open_", "shut"), [(b"\x91", b"\x00"), (b"\x81\x00", b"\x00")])
def test_depth_is_bounded(open_: bytes, shut: bytes) -> None:
    value = unpack(open_ * MAX_DEPTH + shut)
    assert pack(value) == open_ * MAX_DEPTH + shut
    with pytest.raises(ValueError, match="inside one another"):
        unpack(open_ * (MAX_DEPTH + 1) + shut)
    with pytest.raises(ValueError, match="inside one another"):
        pack([value])


def test_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="inside one another"):
        pack(value)
