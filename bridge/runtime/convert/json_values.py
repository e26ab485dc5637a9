"""Default values as they stand in a JSON Schema."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from .base import kind_of

__all__ = ["ABSENT", "as_json"]


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()
"""There is no such value; ``None`` is one."""


def as_json(value: Any) -> Any:
    """A value as JSON carries it, or ``ABSENT``."""
    try:
        return json.loads(json.dumps(value, default=_plain, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return ABSENT


def _plain(value: Any) -> Any:
    kind = kind_of(value)
    if isinstance(value, Enum):
        return value.value
    if kind in ("datetime", "date", "time"):
        return value.isoformat()
    if kind in ("uuid", "decimal", "path"):
        return str(value)
    if kind == "set":
        return list(value)
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        import dataclasses

        return dataclasses.asdict(value)
    raise TypeError
