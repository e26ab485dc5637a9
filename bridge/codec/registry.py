"""The tables that lead from a value to its converter, and the two functions that follow them.

``bridge.codec.api`` fills the tables once, at import; ``register_message`` may add to ``READERS`` later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from bridge.codec.base import (
    TYPE_URL_PREFIX,
    Converter,
    Limits,
    Lowered,
    Packed,
    Reader,
    Refusal,
    malformed,
    type_name,
    unsupported,
)

__all__ = [
    "CONVERTERS",
    "LOWER",
    "PACK",
    "PACK_LOWERED",
    "READERS",
    "find_reader",
    "lower",
    "not_valid",
    "pack_lowered",
    "pack_value",
    "read",
]

PACK: dict[type, Callable[[Any], Packed]] = {}
"""By exact type: straight to bytes, for the types that are common as a whole value."""

PACK_LOWERED: dict[type, Callable[[Any, int], Packed]] = {}
"""By exact type: the bytes of what ``lower`` gives; the second argument is how many containers are around it."""

LOWER: dict[type, Callable[[Any, int], Lowered]] = {}
"""By exact type: for values inside containers."""

CONVERTERS: list[Converter] = []
"""For every other type, in order: the first that accepts a value lowers it."""

READERS: dict[str, Reader] = {}
"""By full type URL."""

_HINT = "return or pass a dict, list, dataclass, msgspec.Struct, pydantic model, array, table or protobuf message"


def lower(value: object, depth: int) -> Lowered:
    """Lowers a value that stands inside ``depth`` containers."""
    handler = LOWER.get(type(value))
    if handler is not None:
        return handler(value, depth)
    for converter in CONVERTERS:
        if converter.accepts(value):
            return converter.lower(value, depth)
    raise unsupported(f"a value of type {type_name(value)} cannot be carried: {_HINT}")


def pack_lowered(lowered: Lowered, depth: int) -> Packed:
    """The bytes of a lowered value."""
    return lowered if type(lowered) is tuple else PACK_LOWERED[type(lowered)](lowered, depth)


def pack_value(value: object) -> Packed:
    """The bytes of any value."""
    packer = PACK.get(type(value))
    if packer is not None:
        return packer(value)
    return pack_lowered(lower(value, 0), 0)


def read(message: AnyMessage, limits: Limits, depth: int) -> Any:
    """The value in an ``Any`` that stands inside ``depth`` containers."""
    url = message.type_url
    reader = READERS.get(url) or find_reader(url)
    try:
        return reader(message.value, limits, depth)
    except (DecodeError, UnicodeDecodeError):
        raise not_valid(url) from None


def not_valid(url: str) -> Refusal:
    """The bytes are not what their type URL says."""
    return malformed(f"the bytes are not a valid {_clip(url)}")


def find_reader(url: str) -> Reader:
    """The reader for a URL with another prefix."""
    _, slash, name = url.rpartition("/")
    reader = READERS.get(TYPE_URL_PREFIX + name) if slash else None
    if reader is None:
        problem = f"the type {_clip(url)!r} is not known here" if url else "there is no value (type_url is empty)"
        hint = "use one of the types in docs/values.md or register it with bridge.codec.register_message"
        raise Refusal(f"{problem}: {hint}", "VALUE_TYPE_UNKNOWN")
    return reader


def _clip(url: str) -> str:
    name = url.rpartition("/")[2] or url
    return name if len(name) <= 128 else name[:127] + "…"
