"""``python -m bench.snakepit``: workers beside Snakepit's own server, in interleaved rounds; prints tables."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import grpc

from bench import h2load
from bench.calls import GRPC_HEADERS, WrongReplyError, frame
from bench.cores import Cores, on, split
from bench.figures import Row, Sample, summarise
from bench.report import format_columns
from bench.snakepit.workers import SUBJECTS, Memory, Subject, Worker, launch, start_beam, stock_checkout
from bench.venvs import ROOT
from bridge.snakepit import SERVICE, messages

ARGUMENTS = {"text": "to be, or not to be, that is the question", "top": 42}
TIMEOUT = 30.0
SLACK = 8
"""Bytes by which replies may differ: they tell how long the call took."""


def request() -> bytes:
    """The call, as a pool sends it."""
    message = messages.ExecuteToolRequest(session_id="default_worker_1_1", tool_name="echo")
    message.metadata["correlation_id"] = "0123456789abcdef0123456789abcdef"
    for name, value in ARGUMENTS.items():
        message.parameters[name].type_url = "type.googleapis.com/google.protobuf.StringValue"
        message.parameters[name].value = json.dumps(value).encode()
    return message.SerializeToString()


def check(worker: Worker) -> int:
    """Makes the call with a real client; the bytes of a good reply's body. Raises ``WrongReplyError``."""
    with grpc.insecure_channel(worker.address) as channel:
        data: bytes = channel.unary_unary(SERVICE + "ExecuteTool")(request(), timeout=TIMEOUT)
    reply = messages.ExecuteToolResponse.FromString(data)
    if not reply.success or json.loads(reply.result.value) != ARGUMENTS:
        raise WrongReplyError(f"{worker.subject.label}: {str(reply)[:2000]}")
    return len(frame(data))


def measure(worker: Worker, body: Path, calls: int, in_flight: int, cores: Cores) -> Sample:
    """One turn. Raises ``WrongReplyError``."""
    headers = (*GRPC_HEADERS, ("grpc-timeout", "60S"))
    load = h2load.Load(worker.address, SERVICE + "ExecuteTool", headers, body)
    expected = check(worker)
    before = worker.clock.read()
    with on(cores.load):
        result = h2load.run(h2load.find(), load, calls, in_flight, TIMEOUT)
    cpu = worker.clock.read() - before
    if result.failed or result.calls != calls or abs(result.data_bytes / calls - expected) > SLACK:
        raise WrongReplyError(f"{worker.subject.label}: {result}, where a good reply has {expected} bytes")
    return Sample(calls, result.seconds, cpu, 0, result.p50, result.p99)


def run_calls(workers: Sequence[Worker], options: argparse.Namespace, in_flight: int, cores: Cores) -> list[Row]:
    """Everybody's turns at so many calls in flight."""
    samples: dict[str, list[Sample]] = {worker.subject.label: [] for worker in workers}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        body = Path(folder) / "body"
        body.write_bytes(frame(request()))
        counts = {}
        for worker in workers:
            measure(worker, body, 20 * in_flight, in_flight, cores)
            rate = measure(worker, body, 20 * in_flight, in_flight, cores).rate
            counts[worker.subject.label] = max(in_flight, int(rate * options.seconds))
        for _ in range(options.rounds):
            for worker in workers:
                label = worker.subject.label
                samples[label].append(measure(worker, body, counts[label], in_flight, cores))
    reference = samples[workers[0].subject.label]
    return [summarise(label, taken, reference, 0) for label, taken in samples.items()]


def run_starts(
    subjects: Sequence[Subject], beam: str, rounds: int, cores: Cores
) -> dict[str, list[tuple[float, float, Memory]]]:
    """Seconds to the ready file, CPU seconds, and memory then; the first start of each is not counted."""
    starts: dict[str, list[tuple[float, float, Memory]]] = {subject.label: [] for subject in subjects}
    for number in range(rounds + 1):
        for subject in subjects:
            worker = launch(subject, beam, cores)
            if number:
                starts[subject.label].append((worker.ready_after, worker.clock.read() / 1e9, worker.memory()))
            worker.stop()
    return starts


def _calls_table(rows: Sequence[Row], in_flight: int) -> str:
    lines = [["", "CPU us/call", "ratio", "(rounds)", "calls/s", "ratio", "p50 ms", "p99 ms"]]
    for row in rows:
        cpu = [f"{row.cpu_us:.0f}", f"{row.cpu_ratio:.2f}x", f"{row.cpu_ratio_low:.2f}-{row.cpu_ratio_high:.2f}"]
        rate = [f"{row.rate:.0f}", f"{row.rate_ratio:.2f}x"]
        lines.append([row.label, *cpu, *rate, f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}"])
    return f"ExecuteTool, {in_flight} in flight; CPU of all processes of the worker\n\n{format_columns(lines)}\n"


def _starts_table(starts: dict[str, list[tuple[float, float, Memory]]], loaded: dict[str, Memory]) -> str:
    lines = [["", "ready s", "CPU s", "RSS MB of each process", "PSS MB, sum", "after the load: RSS", "PSS, sum"]]
    for label, taken in starts.items():
        times = [f"{median(wall for wall, _, _ in taken):.3f}", f"{median(cpu for _, cpu, _ in taken):.3f}"]
        lines.append([label, *times, *_weight(taken[-1][2]), *_weight(loaded[label])])
    return f"From the launch to the ready file, and memory\n\n{format_columns(lines)}\n"


def _weight(memory: Memory) -> list[str]:
    return [" + ".join(f"{size:.1f}" for size in memory.rss), f"{sum(memory.pss):.0f}"]


def main() -> int:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(prog="python -m bench.snakepit", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="aim for one turn of one worker")
    parser.add_argument("--in-flight", default="1,32", metavar="N,N")
    parser.add_argument("--no-pin", action="store_true", help="do not keep workers and load on cores of their own")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "snakepit.json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the workers are stopped on the way out
    cores = Cores() if options.no_pin else split(frozenset(os.sched_getaffinity(0)))
    stock = stock_checkout()
    if stock is None:
        print("bench: without Snakepit's own server: BENCH_SNAKEPIT names no checkout of it", file=sys.stderr)
    subjects = [subject for subject in SUBJECTS if stock is not None or not subject.stock]
    beam, address = start_beam(cores)
    workers: list[Worker] = []
    try:
        starts = run_starts(subjects, address, options.rounds, Cores())
        workers += (launch(subject, address, cores) for subject in subjects)
        tables = {}
        for in_flight in map(int, options.in_flight.split(",")):
            tables[in_flight] = run_calls(workers, options, in_flight, cores)
            print(_calls_table(tables[in_flight], in_flight), flush=True)
        loaded = {worker.subject.label: worker.memory() for worker in workers}
    except (WrongReplyError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        for worker in workers:
            worker.stop()
        beam.terminate()
        beam.wait()
    print(_starts_table(starts, loaded))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    saved = {
        "calls": {in_flight: [asdict(row) for row in rows] for in_flight, rows in tables.items()},
        "starts": {label: [(wall, cpu, asdict(mem)) for wall, cpu, mem in taken] for label, taken in starts.items()},
        "memory": {label: asdict(memory) for label, memory in loaded.items()},
    }
    options.json.write_text(json.dumps(saved, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
