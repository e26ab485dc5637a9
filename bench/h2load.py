"""Load from nghttp2's h2load: a client in C that replays one recorded request."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Load", "Result", "arguments", "find", "parse", "percentile", "run"]

_RATE = re.compile(r"finished in ([\d.]+)(us|ms|s|m), ([\d.]+) req/s")
_REQUESTS = re.compile(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored")
_CODES = re.compile(r"status codes: (\d+) 2xx")
_DATA = re.compile(r"traffic: .*\), [^,]*\((\d+)\) data")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class Load:
    """A recorded request and where it goes."""

    address: str
    """``host:port`` or ``unix:/path``."""
    path: str
    headers: tuple[tuple[str, str], ...]
    body: Path
    """File with the body of the request."""
    http1: bool = False
    """HTTP/1.1, where calls in flight are connections; else HTTP/2, one connection."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of h2load saw."""

    calls: int
    seconds: float
    data_bytes: int
    """Bytes of response bodies. gRPC errors answer with HTTP 200 and no body, so this tells good replies from bad."""
    failed: int
    """Requests without a 2xx status."""
    p50: float = 0.0
    """Median latency, seconds."""
    p99: float = 0.0


def find() -> str:
    """Path of h2load. Raises ``SystemExit`` with what to do if it is missing."""
    path = shutil.which("h2load")
    if path is None:
        raise SystemExit(
            "bench: h2load is missing. Install it: apt-get install nghttp2-client (or brew install nghttp2)"
        )
    return path


def arguments(program: str, load: Load, calls: int, in_flight: int, log: Path) -> list[str]:
    """The command line of one run."""
    unix = load.address.startswith("unix:")
    connections, streams = (in_flight, 1) if load.http1 else (1, in_flight)
    command = [program, "-n", str(calls), "-c", str(connections), "-m", str(streams), "-t", "1"]
    command += ["-d", str(load.body), "--log-file", str(log)]
    for name, value in load.headers:
        command += ["-H", f"{name}: {value}"]
    if load.http1:
        command.append("--h1")
    if unix:
        command += ["-B", load.address]
    return [*command, f"http://{'localhost' if unix else load.address}{load.path}"]


def parse(output: str) -> Result:
    """Reads h2load's report. Raises ``ValueError`` if it is not one."""
    rate, requests, codes, data = (pattern.search(output) for pattern in (_RATE, _REQUESTS, _CODES, _DATA))
    if not (rate and requests and codes and data):
        raise ValueError(f"not a report of h2load:\n{output[-2000:]}")
    done = int(requests[1])
    seconds = float(rate[1]) * _SECONDS[rate[2]]
    # The time of a run is printed in full digits only through the rate.
    if float(rate[3]) > 0:
        seconds = done / float(rate[3])
    # What h2load calls errored is part of what it calls failed.
    failed = int(requests[3]) + max(0, done - int(codes[1]))
    return Result(calls=done, seconds=seconds, data_bytes=int(data[1]), failed=failed)


def percentile(ordered: list[int], fraction: float) -> float:
    """The nearest-rank percentile of an ordered list; 0 of an empty one."""
    if not ordered:
        return 0.0
    rank = max(0, -(-len(ordered) * round(fraction * 1000) // 1000) - 1)
    return float(ordered[rank])


def latencies(log: str) -> list[int]:
    """Microseconds of every request of a log file, ordered."""
    return sorted(int(line.rsplit("\t", 1)[1]) for line in log.splitlines() if line)


def run(program: str, load: Load, calls: int, in_flight: int, timeout: float) -> Result:
    """Sends ``calls`` requests, ``in_flight`` at a time.

    Raises ``TimeoutError`` if they are not answered in time, and ``RuntimeError`` if h2load fails.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "requests.log"
        command = arguments(program, load, calls, in_flight, log)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no answer to {calls} calls within {timeout:.0f} s") from None
        if done.returncode != 0:
            raise RuntimeError(f"h2load ended with {done.returncode}: {done.stderr[-1000:]}")
        result = parse(done.stdout)
        ordered = latencies(log.read_text())
    p50, p99 = percentile(ordered, 0.50), percentile(ordered, 0.99)
    return Result(result.calls, result.seconds, result.data_bytes, result.failed, p50 / 1e6, p99 / 1e6)
