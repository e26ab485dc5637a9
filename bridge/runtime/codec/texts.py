"""Values that travel as plain text or as another value: date, time, UUID, path, enumeration member.

They do not come back by themselves: the receiver sees the text, and a parameter annotated with the type gets it back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time
from enum import Enum
from typing import Any

from .base import Lowered
from .registry import loaded, lower

__all__ = ["CONVERTERS", "ENUMS", "LOWER"]


def _lower_iso(value: date | time, depth: int) -> Lowered:
    return value.isoformat()


def _lower_text(value: object, depth: int) -> Lowered:
    return lower(str(value), depth)


def _lower_enum(value: Enum, depth: int) -> Lowered:
    return lower(value.value, depth)


LOWER: dict[type, Callable[[Any, int], Lowered]] = {date: _lower_iso, time: _lower_iso}

# Before the scalars: an IntEnum is an int. The value decides.
ENUMS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]], ...] = (
    (lambda value: isinstance(value, Enum), _lower_enum),
)

# After the times: a datetime is a date.
CONVERTERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]], ...] = (
    (lambda value: isinstance(value, (date, time)), _lower_iso),
    (lambda value: isinstance(value, loaded("uuid", "UUID")), _lower_text),
    (lambda value: isinstance(value, loaded("pathlib", "PurePath")), _lower_text),
)
