"""What cannot be carried is refused with its path, never turned into something else, and never shown."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from google.protobuf import descriptor_pb2

from bridge.codec import pack
from bridge.errors import BridgeError, Code

NAIVE = datetime(2020, 1, 1)  # noqa: DTZ001
AWARE_TOO_LATE = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))
AWARE_TOO_EARLY = datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))


class Clash(enum.Enum):
    A = "a"


class Pandas(datetime):
    """Like pandas' Timestamp: three digits more than a datetime."""

    nanosecond = 7


class NotATime(datetime):
    """Like pandas' NaT."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__


@dataclass
class Box:
    content: Any


class Model(msgspec.Struct):
    content: Any


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


def refusal(value: Any) -> tuple[str, str]:
    """The path and the description of the refusal of a value."""
    with pytest.raises(BridgeError) as caught:
        pack(value)
    error = caught.value
    assert error.code is Code.INVALID_ARGUMENT
    assert error.reason == "UNSUPPORTED_VALUE"
    assert "secret" not in str(error)
    (violation,) = error.violations
    assert error.message == f"{violation.field}: {violation.description}"
    return violation.field, violation.description


@pytest.mark.parametrize(
    ("value", "path", "what"),
    [
        (object(), "$", "type object"),
        (Secret(), "$", "Secret"),
        ([Secret()], "$[0]", "Secret"),
        (1j, "$", "complex"),
        (np.complex128(1), "$", "complex128"),
        (np.longdouble(1), "$", "longdouble"),
        (np.datetime64("2020-01-01"), "$", "datetime64"),
        ({"rows": [1, {}, (), {"when": NAIVE}]}, "$.rows[3].when", "no time zone"),
        ({"rows": [b"", {"f": print}]}, "$.rows[1].f", "builtin_function_or_method"),
        ({"a b": Secret()}, '$["a b"]', "Secret"),
        ({'"': {"": Secret()}}, '$["\\""][""]', "Secret"),
        ({"\ud800": 1}, '$["\\ud800"]', "surrogate"),
        ({"x" * 100: Secret()}, '$["' + "x" * 64 + '\\u2026"]', "Secret"),
        ({7: [Secret()]}, "$[7][0]", "Secret"),
        ({b"secret": Secret()}, "$[bytes]", "Secret"),
        ({None: 1}, "$[NoneType]", "key"),
        ({(1, 2): 1}, "$[tuple]", "key"),
        ({datetime(2020, 1, 1, tzinfo=UTC): 1}, "$[datetime.datetime]", "key"),
        ({"a": 1, Clash.A: 2}, "$[tests.unit.test_codec_refusals.Clash]", "same text"),
        ("\ud800", "$", "surrogate at index 0"),
        ({"s": ["ok", "é\udcff"]}, "$.s[1]", "surrogate at index 1"),
        (10**4300, "$", "4300 digits"),
        (-(10**4300), "$", "4300 digits"),
        ([0, 10**4300], "$[1]", "4300 digits"),
        (Decimal("nan"), "$", "not finite"),
        ([Decimal("-inf")], "$[0]", "not finite"),
        (Decimal("1e1000000"), "$", "exponent"),
        (Decimal("0e-1000000"), "$", "exponent"),
        (Decimal("1" * 4301), "$", "4300 characters"),
        (AWARE_TOO_LATE, "$", "years 1 to 9999"),
        (AWARE_TOO_EARLY, "$", "years 1 to 9999"),
        (Pandas(2020, 1, 1, tzinfo=UTC), "$", "finer than a microsecond"),
        (NotATime(2020, 1, 1, tzinfo=UTC), "$", "not a time"),
        (timedelta.max, "$", "10,000 years"),
        (timedelta.min, "$", "10,000 years"),
        (np.array(["secret"]), "$", "array of str"),
        ({"x": [np.array([object()])]}, "$.x[0]", "array of object"),
        (np.array(["2020-01-01"], "M8[s]"), "$", "array of datetime64"),
        (np.zeros(1, [("a", "i4")]), "$", "array of records"),
        (np.zeros(1, np.longdouble), "$", "array of float"),
        (np.ma.masked_array([1, 2], [True, False]), "$", "masked"),
        (Box(Secret()), "$.content", "Secret"),
        ([Model(NAIVE)], "$[0].content", "no time zone"),
        (Box(Box({"a": [Secret()]})), "$.content.content.a[0]", "Secret"),
        (Lazy(a=b""), "$", "RuntimeError"),
        ([Angry()], "$[0]", "Angry"),
        (Box, "$", "type type"),
        (len, "$", "builtin_function_or_method"),
        ((i for i in ()), "$", "generator"),
        (descriptor_pb2.UninterpretedOption.NamePart(), "$", "required"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_path_of_what_cannot_be_carried_is_named(value: Any, path: str, what: str) -> None:
    where, description = refusal(value)
    assert where == path.replace("tests.unit.test_codec_refusals", __name__)
    assert what in description


def nested(depth: int, innermost: Any) -> Any:
    for _ in range(depth):
        innermost = [innermost]
    return innermost


@pytest.mark.parametrize("innermost", [0, b"", math.nan])
def test_values_may_be_64_levels_deep(innermost: Any) -> None:
    pack(nested(64, innermost))
    path, description = refusal(nested(65, innermost))
    assert path == "$" + "[0]" * 64
    assert "64 levels" in description


def test_levels_of_maps_json_and_objects_are_counted_together() -> None:
    pack({"a": b"", "deep": nested(63, 1)})
    assert refusal({"a": b"", "deep": nested(64, 1)})[0] == "$.deep" + "[0]" * 63
    pack(nested(63, Model(None)))
    assert "64 levels" in refusal(nested(64, Model(None)))[1]
    pack(nested(62, Model([])))
    assert "64 levels" in refusal(nested(63, Model([])))[1]
    assert "64 levels" in refusal([b"", nested(62, Model([]))])[1]


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append({"a": loop})
    assert "holds itself" in refusal(loop)[1]
    box = Box(None)
    box.content = [box]
    assert "holds itself" in refusal(box)[1]
