"""Who runs on which core.

Left alone, the scheduler puts a server and its load now on one core, now on two, and the CPU of a call that waits for
nothing doubles or halves with it. So servers get all cores but the last, and the load gets the last.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Cores", "on", "split"]


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores of servers and of the load; empty: wherever the scheduler likes."""

    servers: frozenset[int] = frozenset()
    load: frozenset[int] = frozenset()


def split(available: frozenset[int]) -> Cores:
    """The last core for the load, the others for servers; with a single core there is nothing to split."""
    if len(available) < 2:
        return Cores()
    last = max(available)
    return Cores(available - {last}, frozenset({last}))


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """Processes started inside the block run on these cores and stay there."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
