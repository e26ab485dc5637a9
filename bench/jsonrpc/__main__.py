"""``python -m bench.jsonrpc``: JSON-RPC and MCP beside their floors, in interleaved rounds; prints tables."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.cores import Cores, on, split
from bench.figures import ratios
from bench.jsonrpc.subjects import ARGUMENTS, SUBJECTS, Running, Subject
from bench.venvs import ROOT

IN_FLIGHT = (1, 32)
LARGE = 10_000_000
WARM_UP = 0.3
"""Seconds of calls before anything is measured."""


@dataclass(frozen=True, slots=True)
class Calls:
    """One turn of one subject."""

    rate: float
    client_us: float
    server_us: float

    @property
    def total_us(self) -> float:
        """CPU of all processes, microseconds per call."""
        return self.client_us + self.server_us


def call(running: Running, in_flight: int, seconds: float) -> Calls:
    """Calls for some seconds."""
    subject = running.subject
    server = running.clock.read()
    done = running.line.calls(subject.method, subject.params(ARGUMENTS), running.result, in_flight, seconds)
    server = running.clock.read() - server
    return Calls(done.calls / done.seconds, done.client_cpu / done.calls / 1000, server / done.calls / 1000)


def large(running: Running) -> float:
    """Milliseconds of 10 MB there and back, the best of three."""
    arguments = b'{"text":"%b","top":5}' % (b"x" * LARGE)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        result = running.line.call(running.subject.method, running.subject.params(arguments))
        taken.append((time.perf_counter() - began) * 1000)
        if running.subject.result(arguments) not in (None, result) or len(result) < LARGE:
            raise RuntimeError(f"{running.subject.label} answers 10 MB wrongly")
    return min(taken)


class Samples:
    """What was measured, by subject."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.calls: dict[int, dict[str, list[Calls]]] = {n: {each.label: [] for each in subjects} for n in IN_FLIGHT}
        self.starts: dict[str, list[float]] = {each.label: [] for each in subjects}
        self.large: dict[str, list[float]] = {each.label: [] for each in subjects}

    def take(self, subjects: Sequence[Subject], cores: Cores, rounds: int, seconds: float) -> None:
        """Measures."""
        for _ in range(rounds + 1):  # the first starts fill caches
            for subject in subjects:
                running = Running(subject, cores)
                self.starts[subject.label].append(running.ready_after)
                running.stop()
        for taken in self.starts.values():
            del taken[0]
        servers = [Running(subject, cores) for subject in subjects]
        try:
            for server in servers:
                call(server, 32, WARM_UP)
            for _ in range(rounds):
                for in_flight in IN_FLIGHT:
                    for server in servers:
                        self.calls[in_flight][server.subject.label].append(call(server, in_flight, seconds))
            for _ in range(rounds):
                for server in servers:
                    if "SDK" not in server.subject.label or not self.large[server.subject.label]:  # it takes a second
                        self.large[server.subject.label].append(large(server))
        finally:
            for server in servers:
                server.stop()

    def table(self, in_flight: int, subjects: Sequence[Subject]) -> str:
        """Calls with so many requests on their way; ratios are medians over the rounds."""
        taken = self.calls[in_flight]
        lines = [f"\n{in_flight} in flight{'calls/s':>36}{'CPU us':>10}{'server us':>11}   calls/s to the floor or SDK"]
        for subject in subjects:
            own, base = taken[subject.label], taken.get(subject.aim, [])
            found = ratios([each.rate for each in own], [each.rate for each in base])
            line = f"  {subject.label:38}{median(each.rate for each in own):11.0f}"
            line += f"{median(each.total_us for each in own):10.1f}{median(each.server_us for each in own):11.1f}"
            lines.append(line + (f"   {median(found):.2f} ({min(found):.2f}-{max(found):.2f})" if found else ""))
        return "\n".join(lines)

    def other(self, subjects: Sequence[Subject]) -> str:
        """Starts and large messages."""
        lines = [f"\n{'':40}{'s to first answer':>20}{'ms for 10 MB both ways':>25}"]
        for subject in subjects:
            line = f"  {subject.label:38}{median(self.starts[subject.label]):20.3f}"
            lines.append(line + f"{median(self.large[subject.label]):25.1f}")
        return "\n".join(lines)


def _one() -> Cores:
    last = split(frozenset(os.sched_getaffinity(0))).load
    return Cores(last, last)


_CORES: dict[str, Callable[[], Cores]] = {
    "one": _one,
    "two": lambda: split(frozenset(os.sched_getaffinity(0))),
    "any": Cores,
}
"""Server and client on one core, on two, or wherever the scheduler likes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(prog="python -m bench.jsonrpc", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn of calls")
    parser.add_argument("--only", default="", help="subjects whose labels contain this")
    parser.add_argument("--cores", choices=_CORES, default="one", help="who runs where (default: one)")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "jsonrpc.json")
    options = parser.parse_args(arguments)
    has_mcp = importlib.util.find_spec("mcp") is not None
    subjects = [each for each in SUBJECTS if options.only in each.label and (has_mcp or not each.is_mcp)]
    cores = _CORES[options.cores]()
    samples = Samples(subjects)
    with on(cores.load):
        samples.take(subjects, cores, options.rounds, options.seconds)
    for in_flight in IN_FLIGHT:
        print(samples.table(in_flight, subjects))
    print(samples.other(subjects))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    calls = {n: {label: [asdict(each) for each in own] for label, own in t.items()} for n, t in samples.calls.items()}
    options.json.write_text(json.dumps({"calls": calls, "starts": samples.starts, "large": samples.large}, indent=1))


if __name__ == "__main__":
    main()
