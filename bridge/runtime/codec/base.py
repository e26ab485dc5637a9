"""What the converters of values share: limits, refusals, and the shape of an encoded value."""

from __future__ import annotations

import json
from typing import Any

from ..errors import BridgeError, Code, ErrorDetails, FieldViolation

__all__ = [
    "MAX_DEPTH",
    "MAX_DIGITS",
    "TYPE_URL_PREFIX",
    "Lowered",
    "Packed",
    "Refusal",
    "malformed",
    "refused",
    "type_name",
    "unsupported",
]

TYPE_URL_PREFIX = "type.googleapis.com/"
"""What ``Any.type_url`` begins with (google/protobuf/any.proto)."""

MAX_DEPTH = 64
"""Containers inside one another: objects, arrays, ``Map`` and ``List``, counted together."""
MAX_DIGITS = 4300
"""Digits of one integer, characters of one decimal."""

Packed = tuple[str, bytes]
"""An encoded value: ``Any.type_url`` and ``Any.value``."""

Lowered = Any
"""A value on its way out: ``Packed`` (a tuple) if JSON cannot carry it, else a value JSON carries exactly: None, bool,
int, finite float, str, list, dict with str keys. Never a tuple otherwise."""


class Refusal(Exception):
    """A value that is not carried. Containers add their part of the path while it passes them."""

    def __init__(self, description: str, reason: str, code: Code = Code.INVALID_ARGUMENT) -> None:
        super().__init__(description)
        self.description = description
        self.reason = reason
        self.code = code
        self.keys: list[object] = []

    def inside(self, key: object) -> None:
        """Adds the key or index under which the refused value stands."""
        self.keys.append(key)

    def as_error(self, path: str) -> BridgeError:
        """The error for the caller; ``path`` is where the outermost value stands."""
        path += "".join(_step(key) for key in reversed(self.keys))
        details = ErrorDetails(violations=(FieldViolation(path, self.description),))
        return BridgeError(self.code, f"{path}: {self.description}", reason=self.reason, details=details)


def unsupported(description: str) -> Refusal:
    """A Python value that nothing can carry."""
    return Refusal(description, "UNSUPPORTED_VALUE")


def malformed(description: str) -> Refusal:
    """Bytes that are not what their type says."""
    return Refusal(description, "VALUE_MALFORMED")


def refused(description: str) -> Refusal:
    """Bytes beyond a limit."""
    return Refusal(description, "VALUE_REFUSED")


def type_name(value: object) -> str:
    """The name of a value's type, for messages; the value itself never goes into one."""
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


_MAX_KEY = 64
"""Characters of a key that go into a path."""


def _step(key: object) -> str:
    if isinstance(key, str):
        if key.isascii() and key.isidentifier() and len(key) <= _MAX_KEY:
            return f".{key}"
        return f"[{json.dumps(key if len(key) <= _MAX_KEY else key[:_MAX_KEY] + '…')}]"
    return f"[{key}]" if type(key) is int and -(2**63) <= key < 2**63 else f"[{type_name(key)}]"
