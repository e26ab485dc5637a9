"""How log records look: JSON for programs, one line of text for people.

A record's extra fields (``extra=`` of the logging calls) are printed beside the message. Fields that could carry what
a caller sent are not: only plain scalars are shown, names that sound secret are blanked, long text is cut, and control
characters are escaped, so that no value can pretend to be a line of the log.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import msgspec

from bridge import call_path
from bridge.errors import BridgeError, Code
from bridge.telemetry import propagation

__all__ = ["FORMATS", "LEVELS", "ConsoleFormatter", "JsonFormatter", "extra_fields", "fields_of", "installed"]

FORMATS = ("auto", "console", "json")
LEVELS = ("debug", "info", "warning", "error", "critical")

MAX_FIELD = 2048
"""Characters of one extra field."""
REDACTED = "[redacted]"

_ENCODER = msgspec.json.Encoder()

# What every record has; the rest of its attributes are the extra fields.
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime", "taskName"}
_SECRET = re.compile(r"(?i)authorization|cookie|credential|passw|private_?key|secret|token|api_?key")
_CONTROL = {i: f"\\x{i:02x}" for i in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_CONTROL |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def extra_fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    """What ``extra=`` of a logging call has given to a record. Names with a leading underscore are what a library notes
    for itself."""
    for name, value in record.__dict__.items():
        if name not in _STANDARD and not name.startswith("_"):
            yield name, value


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The extra fields of a record as they may be shown, with the ids of the current trace and of the call in Snakepit
    if there are such."""
    fields = {name: REDACTED if _is_secret(name) else _shown(value) for name, value in extra_fields(record)}
    if "trace_id" not in fields and (trace_id := propagation.trace_id()):
        fields["trace_id"] = trace_id
    if "correlation_id" not in fields and (correlation_id := _correlation_id()):
        fields["correlation_id"] = correlation_id
    return fields


def _correlation_id() -> str:
    nest = call_path.enclosing()
    return "" if nest is None or nest.call is None else nest.call.headers.get(propagation.CORRELATION, "")


@functools.lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_FIELD else value[: MAX_FIELD - 1] + "…"
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else "<int>"
    return f"<{type(value).__name__}>"


@functools.lru_cache(maxsize=4)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@functools.lru_cache(maxsize=4)
def _local(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, the extra fields, and ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": f"{_utc(int(record.created))}.{int(record.msecs):03d}Z",  # RFC 3339
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line = {**line, **fields_of(record), **line}  # in this order, and no extra field takes the place of our own
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        try:
            return _ENCODER.encode(line).decode()
        except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot hold
            return _ENCODER.encode({_utf8(key): _utf8(value) for key, value in line.items()}).decode()


def _utf8(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


class ConsoleFormatter(logging.Formatter):
    """``12:00:00.123 INFO    bridge.audit call tool=word_count code=OK``; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        clock = f"{_local(int(record.created))}.{int(record.msecs):03d}"
        parts = [f"{clock} {record.levelname:<7} {record.name}", _plain(record.getMessage())]
        parts += [f"{name}={_quoted(value)}" for name, value in fields_of(record).items()]
        text = " ".join(parts)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            text += "\n" + self.formatStack(record.stack_info)
        return text.encode("utf-8", "replace").decode()  # half of a surrogate pair would not get past the stream


def _plain(text: str) -> str:
    return text.translate(_CONTROL)


def _quoted(value: Any) -> str:
    text = _plain(str(value))
    return f'"{text}"' if not text or " " in text else text


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that it can be told from a handler the program has set up."""


@contextmanager
def installed(log_format: str = "auto", level: str = "info", stream: TextIO | None = None) -> Iterator[None]:
    """Sends the log of the whole process to a stream as long as the block runs.

    Where two servers run in one process the log of the first serves both.

    Args:
        log_format: ``console``, ``json``, or ``auto``: console on a terminal, JSON otherwise.
        level: the least level that is logged.
        stream: where to; ``None``: standard error.

    Raises:
        BridgeError: INVALID_ARGUMENT for an unknown format or level.
    """
    _check("log_format", log_format, FORMATS)
    _check("log_level", level, LEVELS)
    root = logging.getLogger()
    if any(isinstance(handler, _Handler) for handler in root.handlers):
        yield
        return
    stream = sys.stderr if stream is None else stream
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    handler = _Handler(stream)
    handler.setFormatter(ConsoleFormatter() if console else JsonFormatter())
    before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    # At "debug" it has something to say of every call, and nothing of ours.
    logging.getLogger("grpc").setLevel(max(root.level, logging.WARNING))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise BridgeError(
            Code.INVALID_ARGUMENT, f"{name} is {value!r}: use one of {', '.join(allowed)}", reason="CONFIG"
        )
