"""Measures one subject in one case: ``python -m bench.workers.run SUBJECT CASE SECONDS`` prints JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cpu import CpuClock
from bench.workers.subjects import SUBJECTS

MEGABYTE = 1_000_000
WARM_UP = 20


def memory(pid: int) -> dict[str, float]:
    """Resident memory of a process, MB; what is shared with others counts in parts in ``pss``."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return {"rss": sizes["Rss:"] / 1024, "pss": sizes["Pss:"] / 1024}


def repeated(subject: Any, call: Callable[[], object], seconds: float) -> dict[str, float]:
    """Calls one after the other; CPU in microseconds of this process and of the plugin's."""
    began = time.perf_counter()
    for _ in range(WARM_UP):
        call()
        if time.perf_counter() - began > seconds:
            break
    clocks = [CpuClock(pid) for pid in subject.pids()]
    theirs, ours = sum(clock.read() for clock in clocks), time.process_time_ns()
    began = time.perf_counter()
    count = 0
    while count < 3 or time.perf_counter() - began < seconds:
        call()
        count += 1
    wall = time.perf_counter() - began
    host, worker = time.process_time_ns() - ours, sum(clock.read() for clock in clocks) - theirs
    return {
        "calls_per_s": count / wall,
        "ms": wall / count * 1000,
        "host_us": host / count / 1000,
        "worker_us": worker / count / 1000,
    }


def measure(name: str, case: str, seconds: float) -> dict[str, float]:
    """One figure or some of one case."""
    kind: Any = SUBJECTS[name]
    workers = int(case.removeprefix("start")) if case.startswith("start") else 1
    if case.startswith("start"):
        kind().close()  # what the host imports is no part of a start
    began = time.perf_counter()
    subject = kind(workers) if workers > 1 else kind()
    try:
        subject.all_answer() if workers > 1 else subject.unary()
        ready = time.perf_counter() - began
        if case.startswith("start"):
            sizes = [memory(pid) for pid in subject.pids()]
            return {"s": ready, "rss_mb": max(one["rss"] for one in sizes), "pss_mb": max(one["pss"] for one in sizes)}
        if case.startswith("array"):
            import numpy

            size, _, how = case.removeprefix("array").partition("_")
            data = numpy.zeros(int(size) * MEGABYTE, dtype="uint8")
            call = getattr(subject, f"array_{how}" if how else "array")
            return repeated(subject, lambda: call(data), seconds)
        if case == "stream":
            return repeated(subject, lambda: list(subject.stream(100)), seconds)
        return repeated(subject, getattr(subject, case), seconds)
    finally:
        subject.close()


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
