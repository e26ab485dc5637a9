"""``python -m bench.overload``: goodput and health of a server that is asked for ten times what it can do."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from bench.cores import Cores, on, split
from bench.servers import environment
from bench.venvs import ROOT

WORKERS = 2
QUEUE = 16
CLIENTS = 2 * WORKERS
"""That keep the workers busy: the peak."""
TIMES = 10
"""As many clients, more than work and wait: the rest is refused."""
AIM_GOODPUT, AIM_HEALTH = 0.8, 0.1
"""Of the peak; seconds."""
CASES = {
    "peak": (CLIENTS, "waits"),
    f"{TIMES}x, refused clients wait as told": (CLIENTS * TIMES, "waits"),
    f"{TIMES}x, they ask again at once": (CLIENTS * TIMES, "at_once"),
}


def run(python: str, cores: frozenset[int], *arguments: object, log: Path | None = None) -> subprocess.Popen[str]:
    """Starts one of the programs beside this one."""
    command, pipe = [python, "-m", *map(str, arguments)], subprocess.PIPE
    with on(cores), nullcontext() if log is None else log.open("w") as err:
        return subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=pipe, stderr=err, text=True)


@contextmanager
def server(python: str, cores: frozenset[int], isolation: str) -> Iterator[str]:
    """A server whose tool runs there; its address."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ready, log = Path(folder) / "ready.json", Path(folder) / "stderr"
        limits = ["--workers", WORKERS, "--threads", WORKERS, "--queue-size", QUEUE]
        serve = [
            "bridge",
            "serve",
            "bench.overload.tool:Work",
            "--isolation",
            isolation,
            *limits,
            "--log-level",
            "error",
        ]
        process = run(python, cores, *serve, "--listen", "127.0.0.1:0", "--ready-file", ready, log=log)
        try:
            while not ready.exists():
                if process.poll() is not None:
                    raise SystemExit(f"the server did not start: {log.read_text()}")
                time.sleep(0.01)
            yield str(json.loads(ready.read_text())["addresses"][0])
        finally:
            process.terminate()
            process.communicate(timeout=20)


def measure(python: str, cores: Cores, address: str, clients: int, how: str, seconds: float) -> dict[str, Any]:
    """One turn: load, and health checks beside it."""
    load = run(python, cores.load, "bench.overload.load", address, clients, seconds, how)
    health = run(python, cores.load, "bench.overload.health", address, seconds)
    said = [process.communicate(timeout=seconds + 60)[0] for process in (load, health)]
    if load.returncode or health.returncode:
        raise SystemExit("the load or the health checks failed")
    return {**json.loads(said[0]), "health": json.loads(said[1])}


def row(isolation: str, label: str, turns: list[dict[str, Any]], peaks: list[dict[str, Any]]) -> str:
    """Medians over the rounds."""

    def middle(*path: str) -> float:
        values: list[Any] = turns
        for key in path:
            values = [value[key] for value in values]
        return median(values)

    ratio = median(turn["rate"] / peak["rate"] for turn, peak in zip(turns, peaks, strict=True))
    health = middle("health", "p99")
    missed = [*(["goodput"] if ratio < AIM_GOODPUT else []), *(["health"] if health >= AIM_HEALTH else [])]
    other: dict[str, int] = {}
    for turn in turns:
        for key, count in turn["other"].items():
            other[key] = other.get(key, 0) + count
    verdict = " ".join([f"missed: {', '.join(missed)}" if missed else "met", *([str(other)] if other else [])])
    return (
        f"{isolation:8} {label:36} {middle('rate'):7.0f} {ratio:6.0%} {middle('refused'):9.0f}"
        f" {middle('p50') * 1e3:8.1f} {middle('p99') * 1e3:8.1f} {middle('refused_p99') * 1e3:11.1f}"
        f" {middle('health', 'p50') * 1e3:9.1f} {health * 1e3:9.1f} {middle('health', 'worst') * 1e3:9.1f}  {verdict}"
    )


HEAD = (
    f"{'':8} {'clients':36} {'good/s':>7} {'peak':>6} {'refused/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'refusal p99':>11}"
    f" {'health p50':>9} {'p99 ms':>9} {'worst':>9}"
)


def main() -> int:
    """Runs the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns of every case")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one turn")
    parser.add_argument("--pin", action="store_true", help="all processes of the server on all cores but the last")
    parser.add_argument("--python", default=sys.executable, help="interpreter of servers and load")
    options = parser.parse_args()
    cores = split(frozenset(os.sched_getaffinity(0))) if options.pin else Cores()
    print(
        f"{WORKERS} workers or threads, queue {QUEUE}; {CLIENTS} clients are the peak, {CLIENTS * TIMES} ask for more"
    )
    print(HEAD)
    for isolation in ("process", "thread"):
        turns: dict[str, list[dict[str, Any]]] = {label: [] for label in CASES}
        with server(options.python, cores.servers, isolation) as address:
            for _ in range(options.rounds):
                for label, (clients, how) in CASES.items():
                    turns[label].append(measure(options.python, cores, address, clients, how, options.seconds))
        for label, taken in turns.items():
            print(row(isolation, label, taken, turns["peak"]), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
