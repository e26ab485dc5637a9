"""Which process a number means: numbers are given again, and what is killed by one must be what was meant."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import msgspec

__all__ = ["ProcessIdentity"]

_STATE, _START = 0, 19
"""Fields of /proc/PID/stat, counted after the name: the third and the twenty-second of proc(5)."""
_ENDED = frozenset("ZXx")


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process, among all that have the same number one after the other."""

    pid: int
    start_time: int = 0
    """Clock ticks from the start of the machine to that of the process; 0: /proc does not tell."""
    boot_id: str = ""
    """Which start of the machine that was; empty: not known."""

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """Of the process that has the number at this moment. Raises ``ProcessLookupError``."""
        if pid <= 0:  # to the kernel those are groups
            raise ProcessLookupError(pid)
        fields = _stat(pid)
        return cls(pid, int(fields[_START]) if fields else 0, _boot_id())

    def is_running(self) -> bool:
        """Whether it has not ended. One that has is ended, also while its parent has not reaped it."""
        try:
            if self.boot_id != _boot_id():
                return False
            fields = _stat(self.pid)
        except ProcessLookupError:
            return False
        if not fields or not self.start_time:
            return True
        return int(fields[_START]) == self.start_time and fields[_STATE] not in _ENDED


def _stat(pid: int) -> list[str] | None:
    """The fields after the name; ``None`` if the process is there and /proc does not show it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        try:
            os.kill(pid, 0)
        except PermissionError:
            pass
    return None


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
