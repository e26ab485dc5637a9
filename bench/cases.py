"""What is compared with what: groups of cases, and who takes part in each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.wrappers_pb2 import Int64Value

from bench.calls import Call, HttpCall, SetCall, StreamCall, UnaryCall, request
from bridge.v1 import host_pb2

__all__ = ["BARE", "GROUPS", "STORES", "VARIABLES", "Entry", "Group", "Sessions"]

TEXT = "to be, or not to be, that is the question"
VALUE = 7
"""The value of every variable the bench reads."""
VARIABLES = 20
"""How many there are in a session: v0, v1, ..."""
STORES = ("memory", "sqlite", "redis")
BARE = "bare grpc.aio"

Sessions = Callable[[str], str]
"""Opens a session with the variables at the host that a server uses; returns its id."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a table."""

    label: str
    server: str
    """Name in ``servers.STARTERS``."""
    call: Callable[[Sessions], Call]
    host: str = ""
    """The server that holds its variables, if that is another process: a host, or the database of one."""


@dataclass(frozen=True, slots=True)
class Group:
    """One table: the first entry is the reference."""

    key: str
    title: str
    unit: str
    """What one unit is: a call or a message."""
    entries: tuple[Entry, ...]
    unit_bytes: int = 0
    """Payload of a unit, for MB/s; 0: not shown."""
    fresh: bool = False
    """New servers for every round: for what depends on how the memory of one process happens to lie."""
    beside: str = "host"
    """What ``Entry.host`` is, for the head of its column."""


def _fixed(call: Call) -> Callable[[Sessions], Call]:
    return lambda sessions: call


def _unary() -> Group:
    arguments: dict[str, str | int] = {"text": TEXT, "top": 3}
    both = dict(arguments)
    decoded = json.dumps(both)
    entries = (
        Entry(BARE, "bare", _fixed(UnaryCall(request("echo", arguments), TEXT))),
        Entry("bridge, async tool", "bridge", _fixed(UnaryCall(request("echo", arguments), both))),
        Entry("bridge, sync tool (thread)", "bridge", _fixed(UnaryCall(request("echo_sync", arguments), both))),
        Entry("bridge, async tool in a worker", "bridge, workers", _fixed(UnaryCall(request("echo", arguments), both))),
        Entry(
            "bridge, sync tool in a worker", "bridge, workers", _fixed(UnaryCall(request("echo_sync", arguments), both))
        ),
        Entry("pyvider-rpcplugin", "pyvider", _fixed(UnaryCall(request("echo", arguments), TEXT))),
        Entry("pyvider-rpcplugin, decode+encode", "pyvider", _fixed(UnaryCall(request("decode", arguments), decoded))),
        Entry("cjm-plugin-system worker", "cjm", _fixed(HttpCall("/execute", {"kwargs": both}, both))),
    )
    return Group("unary", "Unary call, two parameters", "call", entries)


def _stream(key: str, title: str, count: int, size: int) -> Group:
    arguments = {"count": count, "size": size}
    aio, thread = (_fixed(StreamCall(request(tool, arguments), count, size)) for tool in ("stream", "stream_sync"))
    lines = HttpCall("/execute_stream", {"kwargs": arguments}, ["0" * size] * count, units=count, lines=True)
    entries = (
        Entry(BARE, "bare", aio),
        Entry("bridge, async generator", "bridge", aio),
        Entry("bridge, sync generator (thread)", "bridge", thread),
        Entry("pyvider-rpcplugin", "pyvider", aio),
        Entry("cjm-plugin-system worker (NDJSON)", "cjm", _fixed(lines)),
    )
    return Group(key, title, "message", entries, unit_bytes=size)


def _payload(megabytes: int) -> Group:
    size = megabytes * 1_000_000
    data = bytes(range(256)) * (size // 256)
    call = _fixed(UnaryCall(request("blob", {}, data=data), data))
    text = {"data": "0" * len(data)}
    entries = (
        Entry(BARE, "bare", call),
        Entry("bridge, async tool", "bridge", call),
        Entry("pyvider-rpcplugin", "pyvider", call),
        Entry("cjm-plugin-system worker (JSON text)", "cjm", _fixed(HttpCall("/execute", {"kwargs": text}, text))),
    )
    return Group(
        f"payload{megabytes}", f"Echo of {megabytes} MB", "call", entries, unit_bytes=2 * len(data), fresh=True
    )


def _reading(host: str, count: int, tool: str = "read") -> Callable[[Sessions], Call]:
    def call(sessions: Sessions) -> Call:
        message = request(tool, {"count": count}, session_id=sessions(host))
        return UnaryCall(message, VALUE * count)

    return call


def _reads(count: int) -> str:
    return f"{count} read{'' if count == 1 else 's'}"


def _bare() -> Entry:
    return Entry(BARE, "bare", _fixed(UnaryCall(request("echo", {"text": TEXT, "top": 3}), TEXT)))


def _variables() -> Group:
    entries = [_bare()]
    for count in (1, 3):
        label = f"{BARE}, {count} GetVariable"
        entries.append(Entry(label, "bare, dials host", _reading("bare host", count), "bare host"))
    entries += [Entry(f"bridge, embedded host, {_reads(n)}", "bridge", _reading("bridge", n)) for n in (0, 1, 3)]
    for count in (0, 1, 3):
        label = f"bridge, host process, {_reads(count)}"
        entries.append(Entry(label, "bridge, dials host", _reading("bridge host", count), "bridge host"))
    return Group("variables", "Unary call that reads variables, one after the other", "call", tuple(entries))


def _cached() -> Group:
    entries = [_bare()]
    for server, host, where in (("bridge", "", "embedded host"), ("bridge, dials host", "bridge host", "host process")):
        for tool, how in (("read_declared", "reads= of 20"), ("read_cached", "get_many of 20")):
            for count in (0, VARIABLES):
                label = f"bridge, {where}, {how}, {_reads(count)}"
                entries.append(Entry(label, server, _reading(host or server, count, tool), host))
    return Group("cached", "Unary call that has 20 variables fetched at once, and reads them", "call", tuple(entries))


def _setting(host: str) -> Callable[[Sessions], Call]:
    def call(sessions: Sessions) -> Call:
        message = host_pb2.SetVariableRequest(session_id=sessions(host), name="set")
        message.value.Pack(Int64Value(value=VALUE))
        return SetCall(message)

    return call


def _sets() -> Group:
    entries = [_bare(), Entry(f"{BARE}, SetVariable", "bare host", _setting("bare host"))]
    for store in STORES:
        server, database = f"bridge host, {store}", "redis" if store == "redis" else ""
        entries.append(Entry(server, server, _setting(server), database))
    return Group(
        "sets", "SetVariable, an integer, the same variable again and again", "set", tuple(entries), beside="redis"
    )


GROUPS: dict[str, Callable[[], Group]] = {
    "unary": _unary,
    "stream": lambda: _stream("stream", "Stream of 1000 chunks of 32 B", 1000, 32),
    "chunks": lambda: _stream("chunks", "Stream of 64 chunks of 64 KiB", 64, 65536),
    "payload1": lambda: _payload(1),
    "payload10": lambda: _payload(10),
    "variables": _variables,
    "cached": _cached,
    "sets": _sets,
}
"""Groups by the name ``--only`` takes."""
