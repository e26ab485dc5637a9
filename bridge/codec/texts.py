"""Values that travel as plain text or as another value: date, time, UUID, path, enumeration member.

They do not come back by themselves: the receiver sees the text, and a parameter annotated with the type gets it back.
"""

from __future__ import annotations

from datetime import date, time
from enum import Enum
from pathlib import PosixPath, PurePath, PurePosixPath
from uuid import UUID

from bridge.codec.base import Converter, Lowered
from bridge.codec.registry import lower

__all__ = ["CONVERTERS", "ENUMS", "LOWER"]


def _lower_iso(value: date | time, depth: int) -> Lowered:
    return value.isoformat()


def _lower_uuid(value: UUID, depth: int) -> Lowered:
    return str(value)


def _lower_path(value: PurePath, depth: int) -> Lowered:
    return lower(str(value), depth)


def _lower_enum(value: Enum, depth: int) -> Lowered:
    return lower(value.value, depth)


LOWER = {
    date: _lower_iso,
    time: _lower_iso,
    UUID: _lower_uuid,
    PosixPath: _lower_path,
    PurePosixPath: _lower_path,
}

# Before the scalars: a StrEnum is a str, an IntEnum an int. The value decides.
ENUMS = (Converter(lambda v: isinstance(v, Enum), _lower_enum),)

# After the times: a datetime is a date.
CONVERTERS = (
    Converter(lambda v: isinstance(v, (date, time)), _lower_iso),
    Converter(lambda v: isinstance(v, UUID), _lower_uuid),
    Converter(lambda v: isinstance(v, PurePath), _lower_path),
)
