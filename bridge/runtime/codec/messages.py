"""JSON-like protobuf messages, ``Struct`` and its kin, which other languages send; all others are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..protobuf import Message, decode
from ..tables import LIST_VALUE, STRUCT, VALUE
from .base import MAX_DEPTH, TYPE_URL_PREFIX, Lowered, Refusal, malformed, refused, type_name, unsupported
from .registry import loaded

__all__ = ["CONVERTERS", "READERS"]


def _refuse_message(value: object, depth: int) -> Lowered:
    raise unsupported(
        f"a protobuf message ({type_name(value)}) cannot be carried out of a plugin: "
        "return a dict of its fields, or its bytes"
    )


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise refused(f"the value is nested deeper than {MAX_DEPTH} levels")


def _walk_struct(message: dict[str, Any], depth: int) -> dict[str, Any]:
    _check_depth(depth)
    values: dict[str, Any] = {}
    key = ""
    try:
        for key, item in message["fields"].items():
            values[key] = _walk_value(item, depth + 1)
    except Refusal as refusal:
        refusal.inside(key)
        raise
    return values


def _walk_list(message: dict[str, Any], depth: int) -> list[Any]:
    _check_depth(depth)
    values: list[Any] = []
    try:
        for item in message["values"]:
            values.append(_walk_value(item, depth + 1))  # noqa: PERF401 - how many there are is the index
    except Refusal as refusal:
        refusal.inside(len(values))
        raise
    return values


def _walk_value(message: dict[str, Any], depth: int) -> Any:
    for kind, value in message.items():
        if value is None:
            continue
        if kind == "null_value":
            return None
        if kind == "struct_value":
            return _walk_struct(value, depth)
        if kind == "list_value":
            return _walk_list(value, depth)
        return value
    raise malformed("the Value holds nothing, not even null")


def _reader(message: Message, walk: Callable[[dict[str, Any], int], Any]) -> Callable[[bytes, int], Any]:
    return lambda data, depth: walk(decode(message, data), depth)


def _read_value(data: bytes, depth: int) -> Any:
    if data == b"\x08\x00":  # null, by far the most common
        return None
    return _walk_value(decode(VALUE, data), depth)


CONVERTERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]], ...] = (
    (lambda value: isinstance(value, loaded("google.protobuf.message", "Message")), _refuse_message),
)

READERS: dict[str, Callable[[bytes, int], Any]] = {
    TYPE_URL_PREFIX + STRUCT.name: _reader(STRUCT, _walk_struct),
    TYPE_URL_PREFIX + LIST_VALUE.name: _reader(LIST_VALUE, _walk_list),
    TYPE_URL_PREFIX + VALUE.name: _read_value,
}
