"""What a plugin writes to stderr, as entries of a log: hclog's JSON, or text with a tag (go-plugin's client.go)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from bridge.goplugin.log_levels import LEVELS

__all__ = ["LAST_WORDS", "LogEntry", "LogState", "log_entry", "parse_line"]

_TAGS = {f"[{name.upper()}]": level for name, level in LEVELS.items()}
LAST_WORDS = ("panic: ", "fatal error: ")
"""How Go says that a process ends; its stacks follow."""


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry."""

    message: str
    """A line of text as it came, its tag with it."""
    level: int = logging.DEBUG
    """Python's number; ``TRACE`` (5) below DEBUG."""
    timestamp: datetime | None = None
    """When it was logged, with a zone; ``None``: it does not say."""
    module: str = ""
    """Name of the plugin's logger."""
    fields: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Keys and values beside the message."""


class LogState(msgspec.Struct):
    """What earlier lines have to do with a line."""

    in_panic: bool = False
    """The process of a plugin in Go has said its last words: text without a tag is an error."""


def parse_line(line: bytes, state: LogState) -> LogEntry:
    """The entry in a line. No line is an error.

    JSON without a level of hclog's is somebody else's: the whole line is the message, at debug. Unlike Go's hosts,
    this one lives on when ``@message`` or ``@level`` is no text, and does not mind the form of ``@timestamp``.

    Args:
        line: whole, without its end.
        state: of this plugin's stderr.
    """
    text = line.decode("utf-8", "replace")
    found = _object(text)
    if found is None:
        return LogEntry(message=text, level=_level_of_text(text, state))
    level = found.pop("@level", None)
    number = LEVELS.get(level.strip().lower()) if isinstance(level, str) else None
    if number is None:
        return LogEntry(message=text)
    message = found.pop("@message", "")
    return LogEntry(
        message=message if isinstance(message, str) else _shown(message),
        level=number,
        timestamp=_take_timestamp(found),
        module=found.pop("@module") if isinstance(found.get("@module"), str) else "",
        fields=found,
    )


def log_entry(logger: logging.Logger, entry: LogEntry) -> None:
    """Logs an entry: in words with its fields behind the message, and for programs with a ``fields`` of the record.

    The time of the record is that of the host; the plugin's is ``@timestamp`` among the fields, its logger ``@module``.
    """
    if not logger.isEnabledFor(entry.level):
        return
    fields = dict(entry.fields)
    if entry.module:
        fields["@module"] = entry.module
    words = " ".join([entry.message, *(f"{name}={_quoted(value)}" for name, value in fields.items())])
    if entry.timestamp is not None:
        fields["@timestamp"] = entry.timestamp.isoformat()
    logger.log(entry.level, "%s", words, extra={"fields": fields})


def _object(text: str) -> dict[str, Any] | None:
    if not text.lstrip(" \t\r\n").startswith("{"):
        return None  # most text that is no JSON: an exception for each line would cost more than reading it
    try:
        found = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _level_of_text(text: str, state: LogState) -> int:
    for tag, level in _TAGS.items():
        if text.startswith(tag):
            return level
    state.in_panic = state.in_panic or text.startswith(LAST_WORDS)
    return logging.ERROR if state.in_panic else logging.DEBUG


def _take_timestamp(found: dict[str, Any]) -> datetime | None:
    """What cannot be read stays among the fields."""
    text = found.get("@timestamp")
    try:
        timestamp = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if timestamp is None or timestamp.tzinfo is None:
        return None
    del found["@timestamp"]
    return timestamp


def _quoted(value: object) -> str:
    if isinstance(value, str) and value and value.isprintable() and not set(value) & {" ", '"', "="}:
        return value
    return _shown(value)


def _shown(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:  # it could be read where the stack was not as deep
        return f"<{type(value).__name__}>"
