"""``python -m bench.goplugin``: plugins beside pyvider's and one in Go, in interleaved rounds; prints tables."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import grpc

from bench.calls import WrongReplyError
from bench.cores import Cores, split
from bench.figures import Sample, ratios
from bench.goplugin.aims import judge
from bench.goplugin.load import run_big, run_calls
from bench.goplugin.starts import Start, run_starts
from bench.goplugin.subjects import Subject, available
from bench.report import format_columns
from bench.venvs import ROOT

PARTS = ("starts", "calls", "big")


def _against(values: Sequence[float], reference: Sequence[float]) -> list[str]:
    found = ratios(values, reference)
    if not found:
        return ["-", "-"]  # what it is compared with is not among those that run
    return [f"{median(found):.2f}x", f"{min(found):.2f}-{max(found):.2f}"]


def _calls_table(subjects: Sequence[Subject], samples: Mapping[str, list[Sample]], title: str) -> str:
    lines = [["", "CPU us/call", "ratio", "(rounds)", "time us/call", "ratio", "(rounds)", "against"]]
    for subject in subjects:
        row = [subject.label]
        for kind in (_cpu, _time):
            taken = kind(samples[subject.label])
            row += [f"{median(taken):.0f}", *_against(taken, kind(samples.get(subject.against, [])))]
        lines.append([*row, subject.against])
    return f"{title}\n\n{format_columns(lines)}\n"


def _cpu(samples: Sequence[Sample]) -> list[float]:
    return [sample.cpu_us for sample in samples]


def _time(samples: Sequence[Sample]) -> list[float]:
    return [1e6 / sample.rate for sample in samples]


def _starts_table(subjects: Sequence[Subject], starts: Mapping[str, list[Start]]) -> str:
    lines = [["", "line ms", "ratio", "(rounds)", "CPU ms", "RSS MB", "kill ms", "against"]]
    for subject in subjects:
        taken, reference = starts[subject.label], starts.get(subject.against, [])
        row = [subject.label, f"{median(start.line for start in taken) * 1000:.0f}"]
        row += _against([start.line for start in taken], [start.line for start in reference])
        row += [f"{median(start.cpu for start in taken) * 1000:.0f}", f"{median(start.rss for start in taken):.1f}"]
        lines.append([*row, f"{median(start.kill for start in taken) * 1000:.0f}", subject.against])
    return f"From the launch to the handshake line, memory then, and the end\n\n{format_columns(lines)}\n"


async def _measure(subjects: Sequence[Subject], options: argparse.Namespace) -> dict[str, Any]:
    saved: dict[str, Any] = {"load_average": os.getloadavg(), "python": sys.version, "grpcio": grpc.__version__}
    everywhere = Cores() if options.no_pin else split(frozenset(os.sched_getaffinity(0)))
    if "starts" in options.only:
        starts = await run_starts(subjects, options.rounds)
        print(_starts_table(subjects, starts), flush=True)
        saved["starts"] = {label: [asdict(start) for start in taken] for label, taken in starts.items()}
    if everywhere.load:
        os.sched_setaffinity(0, everywhere.load)
    if "calls" in options.only:
        in_flights = list(map(int, options.in_flight.split(",")))
        calls = await run_calls(subjects, everywhere, options.rounds, options.calls, in_flights)
        for number, samples in calls.items():
            print(_calls_table(subjects, samples, f"Echo of 100 bytes, {number} in flight"), flush=True)
        saved["calls"] = {number: _plain(samples) for number, samples in calls.items()}
    if "big" in options.only:
        big = await run_big(subjects, everywhere, options.rounds)
        print(_calls_table(subjects, big, "Echo of 64 MiB"), flush=True)
        saved["big"] = _plain(big)
    return saved


def _plain(samples: Mapping[str, list[Sample]]) -> dict[str, list[dict[str, object]]]:
    return {label: [asdict(sample) for sample in taken] for label, taken in samples.items()}


def main() -> int:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(prog="python -m bench.goplugin", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--calls", type=int, default=1000, help="in one turn of one plugin")
    parser.add_argument("--in-flight", default="1,8,32", metavar="N,N")
    parser.add_argument("--only", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    parser.add_argument("--match", default="", metavar="TEXT", help="only those plugins that have it in their names")
    parser.add_argument("--no-pin", action="store_true", help="do not keep plugins and host on cores of their own")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "goplugin.json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the plugins are stopped on the way out
    subjects = [subject for subject in available() if options.match in subject.label]
    try:
        saved = asyncio.run(_measure(subjects, options))
    except WrongReplyError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print("\n".join(map(str, judge(saved))))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(saved, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
