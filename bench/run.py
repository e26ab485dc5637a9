"""Runs a group: checks every reply, warms up, then goes round and gives everybody a turn."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import Int64Value

from bench import h2load
from bench.calls import TIMEOUT, Call, WrongReplyError, channel
from bench.cases import VALUE, VARIABLES, Entry, Group
from bench.cores import on
from bench.figures import Row, Sample, summarise
from bench.servers import OPTIONAL, Server, Settings, start
from bridge.v1 import host_pb2, host_pb2_grpc

__all__ = ["Fleet", "Plan", "Table", "run_group"]


_STALLED = 30.0
"""Seconds after which a turn is given up; the longest good ones take a few."""
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int = 9
    seconds: float = 0.5
    """Aim for one run of one entry."""
    in_flight: tuple[int, ...] = (1, 8, 32)


@dataclass(frozen=True, slots=True)
class Table:
    """The outcome of one group at one number of calls in flight."""

    group: Group
    in_flight: int
    rows: list[Row]


@dataclass(slots=True)
class Fleet:
    """The servers, each started when first needed and kept for the groups that follow."""

    settings: Settings
    servers: dict[str, Server] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Why a server takes no part."""
    sessions: dict[str, str] = field(default_factory=dict)
    stalls: list[str] = field(default_factory=list)
    """Where a connection stood still. h2load and grpcio do that to each other now and then with many large messages
    in both directions, whoever serves."""
    told: set[str] = field(default_factory=set)

    def get(self, name: str, host: str = "") -> Server:
        """The server of that name. Raises ``RuntimeError`` if it cannot run here."""
        if name in self.skipped:
            raise RuntimeError(self.skipped[name])
        if name not in self.servers:
            try:
                target = self.get(host).address if host else ""
                self.servers[name] = start(name, self.settings, target)
            except (RuntimeError, OSError) as error:
                self.skipped[name] = str(error)
                raise RuntimeError(str(error)) from error
        return self.servers[name]

    def session(self, name: str) -> str:
        """A session with variables at the host that ``name`` is (or embeds)."""
        if name not in self.sessions:
            with channel(self.get(name).address) as connection:
                stub = host_pb2_grpc.HostServiceStub(connection)  # type: ignore[no-untyped-call]
                opening = host_pb2.OpenSessionRequest(ttl=Duration(seconds=3600))
                session_id = stub.OpenSession(opening, timeout=TIMEOUT).session.session_id
                for index in range(VARIABLES):
                    write = host_pb2.SetVariableRequest(session_id=session_id, name=f"v{index}")
                    write.value.Pack(Int64Value(value=VALUE))
                    stub.SetVariable(write, timeout=TIMEOUT)
            self.sessions[name] = session_id
        return self.sessions[name]

    def tell(self, name: str, why: str) -> None:
        """Says, once, that a server takes no part."""
        if name not in self.told:
            self.told.add(name)
            print(f"bench: {name} takes no part: {why[-600:]}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Ends all servers, those that dial others first."""
        self.sessions.clear()
        while self.servers:
            self.servers.popitem()[1].stop()


@dataclass(slots=True)
class _Lane:
    """One entry, ready to run."""

    entry: Entry
    call: Call
    server: Server
    host: Server | None
    load: h2load.Load
    reply_bytes: int


def _lane(entry: Entry, fleet: Fleet, folder: Path) -> _Lane:
    server = fleet.get(entry.server, entry.host)
    call = entry.call(fleet.session)
    body = Path(tempfile.mkstemp(dir=folder)[1])
    body.write_bytes(call.body())
    load = h2load.Load(server.address, call.path, call.headers, body, call.http1)
    host = fleet.get(entry.host) if entry.host else None
    return _Lane(entry, call, server, host, load, call.check(server.address))


def _lanes(group: Group, fleet: Fleet, folder: Path) -> list[_Lane]:
    lanes = []
    for entry in group.entries:
        try:
            lanes.append(_lane(entry, fleet, folder))
        except RuntimeError as error:
            if entry.server not in OPTIONAL:
                raise
            fleet.tell(entry.server, str(error))
    return lanes


def _measure(program: str, lane: _Lane, calls: int, in_flight: int, cores: frozenset[int]) -> Sample:
    before, host_before = lane.server.clock.read(), lane.host.clock.read() if lane.host else 0
    with on(cores):
        result = h2load.run(program, lane.load, calls, in_flight, _STALLED)
    cpu = lane.server.clock.read() - before
    host_cpu = lane.host.clock.read() - host_before if lane.host else 0
    expected = lane.call.replies(calls, lane.reply_bytes)
    if result.failed or result.calls != calls or result.data_bytes != expected:
        raise WrongReplyError(
            f"{lane.entry.label}, {in_flight} in flight: {result.calls} of {calls} calls answered, {result.failed} of "
            f"them badly, {result.data_bytes} bytes where {expected} make {calls} good replies\n"
            f"{lane.server.last_words()}"
        )
    return Sample(calls * lane.call.units, result.seconds, cpu, host_cpu, result.p50, result.p99)


def _turn(fleet: Fleet, program: str, lane: _Lane, calls: int, in_flight: int) -> Sample:
    """One turn of one entry; again if the connection stalls, which is counted and shown."""
    for _ in range(_ATTEMPTS):
        try:
            return _measure(program, lane, calls, in_flight, fleet.settings.cores.load)
        except TimeoutError as error:
            where = f"{lane.entry.label}, {Path(lane.load.path).name}, {in_flight} in flight"
            fleet.stalls.append(where)
            print(f"bench: {where} stalled, once more: {error}", file=sys.stderr, flush=True)
            lane.call.check(lane.server.address)  # nobody knows how many calls were answered before
    raise RuntimeError(f"{lane.entry.label} stalled {_ATTEMPTS} times: {lane.server.last_words()}")


def _calls(rate: float, seconds: float, in_flight: int) -> int:
    """Calls that fill the time, a multiple of those in flight."""
    return max(1, round(rate * seconds / in_flight)) * in_flight


def _warm_up(fleet: Fleet, program: str, lane: _Lane, plan: Plan, in_flight: int) -> int:
    """Warms the server up and returns how many calls fill the time."""
    first = _turn(fleet, program, lane, in_flight, in_flight)
    calls = _calls(first.rate / lane.call.units, plan.seconds / 5, in_flight)
    second = _turn(fleet, program, lane, calls, in_flight)
    return _calls(second.rate / lane.call.units, plan.seconds, in_flight)


def _rounds(group: Group, fleet: Fleet, plan: Plan, in_flight: int, folder: Path) -> Table:
    program = h2load.find()
    samples: dict[str, list[Sample]] = {}
    lanes: list[_Lane] = []
    for number in range(plan.rounds):
        if number == 0 or group.fresh:
            if group.fresh:
                fleet.stop()
            lanes = _lanes(group, fleet, folder)
            counts = [_warm_up(fleet, program, lane, plan, in_flight) for lane in lanes]
        for lane, calls in zip(lanes, counts, strict=True):
            samples.setdefault(lane.entry.label, []).append(_turn(fleet, program, lane, calls, in_flight))
    for lane in lanes:
        lane.call.check(lane.server.address)
    reference = samples[lanes[0].entry.label]
    rows = [summarise(lane.entry.label, samples[lane.entry.label], reference, lane.reply_bytes) for lane in lanes]
    return Table(group, in_flight, rows)


def run_group(group: Group, fleet: Fleet, plan: Plan) -> list[Table]:
    """Measures a group at every number of calls in flight. Raises ``WrongReplyError`` if a reply is not what it
    should be, before, while or after it is measured."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return [_rounds(group, fleet, plan, in_flight, Path(folder)) for in_flight in plan.in_flight]
