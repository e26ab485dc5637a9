"""What a call costs the client: BridgeClient beside a generated stub, both against the same bridge server."""

from __future__ import annotations

import json
import subprocess

from bench.calls import UnaryCall, request
from bench.cases import Entry, Group
from bench.cores import on
from bench.figures import Sample, summarise
from bench.run import Fleet, Plan, Table
from bench.servers import Settings, environment
from bench.venvs import ROOT

__all__ = ["run_clients"]

_KINDS = {"grpc.aio stub": "raw", "BridgeClient": "bridge"}


def _measure(kind: str, address: str, calls: int, in_flight: int, settings: Settings) -> Sample:
    command = [settings.python, "-m", "bench.client_load", kind, address, str(calls), str(in_flight)]
    with on(settings.cores.load):
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False
        )
    if done.returncode != 0:
        raise RuntimeError(f"the {kind} client ended with {done.returncode}: {done.stderr[-1500:]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    return Sample(figures["calls"], figures["seconds"], figures["cpu"])


def run_clients(fleet: Fleet, plan: Plan) -> list[Table]:
    """Runs each client in turn, in a process of its own. The CPU in these tables is the client's."""
    server = fleet.get("bridge")
    call = UnaryCall(request("echo", {"text": "", "top": 3}), {"text": "", "top": 3})
    entries = tuple(Entry(label, "bridge", lambda sessions: call) for label in _KINDS)
    group = Group("client", "Unary call, two parameters: CPU of the client process", "call", entries)
    calls = max(320, int(2000 * plan.seconds) // 32 * 32)
    tables = []
    for in_flight in plan.in_flight:
        samples: dict[str, list[Sample]] = {label: [] for label in _KINDS}
        for _ in range(plan.rounds):
            for label, kind in _KINDS.items():
                samples[label].append(_measure(kind, server.address, calls, in_flight, fleet.settings))
        reference = samples["grpc.aio stub"]
        tables.append(
            Table(group, in_flight, [summarise(label, taken, reference, 0) for label, taken in samples.items()])
        )
    return tables
