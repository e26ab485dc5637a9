"""How long a server takes from exec to ready, and how long what it imports takes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from statistics import median

from bench.figures import ratios
from bench.servers import OPTIONAL, Settings, environment, start
from bench.venvs import ROOT

__all__ = ["Start", "run_startup"]

_SERVERS = {
    "bare grpc.aio server": "bare",
    "bridge serve": "bridge",
    "pyvider-rpcplugin": "pyvider",
    "cjm worker": "cjm",
}
_IMPORTS = ("import grpc.aio", "import bridge")
_TIMED = (
    "import time; wall, cpu = time.perf_counter(), time.process_time(); {}; "
    "print(time.perf_counter() - wall, time.process_time() - cpu)"
)


@dataclass(frozen=True, slots=True)
class Start:
    """One row: medians over the rounds."""

    label: str
    wall_ms: float
    wall_ratio: float
    """Median over the rounds of (this time / the reference's in the same round)."""
    cpu_ms: float
    samples: list[float]
    """Wall time of every start, milliseconds."""


def _serve(name: str, settings: Settings) -> tuple[float, float]:
    server = start(name, settings)
    cpu = server.clock.read() / 1e6
    server.stop()
    return server.ready_after * 1000, cpu


def _import(statement: str, settings: Settings) -> tuple[float, float]:
    command = [settings.python, "-c", _TIMED.format(statement)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), check=True, timeout=60, capture_output=True, text=True)
    wall, cpu = (float(word) * 1000 for word in done.stdout.split())
    return wall, cpu


def _summarise(taken: dict[str, list[tuple[float, float]]]) -> list[Start]:
    reference = [wall for wall, _ in next(iter(taken.values()))]
    rows = []
    for label, starts in taken.items():
        walls = [wall for wall, _ in starts]
        ratio = median(ratios(walls, reference))
        rows.append(Start(label, median(walls), ratio, median(cpu for _, cpu in starts), walls))
    return rows


def run_startup(settings: Settings, rounds: int, without: dict[str, str]) -> list[Start]:
    """Starts every server ``rounds`` times, in turn; the first start of each, from a cold disk cache, is not counted.

    ``without`` names the servers that cannot run here.
    """
    servers = {label: name for label, name in _SERVERS.items() if name not in without}
    imports: dict[str, list[tuple[float, float]]] = {label: [] for label in _IMPORTS}
    starts: dict[str, list[tuple[float, float]]] = {label: [] for label in servers}
    for number in range(rounds + 1):
        for statement in _IMPORTS:
            imports[statement].append(_import(statement, settings))
        for label, name in list(servers.items()):
            try:
                starts[label].append(_serve(name, settings))
            except (RuntimeError, OSError) as error:
                if name not in OPTIONAL:
                    raise
                print(f"bench: {label} takes no part: {str(error)[-600:]}", file=sys.stderr, flush=True)
                del servers[label], starts[label]
        if number == 0:
            imports, starts = {label: [] for label in imports}, {label: [] for label in starts}
    return _summarise(imports) + _summarise(starts)
