"""dict, list, tuple, set: as one JSON document where that is exact, else as ``Map`` or ``List`` of ``Any``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
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
    unsupported,
)
from bridge.codec.json_text import JSON_URL, decode_json, encode_json, exact_json, pack_json
from bridge.codec.numbers import BIG_NUMBER_URL
from bridge.codec.ordered_map import ordered_map
from bridge.codec.registry import lower, pack_lowered, read
from bridge.codec.scalars import BYTES_URL, DOUBLE_URL, SHARED_BYTES_URL
from bridge.codec.wire import SHORT, short_field
from bridge.v1.values_pb2 import List

__all__ = ["CONVERTERS", "LOWER", "PACK", "READERS", "lower_mapping"]

MAP_URL = TYPE_URL_PREFIX + "bridge.v1.Map"
LIST_URL = TYPE_URL_PREFIX + "bridge.v1.List"

_KEY_URLS = frozenset({BYTES_URL, SHARED_BYTES_URL, DOUBLE_URL, BIG_NUMBER_URL})
"""What a key may be, beside the plain scalars."""
_KEY_TYPES = frozenset({str, int, float, bool, bytes, Decimal})


def _pack_container(value: Any) -> Packed:
    try:
        document = encode_json(value)
        if len(document) < SHORT and decode_json(document) == value:
            return JSON_URL, short_field(document)  # `exact_json` for what is too short to be deep
    except Exception:  # noqa: BLE001, S110 - the careful way says what is wrong
        pass
    exact = exact_json(value)
    return pack_json(exact) if exact is not None else pack_lowered(lower(value, 0), 0)


def _pack_tuple(value: tuple[Any, ...]) -> Packed:
    return _pack_container(list(value))


def _enter(depth: int) -> None:
    if depth >= DEFAULT_LIMITS.max_depth:
        raise unsupported(f"the value is nested deeper than {DEFAULT_LIMITS.max_depth} levels, or holds itself")


def _lower_sequence(items: Iterable[Any], depth: int) -> Lowered:
    _enter(depth)
    lowered: list[Lowered] = []
    exact = True
    for item in items:
        try:
            one = lower(item, depth + 1)
        except Refusal as refusal:
            refusal.inside(len(lowered))
            raise
        if type(one) is tuple:
            exact = False
        lowered.append(one)
    return lowered if exact else _pack_list(lowered, depth)


def _pack_list(lowered: list[Lowered], depth: int) -> Packed:
    message = List()
    for index, one in enumerate(lowered):
        item = message.items.add()
        try:
            item.type_url, item.value = pack_lowered(one, depth + 1)
        except Refusal as refusal:
            refusal.inside(index)
            raise
    return LIST_URL, message.SerializeToString()


def _lower_set(value: Iterable[Any], depth: int) -> Lowered:
    try:
        items = sorted(value)
    except Exception:  # noqa: BLE001 - elements that cannot be compared stay in the order of the set
        items = list(value)
    return _lower_sequence(items, depth)


def lower_mapping(value: Mapping[Any, Any], depth: int) -> Lowered:
    """Lowers a dict. Keys that are text stay in order and make a JSON object; other keys need a ``Map``."""
    _enter(depth)
    fields: dict[str, Lowered] = {}
    entries: list[tuple[Lowered, Lowered]] = []
    exact = True
    for key, item in value.items():
        try:
            name = key if type(key) is str and key.isascii() else _lower_key(key)
            one = lower(item, depth + 1)
            if type(name) is not str:
                entries.append((name, one))
            elif name in fields:
                raise unsupported("two keys become the same text")
            else:
                fields[name] = one
        except Refusal as refusal:
            refusal.inside(key)
            raise
        if type(one) is tuple:
            exact = False
    return fields if exact and not entries else _pack_map(fields, entries, depth)


def _lower_key(key: object) -> Lowered:
    lowered = lower(key, 0)
    fits = lowered[0] in _KEY_URLS if type(lowered) is tuple else type(lowered) in _KEY_TYPES
    if not fits:
        raise unsupported("the key is not text, a number, a boolean or bytes")
    return lowered


def _pack_map(fields: dict[str, Lowered], entries: list[tuple[Lowered, Lowered]], depth: int) -> Packed:
    message = ordered_map()()
    for name, one in fields.items():
        field = message.fields.add(key=name).value
        try:
            field.type_url, field.value = pack_lowered(one, depth + 1)
        except Refusal as refusal:
            refusal.inside(name)
            raise
    for key, one in entries:
        entry = message.entries.add()
        entry.key.type_url, entry.key.value = pack_lowered(key, depth + 1)
        entry.value.type_url, entry.value.value = pack_lowered(one, depth + 1)
    return MAP_URL, message.SerializeToString()


PACK = {dict: _pack_container, list: _pack_container, tuple: _pack_tuple}

LOWER = {
    dict: lower_mapping,
    list: _lower_sequence,
    tuple: _lower_sequence,
    set: _lower_set,
    frozenset: _lower_set,
}

CONVERTERS = (
    Converter(lambda v: isinstance(v, (dict, MappingProxyType)), lower_mapping),
    Converter(lambda v: isinstance(v, (list, tuple)), _lower_sequence),
    Converter(lambda v: isinstance(v, (set, frozenset)), _lower_set),
)


def _check_depth(limits: Limits, depth: int) -> None:
    if depth >= limits.max_depth:
        raise Refusal(f"the value is nested deeper than {limits.max_depth} levels", "VALUE_REFUSED")


def _read_list(data: bytes, limits: Limits, depth: int) -> list[Any]:
    _check_depth(limits, depth)
    values: list[Any] = []
    for item in List.FromString(data).items:
        try:
            values.append(read(item, limits, depth + 1))
        except Refusal as refusal:
            refusal.inside(len(values))
            raise
    return values


def _read_map(data: bytes, limits: Limits, depth: int) -> dict[Any, Any]:
    _check_depth(limits, depth)
    message = ordered_map().FromString(data)
    values: dict[Any, Any] = {}
    for field in message.fields:
        try:
            values[field.key] = read(field.value, limits, depth + 1)
        except Refusal as refusal:
            refusal.inside(field.key)
            raise
    for index, entry in enumerate(message.entries):
        try:
            key = _read_key(entry.key, limits)
        except Refusal as refusal:
            refusal.inside(f"entries[{index}].key")
            raise
        try:
            if key in values:
                raise Refusal("the key occurs twice", "VALUE_REFUSED")
            values[key] = read(entry.value, limits, depth + 1)
        except Refusal as refusal:
            refusal.inside(key)
            raise
    return values


def _read_key(message: Any, limits: Limits) -> Any:
    # No container may stand in a key: with no depth left its reader refuses before it reads.
    key = read(message, limits, limits.max_depth)
    if type(key) not in _KEY_TYPES:
        raise malformed("the key is not text, a number, a boolean or bytes")
    return key


READERS = {LIST_URL: _read_list, MAP_URL: _read_map}
