"""``python -m bench``: measures, prints tables, saves JSON and a plot."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from bench import h2load, machine, report
from bench.calls import WrongReplyError
from bench.cases import GROUPS
from bench.clients import run_clients
from bench.cores import Cores, split
from bench.run import Fleet, Plan, Table, run_group
from bench.servers import Settings
from bench.startup import Start, run_startup
from bench.targets import check
from bench.venvs import ROOT, python_of

NAMES = (*GROUPS, "client", "startup")
MATPLOTLIB = "matplotlib>=3.9,<4"


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return names


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(int(number) for number in text.split(","))
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("calls in flight are at least 1")
    return counts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures what a call costs. bench/README.md.")
    parser.add_argument("--only", type=_names, default=list(NAMES), metavar="NAMES", help=f"of {','.join(NAMES)}")
    parser.add_argument("--rounds", type=int, help="turns of everybody (default 9; --quick: 1)")
    parser.add_argument("--seconds", type=float, help="aim for one turn of one server (default 0.5; --quick: 0.2)")
    parser.add_argument("--in-flight", type=_counts, metavar="N,N", help="default 1,8,32; --quick: 1,32")
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it works; figures mean little")
    parser.add_argument("--no-peers", action="store_true", help="leave out what has to be installed from PyPI")
    parser.add_argument("--unix", action="store_true", help="Unix sockets in place of TCP on loopback")
    parser.add_argument("--no-pin", action="store_true", help="do not keep servers and load on cores of their own")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the bridge and of the reference")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "latest.json", metavar="PATH")
    parser.add_argument("--no-plot", action="store_true", help="do not draw the PNG beside the JSON")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    usual = Plan(1, 0.2, (1, 32)) if options.quick else Plan()
    return Plan(options.rounds or usual.rounds, options.seconds or usual.seconds, options.in_flight or usual.in_flight)


def _measure(options: argparse.Namespace, fleet: Fleet, plan: Plan) -> tuple[list[Table], list[Start]]:
    tables: list[Table] = []
    for name in options.only:
        if name == "startup":
            continue
        for table in run_clients(fleet, plan) if name == "client" else run_group(GROUPS[name](), fleet, plan):
            tables.append(table)
            print(report.format_table(table), flush=True)
    fleet.stop()
    starts = []
    if "startup" in options.only:
        starts = run_startup(fleet.settings, 2 if options.quick else plan.rounds, fleet.skipped)
        print(report.format_startup(starts), flush=True)
    return tables, starts


def _draw(saved: Path) -> None:
    picture = saved.with_suffix(".png")
    python = python_of("plot", [MATPLOTLIB])
    subprocess.run([str(python), str(ROOT / "bench" / "plot.py"), str(saved), str(picture)], check=True)
    print(f"bench: drew {picture}")


def main() -> int:
    """Runs the bench. 0: measured; 1: a reply was wrong or a server could not run; 2: bad usage."""
    options = _parser().parse_args()
    plan = _plan(options)
    cores = Cores() if options.no_pin else split(frozenset(os.sched_getaffinity(0)))
    fleet = Fleet(Settings(options.python, options.unix, cores))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped on the way out
    if options.no_peers:
        fleet.skipped |= {"pyvider": "--no-peers", "cjm": "--no-peers"}
    facts = machine.describe(h2load.find(), fleet.settings)
    print(report.format_machine(facts), flush=True)
    try:
        tables, starts = _measure(options, fleet, plan)
    except (WrongReplyError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        fleet.stop()
    targets = check(tables, starts)
    print("\n".join(str(target) for target in targets))
    judged = [{**asdict(target), "met": target.met} for target in targets]
    report.save(report.as_dict(facts, asdict(plan), tables, starts, fleet.skipped, fleet.stalls, judged), options.json)
    print(f"bench: saved {options.json}")
    if not options.no_plot and tables:
        _draw(options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
