"""What a worker prints: always read, so that it never waits for a reader; kept in part, logged in part."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import time
from collections.abc import Mapping

from bridge.call import Headers, ToolCall
from bridge.telemetry.propagation import CORRELATION, trace_of
from bridge.worker.journal import Journal

__all__ = ["Allowance", "Output"]

KEPT_BYTES, KEPT_LINES = 64 * 1024, 50
"""How much of the end is kept."""
LINE_BYTES = 8 * 1024
"""Longer lines are cut."""
READ_BYTES = 64 * 1024
TELL_INTERVAL = 1.0
"""Seconds between two notes of how many lines were left out."""
LAST_READS = 64
"""Reads of what a dead worker left in its pipe: more than a pipe holds, and an end if its children go on writing."""

log = logging.getLogger("bridge.worker")


class Allowance:
    """So many lines at once, and then so many a second: what a worker may write into the server's log."""

    def __init__(self, burst: int = 1000, rate: float = 200.0) -> None:
        self._burst, self._rate = burst, rate
        self._left = float(burst)
        self._since = time.monotonic()
        self.refused = 0
        """Lines that were too many since the last look."""

    def take(self, wanted: int = 1) -> int:
        """How many of so many lines may be written."""
        if self._left < wanted:
            now = time.monotonic()
            self._left = min(self._burst, self._left + (now - self._since) * self._rate)
            self._since = now
        granted = min(wanted, int(self._left))
        self._left -= granted
        self.refused += wanted - granted
        return granted


class Output:
    """Reads the pipe that is a worker's stdout and stderr.

    Args:
        fd: the end to read; closed by ``close``.
        pid: the worker, for logs.
        journal: where all that it prints goes, too.
    """

    def __init__(self, fd: int, pid: int, journal: Journal | None = None) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._pid = pid
        self._journal = journal
        self._call: tuple[int, ToolCall, Headers] | None = None
        self._fields: dict[str, object] | None = None
        """Made when they are asked for: most calls print nothing."""
        self._tail = bytearray()
        self._line = b""
        """The begin of a line whose end has not come."""
        self.allowance = Allowance()
        """Of lines in the log; shared with what tools log by themselves."""
        self._told = 0.0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)

    def begin(self, number: int, request: ToolCall, headers: Headers) -> None:
        """What comes from here on belongs to a call.

        Args:
            number: the call's.
            request: the call.
            headers: what the worker gets of the call's; they tell of its trace.
        """
        self._call, self._fields = (number, request, headers), None
        self._tail.clear()

    def end(self) -> None:
        """The call is over. What it has printed is in the pipe before its answer is: so it is read now, and nobody
        else's."""
        if self._fd >= 0 and self._poll.poll(0):
            self.drain()
        self._end_line()
        self._tell_refused()
        self._call = self._fields = None

    @property
    def fields(self) -> Mapping[str, object]:
        """What tells in a log whose lines they are: the process, and of a call the tool, the number in this process,
        and its session and trace if it has them."""
        if self._fields is None:
            self._fields = {"pid": self._pid}
            if self._call is not None:
                number, request, headers = self._call
                self._fields |= {"tool": request.tool, "call": number}
                if request.session_id:
                    self._fields["session_id"] = request.session_id
                if trace := trace_of(headers):
                    self._fields["trace_id"] = trace
                if correlation := headers.get(CORRELATION):
                    self._fields["correlation_id"] = correlation
        return self._fields

    def drain(self) -> None:
        """Reads what is there."""
        for _ in range(LAST_READS):
            if not self._read():
                break

    def close(self) -> None:
        """Reads what is left, and lets go of the pipe."""
        self.drain()
        if self._fd >= 0:
            self._stop()
        self._end_line()
        self._tell_refused()

    def tail(self) -> list[str]:
        """The last lines of the call."""
        return self._tail.decode("utf-8", "replace").splitlines()[-KEPT_LINES:]

    def _read(self) -> bool:
        """Takes what is there; whether there may be more."""
        if self._fd < 0:
            return False
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._stop()
            return False
        if self._journal is not None:
            self._journal.write(data)
        self._tail += data
        if len(self._tail) > KEPT_BYTES:
            del self._tail[:-KEPT_BYTES]
        self._pass_on(data)
        return True

    def _pass_on(self, data: bytes) -> None:
        text = self._line + data
        end = text.rfind(b"\n") + 1
        self._line = text[end:]
        granted = self.allowance.take(text.count(b"\n", 0, end))
        if granted:  # else the lines are not even looked at: there may be millions
            for line in text[:end].split(b"\n", granted)[:granted]:
                self._log(line)
        if len(self._line) > LINE_BYTES:
            self._end_line()
        if self.allowance.refused and self._loop.time() - self._told > TELL_INTERVAL:
            self._tell_refused()

    def _end_line(self) -> None:
        line, self._line = self._line, b""
        if line and self.allowance.take():
            self._log(line)

    def _log(self, line: bytes) -> None:
        if line:
            log.info("%s", line[:LINE_BYTES].decode("utf-8", "replace"), extra=self.fields)

    def _tell_refused(self) -> None:
        refused, self.allowance.refused = self.allowance.refused, 0
        self._told = self._loop.time()
        if refused:
            log.warning("%d lines of a worker were too many to log", refused, extra=self.fields)

    def _stop(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
