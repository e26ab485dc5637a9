"""Integers beyond 64 bits and decimals (``bridge.v1.BigNumber``), and numpy scalars, without importing numpy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..protobuf import decode, encode
from ..tables import BIG_NUMBER
from .base import MAX_DIGITS, TYPE_URL_PREFIX, Lowered, Packed, malformed, refused, type_name, unsupported
from .registry import loaded, lower

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["BIG_NUMBER_URL", "CONVERTERS", "READERS", "lower_int", "pack_big_int"]

BIG_NUMBER_URL = TYPE_URL_PREFIX + "bridge.v1.BigNumber"

MAX_EXPONENT = 999_999
"""Largest power of ten of a decimal, up and down."""

_TOO_LONG = 10**MAX_DIGITS
_INTEGER = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,20})?")


def lower_int(value: int, depth: int) -> Lowered:
    """JSON carries integers of any size; the number of digits is limited."""
    if not -_TOO_LONG < value < _TOO_LONG:
        raise unsupported(f"the integer has more than {MAX_DIGITS} digits")
    return value


def pack_big_int(value: int) -> Packed:
    """An integer that does not fit ``Int64Value``."""
    lower_int(value, 0)
    try:
        text = str(value)
    except ValueError:  # sys.set_int_max_str_digits() below our own limit
        raise unsupported("the integer has more digits than sys.get_int_max_str_digits() allows") from None
    return BIG_NUMBER_URL, encode(BIG_NUMBER, {"integer": text})


def _lower_decimal(value: Decimal, depth: int) -> Packed:
    """A finite decimal; every digit counts, ``1.10`` is not ``1.1``."""
    from decimal import Decimal  # takes some milliseconds to import

    if not value.is_finite():
        raise unsupported("the decimal is not finite: send float('nan') or float('inf') instead")
    if abs(value.adjusted()) > MAX_EXPONENT:
        raise unsupported(f"the decimal's exponent is beyond {MAX_EXPONENT}")
    text = Decimal.__str__(value)
    if len(text) > MAX_DIGITS:
        raise unsupported(f"the decimal has more than {MAX_DIGITS} characters")
    return BIG_NUMBER_URL, encode(BIG_NUMBER, {"decimal": text})


def _read_big_number(data: bytes, depth: int) -> int | Decimal:
    fields = decode(BIG_NUMBER, data)
    integer, decimal = fields["integer"], fields["decimal"]
    text: str | None = decimal if integer is None else integer
    if text is None:
        raise malformed("the BigNumber holds no number")
    if len(text) > MAX_DIGITS + (integer is not None and text.startswith("-")):
        raise refused(f"the number has more than {MAX_DIGITS} digits")
    return _parse_decimal(text) if integer is None else _parse_integer(text)


def _parse_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise malformed("the BigNumber's integer is not an optional minus sign and decimal digits")
    try:
        return int(text)
    except ValueError:  # Python's own limit, which protects against quadratic conversion
        raise refused("the number has more digits than Python converts") from None


def _parse_decimal(text: str) -> Decimal:
    from decimal import Decimal, InvalidOperation

    if not _DECIMAL.fullmatch(text):
        raise malformed("the BigNumber's decimal is not an optional minus sign, digits, optional fraction and exponent")
    try:
        value: Decimal | None = Decimal(text)
    except InvalidOperation:
        value = None
    if value is None or abs(value.adjusted()) > MAX_EXPONENT:
        raise refused(f"the decimal's exponent is beyond {MAX_EXPONENT}")
    return value


def _lower_numpy_scalar(value: Any, depth: int) -> Lowered:
    kind = value.dtype.kind
    if kind == "b":
        return bool(value)
    if kind in "iu":
        return int(value)
    if kind == "f" and value.dtype.itemsize <= 8:
        return lower(float(value), depth)
    raise unsupported(f"a value of type {type_name(value)} cannot be carried as a number: put it into an array")


CONVERTERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]], ...] = (
    (lambda value: isinstance(value, loaded("numpy", "generic")), _lower_numpy_scalar),
    (lambda value: isinstance(value, loaded("decimal", "Decimal")), _lower_decimal),
)

READERS: dict[str, Callable[[bytes, int], Any]] = {BIG_NUMBER_URL: _read_big_number}
