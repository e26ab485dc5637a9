"""dict, list, tuple, set: as one JSON document where that is exact, else as ``Map`` or ``List`` of ``Any``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ..protobuf import decode, varint
from ..shared import BYTES_URL as SHARED_BYTES_URL
from ..tables import LIST, MAP_VALUE
from .base import MAX_DEPTH, TYPE_URL_PREFIX, Lowered, Packed, Refusal, malformed, refused, unsupported
from .json_text import exact_json
from .numbers import BIG_NUMBER_URL
from .registry import loaded, lower, pack_lowered, read
from .scalars import BYTES_URL, DOUBLE_URL
from .wire import any_bytes

__all__ = ["CONVERTERS", "LOWER", "PACK", "READERS", "lower_mapping"]

MAP_URL = TYPE_URL_PREFIX + "bridge.v1.Map"
LIST_URL = TYPE_URL_PREFIX + "bridge.v1.List"

_KEY_URLS = frozenset({BYTES_URL, SHARED_BYTES_URL, DOUBLE_URL, BIG_NUMBER_URL})
"""What a key may be, beside the plain scalars."""
_KEY_TYPES = frozenset({str, int, float, bool, bytes})


def _pack_container(value: Any) -> Packed:
    return exact_json(value) or pack_lowered(lower(value, 0))


def _pack_tuple(value: tuple[Any, ...]) -> Packed:
    return _pack_container(list(value))


def _enter(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise unsupported(f"the value is nested deeper than {MAX_DEPTH} levels, or holds itself")


def _lower_sequence(items: Iterable[Any], depth: int) -> Lowered:
    _enter(depth)
    lowered: list[Lowered] = []
    exact = True
    try:
        for item in items:
            one = lower(item, depth + 1)
            if type(one) is tuple:
                exact = False
            lowered.append(one)
    except Refusal as refusal:
        refusal.inside(len(lowered))
        raise
    if exact:
        return lowered
    return LIST_URL, b"".join([_delimited(b"\n", any_bytes(*pack_lowered(one))) for one in lowered])  # items = 1


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
    key: Any = None
    try:
        for key, item in value.items():
            name = key if type(key) is str and key.isascii() else _lower_key(key)
            one = lower(item, depth + 1)
            if type(one) is tuple:
                exact = False
            if type(name) is not str:
                entries.append((name, one))
            elif name in fields:
                raise unsupported("two keys become the same text")
            else:
                fields[name] = one
    except Refusal as refusal:
        refusal.inside(key)
        raise
    return fields if exact and not entries else (MAP_URL, _map_bytes(fields, entries))


def _lower_key(key: object) -> Lowered:
    lowered = lower(key, 0)
    fits = lowered[0] in _KEY_URLS if type(lowered) is tuple else type(lowered) in _KEY_TYPES
    if not fits:
        raise unsupported("the key is not text, a number, a boolean or bytes")
    return lowered


def _map_bytes(fields: dict[str, Lowered], entries: list[tuple[Lowered, Lowered]]) -> bytes:
    parts = []
    for name, one in fields.items():
        text = name.encode()
        key = _delimited(b"\n", text) if text else b""
        parts.append(_delimited(b"\n", key + _delimited(b"\x12", any_bytes(*pack_lowered(one)))))  # fields = 1
    for key_value, one in entries:
        key = _delimited(b"\n", any_bytes(*pack_lowered(key_value)))
        parts.append(_delimited(b"\x12", key + _delimited(b"\x12", any_bytes(*pack_lowered(one)))))  # entries = 2
    return b"".join(parts)


def _delimited(tag: bytes, content: bytes) -> bytes:
    return b"%b%b%b" % (tag, varint(len(content)), content)


PACK: dict[type, Callable[[Any], Packed]] = {dict: _pack_container, list: _pack_container, tuple: _pack_tuple}

LOWER: dict[type, Callable[[Any, int], Lowered]] = {
    dict: lower_mapping,
    list: _lower_sequence,
    tuple: _lower_sequence,
    set: _lower_set,
    frozenset: _lower_set,
}

CONVERTERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]], ...] = (
    (lambda value: isinstance(value, (dict, MappingProxyType)), lower_mapping),
    (lambda value: isinstance(value, (list, tuple)), _lower_sequence),
    (lambda value: isinstance(value, (set, frozenset)), _lower_set),
)


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise refused(f"the value is nested deeper than {MAX_DEPTH} levels")


def _read_any(message: dict[str, Any] | None, depth: int) -> Any:
    return read("", b"", depth) if message is None else read(message["type_url"], message["value"], depth)


def _read_list(data: bytes, depth: int) -> list[Any]:
    _check_depth(depth)
    values: list[Any] = []
    try:
        for item in decode(LIST, data)["items"]:
            values.append(_read_any(item, depth + 1))  # noqa: PERF401 - how many there are is the index
    except Refusal as refusal:
        refusal.inside(len(values))
        raise
    return values


def _read_map(data: bytes, depth: int) -> dict[Any, Any]:
    _check_depth(depth)
    message = decode(MAP_VALUE, data)
    values: dict[Any, Any] = {}
    where: Any = None
    try:
        for field in message["fields"]:
            where = field["key"]
            values[where] = _read_any(field["value"], depth + 1)
        for index, entry in enumerate(message["entries"]):
            where = f"entries[{index}].key"
            where = key = _read_key(entry["key"])
            if key in values:
                raise refused("the key occurs twice")
            values[key] = _read_any(entry["value"], depth + 1)
    except Refusal as refusal:
        refusal.inside(where)
        raise
    return values


def _read_key(message: dict[str, Any] | None) -> Any:
    # No container may stand in a key: with no depth left its reader refuses before it reads.
    key = _read_any(message, MAX_DEPTH)
    if type(key) not in _KEY_TYPES and not isinstance(key, loaded("decimal", "Decimal")):
        raise malformed("the key is not text, a number, a boolean or bytes")
    return key


READERS: dict[str, Callable[[bytes, int], Any]] = {LIST_URL: _read_list, MAP_URL: _read_map}
