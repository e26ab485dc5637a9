"""How long a plugin takes to say where it listens, and to end, and what memory it needs for that."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cores import Cores
from bench.cpu import CpuClock
from bench.goplugin.subjects import Subject, discard, launch, run, turns
from bridge.goplugin.transport.identity import make_identity

__all__ = ["Start", "run_starts"]


@dataclass(frozen=True, slots=True)
class Start:
    """One start and one end of a plugin."""

    line: float
    """Seconds from the launch to the handshake line."""
    cpu: float
    """Seconds of CPU until then."""
    rss: float
    """MB then."""
    kill: float
    """Seconds from the host's wish to the end of the process, which the host has reaped."""


async def run_starts(subjects: Sequence[Subject], rounds: int) -> dict[str, list[Start]]:
    """Rounds of starts, on all cores; the first start of each is not counted."""
    starts: dict[str, list[Start]] = {subject.label: [] for subject in subjects}
    for number in range(rounds + 1):
        for subject in turns(subjects, number):
            start = await _start(subject)
            if number:
                starts[subject.label].append(start)
    return starts


async def _start(subject: Subject) -> Start:
    identity = make_identity()
    began = time.perf_counter()
    process, line = launch(subject, Cores(), identity)
    took = time.perf_counter() - began
    cpu, rss = _cpu(process.pid), _rss(process.pid)
    discard(process, line)
    async with run(subject, Cores()) as running:
        began = time.perf_counter()
        await running.kill()
        return Start(took, cpu, rss, time.perf_counter() - began)


def _cpu(pid: int) -> float:
    return CpuClock(pid).read() / 1e9


def _rss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
