"""What stands in a JSON document for an object that JSON cannot carry.

``{"__ffi_unserializable__": true, "__type__": "module.Class"}``, which Elixir asks for by
``Snakepit.Serialization.unserializable?/1``. What the object looks like is told only where the environment says so.
"""

from __future__ import annotations

import os
import re
from typing import Any

__all__ = ["marker", "whole_number"]

DETAIL = "SNAKEPIT_UNSERIALIZABLE_DETAIL"
"""``none`` (the default), ``type``, ``repr_truncated`` or ``repr_redacted_truncated``."""
MAX_REPR = "SNAKEPIT_UNSERIALIZABLE_REPR_MAXLEN"
"""Characters of a ``repr`` that are told, at most ``_MOST_REPR``."""

_DEFAULT_REPR, _MOST_REPR = 500, 2000

_HIDDEN = "<REDACTED>"
_SECRETS = (
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{10,}"), f"sk-{_HIDDEN}"),
    (
        re.compile(
            r"""((?:api[_-]?key|token|secret|password)["']?\s*[:=]\s*)"""
            r"""(?!["']?bearer\s)(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"',;)}\]]+)""",
            re.IGNORECASE,
        ),
        rf"\1{_HIDDEN}",
    ),
)
"""Common forms of secrets. A help against accidents, not a border."""


def marker(value: object) -> dict[str, Any]:
    """The marker of an object."""
    cls = type(value)
    name = f"{cls.__module__}.{cls.__name__}"
    found: dict[str, Any] = {"__ffi_unserializable__": True, "__type__": name}
    detail = os.environ.get(DETAIL, "").strip().lower()
    if detail == "type":
        found["__repr__"] = f"<unserializable {name}>"
    elif detail in ("repr_truncated", "repr_redacted_truncated"):
        text = _repr(value, name)
        if detail == "repr_redacted_truncated":
            text = _redacted(text)  # before it is cut: half a secret does not look like one
        found["__repr__"] = text[: min(whole_number(MAX_REPR, _DEFAULT_REPR), _MOST_REPR)]
    return found


def whole_number(variable: str, default: int) -> int:
    """A setting of the environment that is a number from 0 on; ``default`` if it is missing or is none."""
    try:
        return max(0, int(os.environ[variable]))
    except (KeyError, ValueError):
        return default


def _repr(value: object, name: str) -> str:
    try:
        return repr(value).encode("utf-8", "backslashreplace").decode()
    except Exception:  # noqa: BLE001 - __repr__ is the tool author's code
        return f"<repr failed for {name}>"


def _redacted(text: str) -> str:
    for pattern, hidden in _SECRETS:
        text = pattern.sub(hidden, text)
    return text
