"""What a host keeps at most. Going over a limit is RESOURCE_EXHAUSTED, and the error names the limit."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bridge.errors import BridgeError, Code, ErrorDetails, invalid_argument

__all__ = ["HostLimits", "check_metadata", "check_ttl", "limit_exceeded"]

MAX_VARIABLE_TTL = 366 * 86400.0
"""Seconds. Far beyond any session, and small enough for every clock and wire."""


class HostLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a host of ours."""

    max_sessions: int = 10_000
    max_variables: int = 1_000
    """In one session."""
    max_variable_bytes: int = 8 * 1024 * 1024
    """Of one variable: packed value, name, metadata and constraints."""
    max_session_bytes: int = 64 * 1024 * 1024
    """Of all variables of one session, and their history."""
    history_entries: int = 100
    """Earlier values kept of one variable."""
    history_bytes: int = 16 * 1024 * 1024
    """Bytes of these."""
    max_watches: int = 64
    """Watches at one time in one session."""
    max_names_per_call: int = 1_000
    """Variables read or written by one call."""
    max_metadata_entries: int = 64
    """Of one session or variable."""
    max_metadata_bytes: int = 8 * 1024
    """Of one session or variable: UTF-8 bytes of keys and values."""
    default_ttl: float = 3600.0
    """Seconds a session lives without use, if it was opened without a wish."""
    max_ttl: float = 86400.0
    """Longest wish, seconds."""


def limit_exceeded(limit: str, maximum: int, subject: str, advice: str) -> BridgeError:
    """The error about a limit; its details have ``limit`` and ``maximum`` for programs."""
    details = ErrorDetails(metadata={"limit": limit, "maximum": str(maximum)})
    message = f"{subject}: {limit} is {maximum}; {advice}"
    return BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="LIMIT_EXCEEDED", details=details)


def check_metadata(metadata: Mapping[str, str], limits: HostLimits, subject: str) -> None:
    """Refuses metadata that is too long, or not text."""
    if len(metadata) > limits.max_metadata_entries:
        advice = "keep less metadata"
        raise limit_exceeded("max_metadata_entries", limits.max_metadata_entries, subject, advice)
    size = 0
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise invalid_argument("metadata", "keys and values must be strings")
        size += _utf8_length(key) + _utf8_length(value)
    if size > limits.max_metadata_bytes:
        raise limit_exceeded("max_metadata_bytes", limits.max_metadata_bytes, subject, "keep less metadata")


def _utf8_length(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise invalid_argument("metadata", "is not valid Unicode: it has a lone surrogate") from None


def check_ttl(ttl: float, maximum: float = MAX_VARIABLE_TTL) -> float:
    """The time to live as a float; refuses what is not a number of seconds above 0 and up to the maximum."""
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= maximum:
        raise invalid_argument("ttl", f"must be more than 0 and at most {maximum:.0f} seconds")
    return float(ttl)
