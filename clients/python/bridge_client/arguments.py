"""Arguments of calls, the same for every client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.errors import invalid_argument

__all__ = ["check_seconds", "merge_arguments"]

_FOREVER = 1e9
"""Seconds; what is longer (thirty years) is no limit."""


def merge_arguments(arguments: Mapping[str, Any] | None, keywords: dict[str, Any]) -> Mapping[str, Any]:
    """Arguments given as a mapping, as keywords, or both. A name in both is ``TypeError``, as in a call in Python."""
    if not arguments:
        return keywords
    if keywords:
        twice = keywords.keys() & arguments.keys()
        if twice:
            raise TypeError(f"argument given twice, in the mapping and as a keyword: {', '.join(sorted(twice))}")
        return {**arguments, **keywords}
    return arguments


def check_seconds(timeout: float | None) -> float | None:
    """A timeout as engines want it: ``None`` for no limit."""
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise invalid_argument("timeout", f"must be seconds, not below zero; not {timeout!r:.50}")
    return None if timeout > _FOREVER else float(timeout)
