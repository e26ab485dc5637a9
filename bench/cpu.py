"""CPU time of other processes, in nanoseconds."""

from __future__ import annotations

import ctypes
import os
import time

__all__ = ["CpuClock"]


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
