"""The speeds we aim for, and whether a run shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.cases import BARE
from bench.figures import Row, ratios
from bench.run import Table
from bench.startup import Start

__all__ = ["Target", "check"]


@dataclass(frozen=True, slots=True)
class Target:
    """One aim and what was measured."""

    what: str
    limit: float
    measured: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        """Whether the run shows it."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        return f"{'met   ' if self.met else 'MISSED'}  {self.what}: {self.measured:.3f}x (aim {sign} {self.limit:.2f}x)"


def _row(tables: Sequence[Table], group: str, in_flight: int, label: str) -> Row | None:
    for table in tables:
        if table.group.key == group and table.in_flight == in_flight:
            return next((row for row in table.rows if row.label == label), None)
    return None


def _unary(tables: Sequence[Table], in_flight: int) -> list[Target]:
    inline = _row(tables, "unary", in_flight, "bridge, async tool")
    thread = _row(tables, "unary", in_flight, "bridge, sync tool (thread)")
    targets = []
    if inline:
        targets.append(Target(f"unary call, CPU over bare, {in_flight} in flight", 1.2, inline.cpu_ratio))
    if inline and thread:
        extra = thread.cpu_ratio - inline.cpu_ratio
        targets.append(Target(f"a sync tool on top of that, {in_flight} in flight", 0.7, extra))
    return targets


def _stream(tables: Sequence[Table], in_flight: int) -> list[Target]:
    row = _row(tables, "stream", in_flight, "bridge, async generator")
    what = f"small-chunk stream, messages/s over bare, {in_flight} in flight"
    return [Target(what, 0.9, row.rate_ratio, at_most=False)] if row else []


def _variables(tables: Sequence[Table], in_flight: int) -> list[Target]:
    none = _row(tables, "variables", in_flight, "bridge, host process, 0 reads")
    one = _row(tables, "variables", in_flight, "bridge, host process, 1 read")
    bare = _row(tables, "variables", in_flight, BARE)
    if not (none and one and bare):
        return []
    there = one.host_cpu_us / bare.cpu_us
    what = (
        f"one uncached read, CPU of the server over bare (the host has {there:.2f}x beside it), {in_flight} in flight"
    )
    return [Target(what, 2.0, one.cpu_ratio - none.cpu_ratio)]


def _cached(tables: Sequence[Table], in_flight: int) -> list[Target]:
    targets = []
    for where in ("embedded host", "host process"):
        for how in ("reads= of 20", "get_many of 20"):
            none = _row(tables, "cached", in_flight, f"bridge, {where}, {how}, 0 reads")
            reads = _row(tables, "cached", in_flight, f"bridge, {where}, {how}, 20 reads")
            if none and reads:
                cpu = ratios([turn.cpu_us for turn in reads.samples], [turn.cpu_us for turn in none.samples])
                what = f"20 reads after {how}, CPU over no reads, {where}, {in_flight} in flight"
                targets.append(Target(what, 1.15, median(cpu)))
    return targets


_SETS = {"memory": 0.8, "sqlite": 0.4, "redis": 0.5}


def _sets(tables: Sequence[Table], in_flight: int) -> list[Target]:
    targets = []
    for store, limit in _SETS.items():
        if row := _row(tables, "sets", in_flight, f"bridge host, {store}"):
            # By CPU, not by the clock: redis-server may have a core of its own in life and has none here.
            what = f"sets per second of the host's CPU over echoes of bare, {store}, {in_flight} in flight"
            targets.append(Target(what, limit, 1 / row.cpu_ratio, at_most=False))
            if in_flight > 1 and not row.host_cpu_us:  # one at a time, sets/s are mostly the time to wake up
                what = f"sets/s over echoes/s of bare, {store}, {in_flight} in flight"
                targets.append(Target(what, limit, row.rate_ratio, at_most=False))
    return targets


def check(tables: Sequence[Table], startup: Sequence[Start]) -> list[Target]:
    """The aims this run can speak about."""
    kinds: tuple[Callable[[Sequence[Table], int], list[Target]], ...] = (_unary, _stream, _variables, _cached, _sets)
    found = [target for kind in kinds for in_flight in (1, 32) for target in kind(tables, in_flight)]
    ready = [row.wall_ratio for row in startup if row.label == "bridge serve"]
    return found + [Target("start-up, time to ready over bare", 1.5, ratio) for ratio in ready]
