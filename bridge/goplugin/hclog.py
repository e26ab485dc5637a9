"""The log of a plugin as its host reads it on stderr: hclog's JSON, one object a line (go-hclog's intlogger.go).

``@message``, ``@level`` and ``@timestamp`` are there always, ``@module`` except for the root logger; ``extra=`` of the
logging calls becomes keys beside them. A traceback is in ``stacktrace``, where hclog has its own.
"""

from __future__ import annotations

import logging
import math
import os
import select
import time
from typing import Any

import msgspec

from bridge.goplugin.log_levels import TRACE, level_name, level_number
from bridge.telemetry.logs import extra_fields

__all__ = ["MAX_LINE", "HclogHandler", "hclog_line"]

MAX_LINE = 64 * 1024
"""Bytes of a line with its end; a host shows the parts of a longer one as text, at debug."""

_LIMITS = (48 * 1024, 16 * 1024, 4 * 1024, 1024, 256)
"""Characters of each value, the next where a line would be too long otherwise."""
_MAX_DEPTH, _MAX_ITEMS = 3, 100
"""Of values that are containers; what is deeper is text, and what is more is left out."""
_MAX_EXACT = 2**53
"""The host's numbers are float64; a larger whole number would be another one there."""

_ENCODER = msgspec.json.Encoder()
_formatter = logging.Formatter()


class HclogHandler(logging.Handler):
    """Writes records to a descriptor. Never raises, whatever is logged and whoever has closed the other end.

    Like a plugin in Go, it waits where the host reads slower than the plugin logs. Lines of several threads do not get
    into one another; those of forked processes neither, as far as a pipe takes them whole (``PIPE_BUF``).

    Args:
        fd: the plugin's real stderr; stays open.
        level: the least level that is written: hclog's name or Python's number.

    Raises ``BridgeError`` INVALID_ARGUMENT for an unknown level.
    """

    def __init__(self, fd: int = 2, level: int | str = TRACE) -> None:
        super().__init__(level_number(level))
        self._fd = fd

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(hclog_line(record))
        except Exception:  # noqa: BLE001, S110 - the host is gone, the descriptor is, or the record is no record
            pass

    def _write(self, line: bytes) -> None:
        while line:
            try:
                line = line[os.write(self._fd, line) :]
            except BlockingIOError:  # somebody has made the pipe non-blocking
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()


def hclog_line(record: logging.LogRecord) -> bytes:
    """The line for a record, with its end; at most ``MAX_LINE`` bytes: longer values are cut, and as a last resort
    left out."""
    own = {"@level": level_name(record.levelno), "@message": _message(record), "@timestamp": _timestamp(record.created)}
    if record.name != "root":
        own["@module"] = _utf8(record.name)
    fields = {_utf8(name): _field(value) for name, value in extra_fields(record)}
    if trace := _trace(record):
        fields["stacktrace"] = trace
    values = {**own, **fields, **own}  # in this order, and no extra field takes the place of our own
    line = _ENCODER.encode(values) + b"\n"
    if len(line) <= MAX_LINE:
        return line
    for limit in _LIMITS:
        line = _ENCODER.encode({name: _cut(name, value, limit) for name, value in values.items()}) + b"\n"
        if len(line) <= MAX_LINE:
            return line
    own["@warn"] = f"{len(fields)} fields were left out: the line would be too long"
    return _ENCODER.encode({name: _cut(name, value, _LIMITS[-1]) for name, value in own.items()}) + b"\n"


def _message(record: logging.LogRecord) -> str:
    try:
        return _utf8(record.getMessage())
    except Exception:  # noqa: BLE001 - arguments that do not fit, or a __str__ that fails
        shown = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        return _utf8(f"(a message that cannot be shown: {shown:.200})")


def _trace(record: logging.LogRecord) -> str:
    trace = record.exc_text or ""
    try:
        if record.exc_info and record.exc_info[0] is not None:
            trace = _formatter.formatException(record.exc_info)
    except Exception:  # noqa: BLE001 - a __str__ of the exception, or what stands in place of it
        trace = "(a traceback that cannot be shown)"
    return _utf8("\n".join(part for part in (trace, record.stack_info) if part)[-MAX_LINE:])


def _timestamp(created: float) -> str:
    """RFC 3339 with microseconds in UTC: ``2006-01-02T15:04:05.000000Z``. Hosts take no other count of digits."""
    seconds, micros = divmod(round(created * 1e6), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{micros:06d}Z"


def _field(value: object) -> Any:
    try:
        return _plain(value, 0)
    except Exception:  # noqa: BLE001 - a container that another thread changes, or a __str__ that fails
        return f"<{type(value).__name__}>"


def _plain(value: object, depth: int) -> Any:
    """A value as JSON can hold it, so that the host reads the same; all else becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and abs(value) <= _MAX_EXACT:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if depth < _MAX_DEPTH and isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value[:_MAX_ITEMS]]
    if depth < _MAX_DEPTH and isinstance(value, dict):
        return {_utf8(str(name)): _plain(item, depth + 1) for name, item in list(value.items())[:_MAX_ITEMS]}
    return _utf8(str(value))


def _utf8(text: str) -> str:
    """Without halves of surrogate pairs, which do not get into UTF-8, and no longer than what is cut anyhow."""
    return text[:MAX_LINE].encode("utf-8", "replace").decode()


def _cut(name: str, value: Any, limit: int) -> Any:
    if isinstance(value, list | dict):
        encoded = _ENCODER.encode(value).decode()
        return value if len(encoded) <= limit else encoded[: limit - 1] + "…"
    if not isinstance(value, str) or len(value) <= limit:
        return value
    # The end of a traceback tells more than its beginning.
    return "…" + value[-limit + 1 :] if name == "stacktrace" else value[: limit - 1] + "…"
