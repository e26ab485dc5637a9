"""How a worker looks after the BEAM: the pool's JSON and the flags of Snakepit's own server."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

__all__ = ["HeartbeatOptions", "heartbeat_options"]

log = logging.getLogger("bridge.snakepit")


class HeartbeatOptions(msgspec.Struct, frozen=True):
    """When heartbeats go out and what their absence means. Durations are seconds."""

    enabled: bool = True
    interval: float = 2.0
    timeout: float = 10.0
    """For one answer."""
    max_missed: int = 3
    """So many unanswered in a row mean that the BEAM is lost."""
    initial_delay: float = 0.0
    jitter: float = 0.0
    """At most so much is added to an interval, so that many workers do not beat as one."""
    dependent: bool = True
    """Whether the worker stops when the BEAM is lost."""


def heartbeat_options(flags: Mapping[str, Any], text: str) -> HeartbeatOptions:
    """The settings in force.

    Args:
        flags: ``heartbeat_interval_ms`` and so on; those that are ``None`` were not given.
        text: ``SNAKEPIT_HEARTBEAT_CONFIG``, a JSON object with the same names without ``heartbeat_``; wins. What
            cannot be used of it is left out, with a line in the log: a pool shall not lose its workers for it.
    """
    given = {name: flags.get(f"heartbeat_{name}") for name in _FIELDS}
    found = {name: value for name, value in given.items() if value is not None} | _read(text)
    options = {}
    for name, value in found.items():
        field, convert = _FIELDS[name]
        try:
            options[field] = convert(value)
        except (TypeError, ValueError, OverflowError):
            log.warning("the heartbeat's %s cannot be used; the default is in force", name)
    return HeartbeatOptions(**options)


def _read(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        log.warning("SNAKEPIT_HEARTBEAT_CONFIG is no JSON object; it is ignored")
        return {}
    # Its names may be written intervalMs, too.
    named = {re.sub("([A-Z])", r"_\1", name).lower(): value for name, value in document.items()}
    return {name: value for name, value in named.items() if name in _FIELDS}


def _seconds(milliseconds: Any) -> float:
    value = float(milliseconds) / 1000
    if not 0 <= value < math.inf:
        raise ValueError
    return value


def _positive_seconds(milliseconds: Any) -> float:
    return max(_seconds(milliseconds), 0.001)


def _count(value: Any) -> int:
    count = int(value)
    if count < 0:
        raise ValueError
    return max(count, 1)


def _switch(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("1", "true", "t", "yes", "y", "on")
    return bool(value)


_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "enabled": ("enabled", _switch),
    "interval_ms": ("interval", _positive_seconds),
    "timeout_ms": ("timeout", _positive_seconds),
    "max_missed_heartbeats": ("max_missed", _count),
    "initial_delay_ms": ("initial_delay", _seconds),
    "jitter_ms": ("jitter", _seconds),
    "dependent": ("dependent", _switch),
}
