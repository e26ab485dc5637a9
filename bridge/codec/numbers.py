"""Integers beyond 64 bits and decimals (``bridge.v1.BigNumber``), and numpy scalars, without importing numpy."""

from __future__ import annotations

import re
import sys
from decimal import Decimal, InvalidOperation
from typing import Any

from bridge.codec.base import (
    DEFAULT_LIMITS,
    TYPE_URL_PREFIX,
    Converter,
    Limits,
    Lowered,
    Packed,
    Refusal,
    malformed,
    type_name,
    unsupported,
)
from bridge.codec.registry import lower
from bridge.v1.values_pb2 import BigNumber

__all__ = ["BIG_NUMBER_URL", "CONVERTERS", "LOWER", "READERS", "lower_int", "pack_big_int"]

BIG_NUMBER_URL = TYPE_URL_PREFIX + "bridge.v1.BigNumber"

MAX_EXPONENT = 999_999
"""Largest power of ten of a decimal, up and down: that of Python's default decimal context. Beyond it a few bytes would
become an integer of gigabytes in the hands of a tool that calls ``int`` on it."""

_TOO_LONG = 10**DEFAULT_LIMITS.max_digits
_INTEGER = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,20})?")


def lower_int(value: int, depth: int) -> Lowered:
    """JSON carries integers of any size; the number of digits is limited."""
    if not -_TOO_LONG < value < _TOO_LONG:
        raise unsupported(f"the integer has more than {DEFAULT_LIMITS.max_digits} digits")
    return value


def pack_big_int(value: int) -> Packed:
    """An integer that does not fit ``Int64Value``."""
    lower_int(value, 0)
    try:
        text = str(value)
    except ValueError:  # sys.set_int_max_str_digits() below our own limit
        raise unsupported("the integer has more digits than sys.get_int_max_str_digits() allows") from None
    return BIG_NUMBER_URL, BigNumber(integer=text).SerializeToString()


def pack_decimal(value: Decimal, depth: int) -> Packed:
    """A finite decimal; every digit counts, ``1.10`` is not ``1.1``."""
    if not value.is_finite():
        raise unsupported("the decimal is not finite: send float('nan') or float('inf') instead")
    if abs(value.adjusted()) > MAX_EXPONENT:
        raise unsupported(f"the decimal's exponent is beyond {MAX_EXPONENT}")
    text = Decimal.__str__(value)
    if len(text) > DEFAULT_LIMITS.max_digits:
        raise unsupported(f"the decimal has more than {DEFAULT_LIMITS.max_digits} characters")
    return BIG_NUMBER_URL, BigNumber(decimal=text).SerializeToString()


def _read_big_number(data: bytes, limits: Limits, depth: int) -> int | Decimal:
    message = BigNumber.FromString(data)
    kind = message.WhichOneof("number")
    if kind is None:
        raise malformed("the BigNumber holds no number")
    text: str = getattr(message, kind)
    if len(text) > limits.max_digits + (kind == "integer" and text.startswith("-")):
        raise Refusal(f"the number has more than {limits.max_digits} digits", "VALUE_REFUSED")
    return _parse_integer(text) if kind == "integer" else _parse_decimal(text)


def _parse_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise malformed("the BigNumber's integer is not an optional minus sign and decimal digits")
    try:
        return int(text)
    except ValueError:  # Python's own limit, which protects against quadratic conversion
        raise Refusal("the number has more digits than Python converts", "VALUE_REFUSED") from None


def _parse_decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise malformed("the BigNumber's decimal is not an optional minus sign, digits, optional fraction and exponent")
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = None
    if value is None or abs(value.adjusted()) > MAX_EXPONENT:
        raise Refusal(f"the decimal's exponent is beyond {MAX_EXPONENT}", "VALUE_REFUSED")
    return value


def _is_numpy_scalar(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def _lower_numpy_scalar(value: Any, depth: int) -> Lowered:
    kind = value.dtype.kind
    if kind == "b":
        return bool(value)
    if kind in "iu":
        return int(value)
    if kind == "f" and value.dtype.itemsize <= 8:
        return lower(float(value), depth)
    raise unsupported(f"a value of type {type_name(value)} cannot be carried as a number: put it into an array")


LOWER = {Decimal: pack_decimal}

CONVERTERS = (
    Converter(_is_numpy_scalar, _lower_numpy_scalar),
    Converter(lambda v: isinstance(v, Decimal), pack_decimal),
)

READERS = {BIG_NUMBER_URL: _read_big_number}
