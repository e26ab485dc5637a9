"""``python -m bench.workers``: WorkerProxy beside its peers, in interleaved rounds; prints tables, saves JSON."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench.servers import CJM, environment
from bench.venvs import ROOT, python_of

APPOSE = "appose==0.12.0"
CASES = {
    "unary": ("bridge", "cjm", "appose"),
    "unary_async": ("bridge",),
    "stream": ("bridge",),
    "start1": ("bridge", "cjm", "appose"),
    "start8": ("bridge",),
    "array10": ("bridge", "cjm", "appose", "grpc"),
    "array100": ("bridge", "grpc"),
    "array100_in": ("bridge", "grpc"),
    "array100_through": ("bridge", "grpc"),
}
"""What is measured, and of whom."""
TITLES = {
    "unary": "a small call of a plain tool, one after the other",
    "unary_async": "the same of an async tool",
    "stream": "a stream of 100 numbers",
    "start1": "from nothing to the first answer, one worker",
    "start8": "the same with 8 workers, all of which have answered",
    "array10": "an array of 10 MB there, and another one back",
    "array100": "the same with 100 MB",
    "array100_in": "100 MB there, a number back",
    "array100_through": "100 MB there, and the same array back",
}


def measure(subject: str, case: str, seconds: float) -> dict[str, float]:
    """Runs one measurement in a process of its own."""
    python = {"cjm": ("cjm", [CJM, "numpy"]), "appose": ("appose", [APPOSE, "numpy"])}.get(subject)
    interpreter = Path(sys.executable) if python is None else python_of(*python)
    env = environment({"PATH": os.pathsep.join((str(interpreter.parent), os.environ["PATH"]))})
    command = [str(interpreter), "-m", "bench.workers.run", subject, case, str(seconds)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{subject} {case}: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement of calls")
    parser.add_argument("--only", default=",".join(CASES), help="some of: " + ", ".join(CASES))
    parser.add_argument("--no-peers", action="store_true", help="without cjm-plugin-system and Appose")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "workers.json")
    options = parser.parse_args()
    samples: dict[str, dict[str, list[dict[str, float]]]] = {}
    for case in options.only.split(","):
        subjects = [one for one in CASES[case] if not options.no_peers or one in ("bridge", "grpc")]
        taken = samples[case] = {subject: [] for subject in subjects}
        for _ in range(options.rounds):
            for subject in subjects:
                taken[subject].append(measure(subject, case, options.seconds))
        print(f"\n{case}: {TITLES[case]}")
        for subject, rounds in taken.items():
            print(f"  {subject:8}" + "".join(f"  {name} {_text(rounds, name):>12}" for name in rounds[0]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(samples, indent=1))


def _text(rounds: list[dict[str, float]], name: str) -> str:
    value: Any = median(one[name] for one in rounds)
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


if __name__ == "__main__":
    main()
