"""Which headers can be sent (gRPC over HTTP2, Custom-Metadata)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bridge.errors import BridgeError, invalid_argument

__all__ = ["unsendable"]

_KEY = re.compile(r"[0-9a-z_.-]+", re.ASCII)
_VALUE = re.compile(r"[ -~]*", re.ASCII)


def unsendable(headers: Iterable[tuple[str, object]]) -> BridgeError | None:
    """The error for the first header that cannot be sent: INVALID_ARGUMENT, reason ``BAD_HEADER``."""
    for header in headers:
        problem = _problem(header)
        if problem:
            return invalid_argument("headers", problem, reason="BAD_HEADER")
    return None


def _problem(header: object) -> str:
    if not isinstance(header, tuple) or len(header) != 2:
        return "each must be a pair of name and value"
    key, value = header
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return f"{str(key)[:100]!r} is no name of a header: use lower-case letters, digits, '-', '_' and '.'"
    if key.endswith("-bin"):
        return (
            "" if isinstance(value, bytes) else f"the value of {key[:100]!r} must be bytes, for its name ends in -bin"
        )
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        return (
            f"the value of {key[:100]!r} must be visible ASCII; what is not goes into a header named ...-bin, as bytes"
        )
    return ""
