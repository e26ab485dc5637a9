"""What the processes of a worker use of the machine, as events."""

from __future__ import annotations

import os
from pathlib import Path

from bridge.snakepit.telemetry_events import CPU_SAMPLED, MEMORY_SAMPLED
from bridge.worker.memory import tree
from bridge.worker.usage import UsageMeter

__all__ = ["Sampler"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Sampler:
    """Looks at this process and all that it has started: tools may run in those. Memory that some share counts for
    each."""

    def __init__(self) -> None:
        self._meter = UsageMeter()
        self._has_looked = False

    def look(self) -> dict[str, dict[str, float]]:
        """Measurements by event. The share of the CPU is that since the last look, so the first has none."""
        pid = os.getpid()
        usage = self._meter.look(pid)
        samples: dict[str, dict[str, float]] = {
            MEMORY_SAMPLED: {"rss_bytes": usage.rss, "vms_bytes": sum(map(_address_space, tree(pid)))}
        }
        if self._has_looked:
            samples[CPU_SAMPLED] = {"cpu_percent": round(usage.cpu_percent, 2)}
        self._has_looked = True
        return samples


def _address_space(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[0]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0  # it has ended meanwhile
