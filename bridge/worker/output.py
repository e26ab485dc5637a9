"""What a worker prints: always read, so that it never waits for a reader; kept in part, logged in part."""

from __future__ import annotations

import asyncio
import logging
import os
import time

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
    """

    def __init__(self, fd: int, pid: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._fields: dict[str, object] = {"pid": pid}
        self._tail = bytearray()
        self._line = b""
        """The begin of a line whose end has not come."""
        self.allowance = Allowance()
        """Of lines in the log; shared with what tools log by themselves."""
        self._told = 0.0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)

    def begin(self, tool: str) -> None:
        """What comes from here on belongs to a call."""
        self._fields["tool"] = tool
        self._tail.clear()

    def end(self) -> None:
        """The call is over."""
        self._fields.pop("tool", None)
        self._tell_refused()

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
            log.info("%s", line[:LINE_BYTES].decode("utf-8", "replace"), extra=self._fields)

    def _tell_refused(self) -> None:
        refused, self.allowance.refused = self.allowance.refused, 0
        self._told = self._loop.time()
        if refused:
            log.warning("%d lines of a worker were too many to log", refused, extra=self._fields)

    def _stop(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
