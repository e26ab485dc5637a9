"""CPU time of other processes, in nanoseconds."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

__all__ = ["CpuClock", "TreeClock"]


class CpuClock:
    """The CPU-time clock of a process (clock_getcpuclockid(3)).

    User and system time of all its threads, those that ended too, from the scheduler's own books: no 10 ms ticks as in
    ``/proc/PID/stat``. Children are not counted. The kernel's work for a packet on loopback is charged to whoever
    sends it.
    """

    def __init__(self, pid: int) -> None:
        clock = ctypes.c_int()
        error = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
        if error:
            raise OSError(error, f"no CPU clock for process {pid}: {os.strerror(error)}")
        self._clock = clock.value

    def read(self) -> int:
        """Nanoseconds of CPU the process has used so far."""
        return time.clock_gettime_ns(self._clock)


class TreeClock:
    """The CPU time of a process and of all that descend from it and live: the worker processes of a server."""

    def __init__(self, pid: int) -> None:
        self._clocks = {pid: CpuClock(pid)}

    def pids(self) -> list[int]:
        """Those that live, the first one first."""
        pids = list(self._clocks)[:1]
        for pid in pids:  # grows while it is walked through
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        return pids

    def read(self) -> int:
        """Nanoseconds of CPU so far; what has ended since the last look is left out."""
        self._clocks = {pid: self._clocks.get(pid) or CpuClock(pid) for pid in self.pids()}
        return sum(clock.read() for clock in self._clocks.values())
