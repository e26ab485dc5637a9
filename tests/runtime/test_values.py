"""The values of plugins are those of the bridge: one codec reads what the other writes."""

from __future__ import annotations

import enum
import math
import subprocess
import sys
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bridge.runtime
from bridge.codec import decode, pack
from bridge.runtime.errors import BridgeError
from bridge.runtime.values import from_any, to_any
from tests.conformance.descriptions import build, describe
from tests.conformance.test_vectors import BOTH, ERRORS, VALUES, Case, cases, message, unordered
from tests.support.twin_values import name, read, written
from tests.unit.codec_values import LONGEST, QUICK, json_values, mixed_keys, same, text, url, values


@QUICK
@given(values)
def test_every_value_comes_and_goes_unchanged(value: Any) -> None:
    assert same(read(value), value)
    assert same(written(value), value)
    assert name(value) == url(value)


@QUICK
@given(json_values)
def test_what_json_carries_is_carried_by_json(value: Any) -> None:
    assert same(read(value), value)
    assert same(written(value), value)
    assert name(value) == url(value)


@QUICK
@given(
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats() | text | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False) | st.datetimes(timezones=st.just(UTC)) | st.timedeltas(
        -LONGEST, LONGEST
    )
)  # fmt: skip
def test_scalars_have_the_bytes_of_the_bridge(value: Any) -> None:
    packed = pack(value)
    assert to_any(value) == (packed.type_url, packed.value)


@QUICK
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | text
        | st.floats(-1e4, 1e4).map(lambda n: round(n, 2)),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
        max_leaves=8,
    )
    | mixed_keys.map(lambda keys: dict.fromkeys(keys, b"x"))
    | st.lists(st.binary(max_size=300) | st.integers(), max_size=4)
)
def test_containers_have_the_bytes_of_the_bridge(value: Any) -> None:
    packed = pack(value)
    assert to_any(value) == (packed.type_url, packed.value)


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 129, 16383, 16384, 20_000, 70_000, 2_200_000])
def test_payloads_of_every_length_have_the_bytes_of_the_bridge(length: int) -> None:
    for value in ("x" * length, b"\xff" * length, ["x" * length], {"k": b"x" * length}):
        packed = pack(value)
        assert to_any(value) == (packed.type_url, packed.value)
        assert from_any(packed.type_url, packed.value) == value


@cases(VALUES)
def test_the_bytes_of_a_vector_are_read(case: Case) -> None:
    packed = message(case)
    assert unordered(describe(from_any(packed.type_url, packed.value))) == unordered(case["value"])


@cases(BOTH)
def test_the_value_of_a_vector_is_written(case: Case) -> None:
    packed = message(case)
    value = build(case["value"])
    if packed.type_url.endswith("/bridge.v1.Json"):  # whose numbers have more than one form
        assert unordered(describe(written(value))) == unordered(case["value"])
    else:
        assert to_any(value) == (packed.type_url, packed.value)


@cases(ERRORS)
def test_a_damaged_vector_is_refused_with_code_reason_and_field(case: Case) -> None:
    packed = message(case)
    with pytest.raises(BridgeError) as caught:
        from_any(packed.type_url, packed.value)
    error = caught.value
    assert (error.code.name, error.reason) == (case["error"], case["reason"])
    assert [violation.field for violation in error.violations] == [case["field"]]


# Python's own types


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


class Number(int):
    def __repr__(self) -> str:
        return "not a number"


class Ordered(dict[str, Any]):
    pass


PYTHONIC = [
    bytearray(b"ab"),
    memoryview(b"abcd")[::2],
    memoryview(np.arange(3, dtype="i2")),
    (1, 2),
    (1, (2, b"x")),
    {3, 1, 2},
    {1000, -7, 33, 512},
    1 - 10**4300,
    frozenset({b"b", b"a"}),
    {"rows": [(1, "a"), (2, "b")]},
    {"f": math.inf},
    [math.nan, -0.0, 0.0, 0, True, 1.0, 1],
    {1: "a", "b": 2},
    {2**70: 1, Decimal("1.5"): 2, math.inf: 3, True: 4, b"x": 5},
    {"1": 1, 1: 2},
    OrderedDict(a=1, b=(2,)),
    Ordered(a=b"x"),
    MappingProxyType({"a": (1,)}),
    namedtuple("Pair", "x y")(1, 2),  # noqa: PYI024
    Color.RED,
    Color.PAIR,
    Level.LOW,
    Mode.FAST,
    [Level.LOW, Mode.FAST, Color.RED],
    {Mode.FAST: 1, Color.RED: 2},
    {Level.LOW: "x"},
    Sub("text"),
    [Sub("text")],
    {Sub("key"): Number(5)},
    Number(7),
    UUID(int=1),
    {UUID(int=1): 1},
    date(2020, 2, 29),
    time(1, 2, 3, 4),
    datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    {"when": datetime(2020, 1, 1, 1, 2, 3, 4, tzinfo=UTC), "long": -timedelta(3, 4, 5)},
    PurePosixPath("/a/b"),
    PureWindowsPath("a/b"),
    {"id": UUID(int=1), "day": date(2020, 1, 1), "path": PurePosixPath("x")},
    np.float32(1.5),
    np.float64("nan"),
    np.int8(-3),
    np.uint64(2**64 - 1),
    np.bool_(True),
    np.str_("a"),
    np.bytes_(b"a"),
    {"n": np.float64(0.5), "i": np.int32(2), "h": np.float16(1)},
    {"": None, "k": [[], {}, [b""]], "é\u2028\x7f\x00": "\U0001f600\\\"/\n"},
    [10**4299, -(10**4298), 2**64],
    [1e16, 1e22, 5e-324, 1.7976931348623157e308, -1e-7],
    "x" * 100_000,
    ["[{" * 50] * 100,
]  # fmt: skip


@pytest.mark.parametrize("value", PYTHONIC, ids=lambda value: type(value).__name__)
def test_what_has_no_type_of_its_own_becomes_what_it_becomes_in_the_bridge(value: Any) -> None:
    packed = pack(value)
    expected = decode(packed)
    assert name(value) == packed.type_url.rpartition("/")[2]
    assert same(written(value), expected)
    assert same(from_any(*to_any(value)), expected)
    assert same(read(value), expected)


def test_sets_that_cannot_be_sorted_keep_every_element() -> None:
    assert sorted(written({1, "a"}), key=str) == [1, "a"]


def test_the_order_of_keys_is_kept() -> None:
    names = [f"column {i * 7919 % 101}" for i in range(101)]
    for value in (1, b"x"):
        assert list(written(dict.fromkeys(names, value))) == names
        assert list(read(dict.fromkeys(names, value))) == names


def test_nothing_is_imported_that_takes_long_unless_such_a_value_comes() -> None:
    code = (
        "import sys, types; sys.modules['bridge'] = package = types.ModuleType('bridge');"
        f"package.__path__ = [{str(Path(bridge.runtime.__file__).parent)!r}];"
        "from bridge.values import from_any, to_any; import bridge.calls, bridge.status, bridge.host_messages;"
        "from_any(*to_any({'a': [1, b'x', float('nan')]}));"
        "print(sorted({'asyncio', 'dataclasses', 'decimal', 'inspect', 'numpy', 'pathlib', 'uuid'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-ISc", code], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout.strip() == "[]"
