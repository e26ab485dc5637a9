"""The tables that lead from a value to its converter, and the functions that follow them. ``values`` fills them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .base import TYPE_URL_PREFIX, Lowered, Packed, Refusal, malformed, type_name, unsupported

__all__ = [
    "CONVERTERS",
    "LOWER",
    "PACK",
    "PACK_LOWERED",
    "READERS",
    "find_reader",
    "loaded",
    "lower",
    "not_valid",
    "pack_lowered",
    "pack_value",
    "read",
]

PACK: dict[type, Callable[[Any], Packed]] = {}
"""By exact type: straight to bytes, for the types that are common as a whole value."""

PACK_LOWERED: dict[type, Callable[[Any], Packed]] = {}
"""By exact type: the bytes of what ``lower`` gives."""

LOWER: dict[type, Callable[[Any, int], Lowered]] = {}
"""By exact type: for values inside containers; the second argument is how many are around it."""

CONVERTERS: list[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]]] = []
"""For every other type, in order: the first whose test accepts a value lowers it."""

READERS: dict[str, Callable[[bytes, int], Any]] = {}
"""By full type URL: a value of its bytes; the second argument is how many containers are around it."""

_HINT = "return or pass a dict, list, dataclass, array or table"


def lower(value: object, depth: int) -> Lowered:
    """Lowers a value that stands inside ``depth`` containers."""
    handler = LOWER.get(type(value))
    if handler is not None:
        return handler(value, depth)
    for accepts, convert in CONVERTERS:
        if accepts(value):
            return convert(value, depth)
    raise unsupported(f"a value of type {type_name(value)} cannot be carried: {_HINT}")


def pack_lowered(lowered: Lowered) -> Packed:
    """The bytes of a lowered value."""
    return lowered if type(lowered) is tuple else PACK_LOWERED[type(lowered)](lowered)


def pack_value(value: object) -> Packed:
    """The bytes of any value."""
    packer = PACK.get(type(value))
    return packer(value) if packer is not None else pack_lowered(lower(value, 0))


def read(url: str, data: bytes, depth: int) -> Any:
    """The value in an ``Any`` that stands inside ``depth`` containers."""
    reader = READERS.get(url) or find_reader(url)
    try:
        return reader(data, depth)
    except ValueError:  # of the wire format, or of UTF-8
        raise not_valid(url) from None


def not_valid(url: str) -> Refusal:
    """The bytes are not what their type URL says."""
    return malformed(f"the bytes are not a valid {_clip(url)}")


def find_reader(url: str) -> Callable[[bytes, int], Any]:
    """The reader for a URL with another prefix."""
    _, slash, name = url.rpartition("/")
    reader = READERS.get(TYPE_URL_PREFIX + name) if slash else None
    if reader is None:
        problem = f"the type {_clip(url)!r} is not known here" if url else "there is no value (type_url is empty)"
        hint = "use one of the types in docs/values.md; other messages are not carried to a plugin"
        raise Refusal(f"{problem}: {hint}", "VALUE_TYPE_UNKNOWN")
    return reader


def _clip(url: str) -> str:
    name = url.rpartition("/")[2] or url
    return name if len(name) <= 128 else name[:127] + "…"


def loaded(module: str, name: str) -> Any:
    """A class of a module, for ``isinstance``, without importing it: where it is not imported nothing is of it."""
    found = sys.modules.get(module)
    return () if found is None else getattr(found, name, ())
