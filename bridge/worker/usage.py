"""What a process and those it has started use of the machine (proc(5))."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from bridge.worker.memory import tree, tree_rss

__all__ = ["Usage", "UsageMeter"]

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")


class Usage(msgspec.Struct, frozen=True):
    """What a process and all it has started use."""

    cpu_seconds: float
    """CPU time so far, with that of children that have ended."""
    cpu_percent: float
    """CPU time since the look before, in percent of one core."""
    rss: int
    """Bytes of resident memory; what is shared counts for each."""


class UsageMeter:
    """Looks now and then; the first percentage is that since it was made."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._when = time.monotonic()

    def look(self, pid: int) -> Usage:
        """What a process, which is the same each time, uses now."""
        seconds, now = sum(map(_cpu_seconds, tree(pid))), time.monotonic()
        used, elapsed = seconds - self._seconds, now - self._when
        self._seconds, self._when = seconds, now
        return Usage(seconds, 100.0 * max(0.0, used) / elapsed if elapsed > 0 else 0.0, tree_rss(pid))


def _cpu_seconds(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        fields = text.rpartition(")")[2].split()  # the name before it may hold anything
        return sum(map(int, fields[11:15])) * _TICK  # utime, stime, cutime, cstime
    except (OSError, ValueError):
        return 0.0  # it has ended meanwhile
