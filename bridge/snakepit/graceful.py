"""Any value made into one that JSON carries, by Snakepit's rules, and exact where JSON can be.

What a value of another kind says about itself is tried in Snakepit's order: ``model_dump``, ``to_dict``, ``_asdict``,
``tolist``, ``isoformat``. What then is left becomes a marker (``bridge.snakepit.markers``), so that one odd object does
not cost the rest of a result.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeAlias
from uuid import UUID

from bridge.codec.base import DEFAULT_LIMITS, Refusal, type_name, unsupported
from bridge.codec.json_text import encode_json, exact_json
from bridge.codec.numbers import lower_int
from bridge.codec.objects import fields_of, is_object
from bridge.runtime.json_structure import is_deeper
from bridge.snakepit.arrays import list_of
from bridge.snakepit.markers import marker

__all__ = ["ResultRules", "document_of", "plain"]

_MAX_DEPTH = DEFAULT_LIMITS.max_depth
_TO_DICT = ("model_dump", "to_dict", "_asdict", "to_payload")  # the last is that of Snakepit's ZeroCopyRef
_BUFFERS = (bytes, bytearray, memoryview)
_ALIKE = (bool, str, dict, list)
"""Results that both rules carry alike, but for NaN inside them."""


class ResultRules(enum.Enum):
    """What becomes of values that JSON has no exact form for, or that stock Snakepit changes."""

    EXACT = "exact"
    """None stays nil, integers stay integers, tuples become lists; NaN and the infinities become texts."""
    STOCK = "stock"
    """As stock Snakepit does it: a result that is None, a tuple, bytes, an array or the like becomes its ``str``,
    one that is an integer becomes a float; NaN and the infinities inside containers become nil."""


def plain(value: Any, rules: ResultRules = ResultRules.EXACT) -> Any:
    """A value that JSON carries exactly; the same object if it is one already. Bytes stay bytes at the top.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``UNSUPPORTED_VALUE``, with the path of the part that cannot be carried: a
            key that is not text, text with a lone surrogate, an integer with too many digits, nesting that is too deep
            or endless.
    """
    if _exact(value, rules) is not None or (rules is ResultRules.EXACT and isinstance(value, _BUFFERS)):
        return value
    return _walk(value, rules)


def document_of(value: Any, rules: ResultRules = ResultRules.EXACT) -> bytes:
    """The JSON text of ``plain(value)``, of a value that is not bytes. Raises as ``plain``."""
    document = _exact(value, rules)
    return encode_json(_walk(value, rules)) if document is None else document


def _exact(value: Any, rules: ResultRules) -> bytes | None:
    """The document of a value that is to be carried as it is; ``None`` if there is none."""
    return exact_json(value) if rules is ResultRules.EXACT or isinstance(value, _ALIKE) else None


def _walk(value: Any, rules: ResultRules) -> Any:
    try:
        return _lower(_stock(value) if rules is ResultRules.STOCK else value, 0, rules)
    except Refusal as refusal:
        raise refusal.as_error("$") from None
    except Exception as error:  # a property, iterator or conversion of the tool author's own class
        raise unsupported(f"reading a {type_name(value)} failed with {type_name(error)}").as_error("$") from error


def _stock(value: Any) -> Any:
    """What stock Snakepit makes of a value that is a whole result."""
    if isinstance(value, _ALIKE) or hasattr(value, "to_payload"):
        return value
    if not isinstance(value, (int, float)):
        return str(value)
    try:
        return float(value)
    except OverflowError:
        raise unsupported("the integer is beyond what a float holds: use --results exact") from None


def _lower(value: Any, depth: int, rules: ResultRules) -> Any:
    lower = _BY_TYPE.get(type(value))
    if lower is None:
        lower = next((lower for accepts, lower in _FAMILIES if accepts(value)), _lower_object)
    return lower(value, depth, rules)


def _same(value: Any, depth: int, rules: ResultRules) -> Any:
    return value


def _lower_text(value: str, depth: int, rules: ResultRules) -> str:
    value = str.__str__(value)
    try:
        value.isascii() or value.encode()
        return value
    except UnicodeEncodeError as error:
        raise unsupported(f"the text has a lone surrogate at index {error.start}, which JSON cannot carry") from None


def _lower_int(value: int, depth: int, rules: ResultRules) -> Any:
    return lower_int(int.__int__(value), depth)


def _lower_float(value: float, depth: int, rules: ResultRules) -> float | str | None:
    value = float.__float__(value)
    if math.isfinite(value):
        return value
    if rules is ResultRules.STOCK and depth:
        return None
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _lower_enum(value: Enum, depth: int, rules: ResultRules) -> Any:
    return _lower(value.value, depth, rules)


def _lower_iso(value: date | time, depth: int, rules: ResultRules) -> str:
    return value.isoformat()


def _lower_str(value: Any, depth: int, rules: ResultRules) -> str:
    return _lower_text(str(value), depth, rules)


def _lower_fields(value: Any, depth: int, rules: ResultRules) -> dict[str, Any]:
    return _lower_mapping(fields_of(value), depth, rules)


def _enter(depth: int) -> None:
    if depth >= _MAX_DEPTH:
        raise unsupported(f"the value is nested deeper than {_MAX_DEPTH} levels, or holds itself")


def _lower_mapping(value: Mapping[Any, Any], depth: int, rules: ResultRules) -> dict[str, Any]:
    _enter(depth)
    fields: dict[str, Any] = {}
    for key, item in value.items():
        try:
            name = _lower_key(key, depth, rules)
            if name in fields:
                raise unsupported("two keys become the same text")
            fields[name] = _lower(item, depth + 1, rules)
        except Refusal as refusal:
            refusal.inside(key)
            raise
    return fields


def _lower_key(key: object, depth: int, rules: ResultRules) -> str:
    name = key.value if isinstance(key, Enum) else key
    if not isinstance(name, str):
        raise unsupported(f"the key is of type {type_name(key)}, and a key of JSON must be text: use str(key)")
    return _lower_text(name, depth, rules)


def _lower_sequence(value: Iterable[Any], depth: int, rules: ResultRules) -> list[Any]:
    _enter(depth)
    items: list[Any] = []
    for item in value:
        try:
            items.append(_lower(item, depth + 1, rules))
        except Refusal as refusal:
            refusal.inside(len(items))
            raise
    return items


def _lower_set(value: Iterable[Any], depth: int, rules: ResultRules) -> list[Any]:
    try:
        items = sorted(value)
    except Exception:  # noqa: BLE001 - elements that cannot be compared stay in the order of the set
        items = list(value)
    return _lower_sequence(items, depth, rules)


def _lower_object(value: Any, depth: int, rules: ResultRules) -> Any:
    """What an object says about itself, else its marker."""
    for method in (*_TO_DICT, "tolist", "isoformat"):
        try:
            made = list_of(value) if method == "tolist" else getattr(value, method)()
        except Exception:  # noqa: BLE001, S112 - there is no such method, or it does not work: perhaps the next does
            continue
        if type(made) is not type(value):  # else it would be asked again, without end
            return made if _is_exact_list(made, depth) else _lower(made, depth, rules)
    if isinstance(value, tuple):
        return _lower_sequence(value, depth, rules)
    if isinstance(value, (set, frozenset)):
        return _lower_set(value, depth, rules)
    return marker(value)


def _is_exact_list(made: Any, depth: int) -> bool:
    """Whether a list can go as it is. Those of arrays are often large, and a walk through them takes long."""
    document = exact_json(made) if isinstance(made, list) else None
    return document is not None and not is_deeper(document, _MAX_DEPTH - depth)


_Lower: TypeAlias = Callable[[Any, int, ResultRules], Any]

_BY_TYPE: dict[type, _Lower] = {
    type(None): _same,
    bool: _same,
    int: _lower_int,
    float: _lower_float,
    str: _lower_text,
    dict: _lower_mapping,
    list: _lower_sequence,
    tuple: _lower_sequence,
    set: _lower_set,
    frozenset: _lower_set,
}


def _is(*classes: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, classes)


# The order decides: a StrEnum is an Enum before it is a str. Named tuples say more by `_asdict` than as tuples.
_FAMILIES: tuple[tuple[Callable[[Any], bool], _Lower], ...] = (
    (_is(Enum), _lower_enum),
    (_is(Mapping), _lower_mapping),
    (_is(str), _lower_text),
    (_is(int), _lower_int),
    (_is(float), _lower_float),
    (_is(list), _lower_sequence),
    (_is(date, time), _lower_iso),
    (_is(UUID, PurePath, Decimal), _lower_str),
    (is_object, _lower_fields),
    (_is(*_BUFFERS), lambda value, depth, rules: marker(value)),
)
