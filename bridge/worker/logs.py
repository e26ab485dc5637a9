"""The log of a worker, sent to the server, which has a place for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bridge.telemetry.logs import fields_of
from bridge.worker.connection import Connection
from bridge.worker.frames import Log

__all__ = ["CURRENT_CALL", "PipeHandler", "installed"]

CURRENT_CALL: ContextVar[int] = ContextVar("bridge_worker_call", default=0)
"""Number of the call that the code at hand runs for; 0: of none."""

MAX_RECORDS = 1000
"""Records that may wait for room in the pipe; those that come then are counted, not kept."""
MAX_TEXT = 8 * 1024
"""Characters of a message, and of a traceback."""

_formatter = logging.Formatter()


class PipeHandler(logging.Handler):
    """Sends records as they come. Never blocks and never raises, whatever is logged and whoever is gone.

    Args:
        connection: the pipe.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._records: deque[Log] = deque()
        self._dropped = 0
        self._scheduled = False
        self._waiting: asyncio.Task[None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if len(self._records) >= MAX_RECORDS:
                self._dropped += 1
                return
            self._records.append(_log(record))
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon_threadsafe(self.send_waiting)
        except Exception:  # noqa: BLE001, S110 - code of whoever logs, or a loop that is gone
            pass

    def send_waiting(self) -> None:
        """Sends what waits, as far as there is room; in the event loop."""
        self._scheduled = False
        while self._records and self._connection.has_room:
            self._connection.send(self._records.popleft())
        if self._records:
            if self._waiting is None or self._waiting.done():
                self._waiting = self._loop.create_task(self._send_later())
        elif self._dropped:
            message = f"{self._dropped} log records were dropped: they came faster than they could be sent"
            self._dropped = 0
            self._connection.send(Log(0, logging.WARNING, __name__, message))

    async def _send_later(self) -> None:
        await self._connection.drain()
        self._loop.call_soon(self.send_waiting)


def _log(record: logging.LogRecord) -> Log:
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
    fields = {
        _utf8(name): _utf8(value) if isinstance(value, str) else value for name, value in fields_of(record).items()
    }
    return Log(CURRENT_CALL.get(), record.levelno, _utf8(record.name), _utf8(text), fields)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair would not get into a frame


@contextmanager
def installed(connection: Connection) -> Iterator[PipeHandler]:
    """Sends the log of the whole process by the pipe as long as the block runs."""
    handler = PipeHandler(connection)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.send_waiting()
