"""Protobuf messages: packed as themselves, decoded if the type is registered; JSON-like ``Struct`` as a dict."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from bridge.codec.base import (
    TYPE_URL_PREFIX,
    Converter,
    Limits,
    Packed,
    Reader,
    Refusal,
    malformed,
    type_name,
    unsupported,
)

__all__ = ["CONVERTERS", "READERS", "message_reader", "message_url"]

_M = TypeVar("_M", bound=Message)


def message_url(cls: type[Message]) -> str:
    """The type URL of a message class."""
    return TYPE_URL_PREFIX + cls.DESCRIPTOR.full_name


def message_reader(cls: type[_M]) -> Reader:
    """A reader that gives the message itself."""

    def read_message(data: bytes, limits: Limits, depth: int) -> _M:
        return cls.FromString(data)

    return read_message


def _pack_message(value: Message, depth: int) -> Packed:
    if isinstance(value, AnyMessage):  # packed already
        return value.type_url, value.value
    if not value.IsInitialized():
        raise unsupported(f"the message {type_name(value)} lacks required fields")
    return message_url(type(value)), value.SerializeToString()


def _check_depth(limits: Limits, depth: int) -> None:
    if depth >= limits.max_depth:
        raise Refusal(f"the value is nested deeper than {limits.max_depth} levels", "VALUE_REFUSED")


def _walk_struct(message: Struct, limits: Limits, depth: int) -> dict[str, Any]:
    _check_depth(limits, depth)
    values: dict[str, Any] = {}
    for key, item in message.fields.items():
        try:
            values[key] = _walk_value(item, limits, depth + 1)
        except Refusal as refusal:
            refusal.inside(key)
            raise
    return values


def _walk_list(message: ListValue, limits: Limits, depth: int) -> list[Any]:
    _check_depth(limits, depth)
    values: list[Any] = []
    for item in message.values:
        try:
            values.append(_walk_value(item, limits, depth + 1))
        except Refusal as refusal:
            refusal.inside(len(values))
            raise
    return values


def _walk_value(message: Value, limits: Limits, depth: int) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "null_value":
        return None
    if kind == "struct_value":
        return _walk_struct(message.struct_value, limits, depth)
    if kind == "list_value":
        return _walk_list(message.list_value, limits, depth)
    if kind is None:
        raise malformed("the Value holds nothing, not even null")
    return getattr(message, kind)


def _read_struct(data: bytes, limits: Limits, depth: int) -> dict[str, Any]:
    return _walk_struct(Struct.FromString(data), limits, depth)


def _read_list(data: bytes, limits: Limits, depth: int) -> list[Any]:
    return _walk_list(ListValue.FromString(data), limits, depth)


def _read_value(data: bytes, limits: Limits, depth: int) -> Any:
    if data == b"\x08\x00":  # null, by far the most common
        return None
    return _walk_value(Value.FromString(data), limits, depth)


CONVERTERS = (Converter(lambda v: isinstance(v, Message), _pack_message),)

READERS: dict[str, Reader] = {
    message_url(Struct): _read_struct,
    message_url(ListValue): _read_list,
    message_url(Value): _read_value,
}
