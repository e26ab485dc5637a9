"""The log of a worker, sent to the server, which has a place for it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

from . import frames
from .pipe import Pipe

__all__ = ["PipeHandler", "installed"]

MAX_RECORDS = 1000
"""Records that may wait to be sent; those that come then are counted, not kept."""
MAX_TEXT = 8 * 1024
"""Characters of a message, and of a traceback."""
MAX_FIELD = 2048
"""Characters of one extra field."""

_SECRET = re.compile(r"(?i)authorization|cookie|credential|passw|private_?key|secret|token|api_?key")
_formatter = logging.Formatter()


class PipeHandler(logging.Handler):
    """Sends records as they come; with what is sent next, if somebody is sending something just now. Never raises,
    whatever is logged and whoever is gone.

    Args:
        pipe: where they go.
        current_call: number of the call that is running; 0: none is.
    """

    def __init__(self, pipe: Pipe, current_call: Callable[[], int]) -> None:
        super().__init__()
        self._pipe = pipe
        self._current_call = current_call
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Sends a record."""
        try:
            waiting = self._pipe.waiting
            if len(waiting) >= MAX_RECORDS:
                self._dropped += 1
                return
            if self._dropped:
                text = f"{self._dropped} log records were dropped: they came faster than they could be sent"
                self._dropped = 0
                waiting.append(frames.frame(frames.LOG, 0, logging.WARNING, __name__, text, {}))
            waiting.append(_frame(record, self._current_call()))
            self._pipe.send_waiting()
        except Exception:  # noqa: BLE001, S110 - code of whoever logs
            pass


def _frame(record: logging.LogRecord, call: int) -> bytes:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit, or a __str__ that fails
        text = f"(a message that cannot be shown: {record.msg!r:.200})"
    text = text[:MAX_TEXT]
    trace = record.exc_text or ""
    if record.exc_info and record.exc_info[0] is not None:
        trace = _formatter.formatException(record.exc_info)
    if record.stack_info:
        trace = f"{trace}\n{record.stack_info}"
    if trace:
        text += "\n" + trace.strip("\n")[-MAX_TEXT:]  # the end of a traceback tells more than its beginning
    return frames.frame(frames.LOG, call, record.levelno, _utf8(record.name), _utf8(text), _fields(record))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The extra fields of a record as they may be shown."""
    standard = vars(logging.getLogRecordFactory()("", 0, "", 0, "", (), None))
    return {
        _utf8(name): "[redacted]" if _SECRET.search(name) else _shown(value)
        for name, value in vars(record).items()
        if name not in standard and name not in ("message", "asctime", "taskName")
    }


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return _utf8(value if len(value) <= MAX_FIELD else value[: MAX_FIELD - 1] + "…")
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else "<int>"
    return f"<{type(value).__name__}>"


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair would not get into a frame


@contextmanager
def installed(handler: logging.Handler) -> Iterator[None]:
    """Sends the log of the whole process by a handler as long as the block runs."""
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
