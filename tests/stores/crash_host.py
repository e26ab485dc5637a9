"""A program that dies while it commits, for ``test_sqlite_crash``.

It reads orders from its standard input, one JSON array a line: the path of a store, the point to die at, and after how
many acknowledged batches. For each it forks. The child opens the store and commits batches in two sessions at once,
acknowledges each when it is told that it is committed, and at the point it kills itself. What it acknowledged goes to
the standard output: the number of the last batch by session, and the signal that it died of, a JSON array.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec

from bridge.stores.base import Change, Quota, Snapshot, StoredVariable
from bridge.stores.sqlite import SqliteStore

SESSIONS = ("s", "t")
NAMES = tuple(f"v{place}" for place in range(8))
QUOTA = Quota(max_variables=100, max_bytes=2**30, history_entries=3, history_bytes=2**30)
POINTS = (
    "before the transaction",
    "after the first record",
    "in the middle of the batch",
    "before the commit",
    "in the middle of the commit",
    "before anybody is told",
    "before it is acknowledged",
)
INSERTS = {POINTS[1]: 2, POINTS[2]: 5}
"""The record of a batch that is not written any more."""


def number_of(record: StoredVariable) -> int:
    """Which batch a record is of."""
    return int(record.payload.split()[0])


def next_batch(snapshot: Snapshot) -> list[Change]:
    """Every name gets the number that comes next; every other payload is large enough to be kept aside."""
    current = snapshot.variables.get(NAMES[0])
    version, number = (0, 0) if current is None else (current.version, number_of(current))
    record = StoredVariable(name="", type="bytes", payload=b"%d " % (number + 1), version=version + 1, size=100)
    return [
        Change(
            name, version, (msgspec.structs.replace(record, name=name, payload=record.payload * (1 + place % 2 * 999)),)
        )
        for place, name in enumerate(NAMES)
    ]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Child:
    """The process that dies."""

    def __init__(self, path: str, point: str, batches: int, acknowledged: int) -> None:
        self.path = path
        self.point = point
        self.batches = batches
        self.acknowledged = acknowledged
        self.is_open = False
        self.inserts = 0

    @property
    def is_time(self) -> bool:
        return self.is_open and self.batches <= 0

    def run(self) -> None:
        """Does not return, unless something is wrong."""
        child, connect = self, sqlite3.connect
        signal.alarm(20)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        class Loop(asyncio.SelectorEventLoop):
            def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:
                if child.is_time and child.point == "before anybody is told":
                    die()
                return super().call_soon_threadsafe(*args, **options)

        def traced(*args: Any, **options: Any) -> sqlite3.Connection:
            connection = connect(*args, **options)
            connection.set_trace_callback(child.before)
            return connection

        sqlite3.connect = traced
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(self.write_all())

    def before(self, statement: str) -> None:
        """Is told of each statement before it runs."""
        if not self.is_time:
            return
        if statement.startswith("BEGIN") and self.point == "before the transaction":
            die()
        elif statement.startswith("INSERT INTO record"):
            self.inserts += 1
            if self.inserts == INSERTS.get(self.point):
                die()
        elif statement == "COMMIT" and self.point == "before the commit":
            die()
        elif statement == "COMMIT" and self.point == "in the middle of the commit":
            self.allow_half_a_commit()

    def allow_half_a_commit(self) -> None:
        """The kernel writes as much as it may, and kills who wants more."""
        written = Path(f"{self.path}-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (written + 6_000, resource.RLIM_INFINITY))

    async def write_all(self) -> None:
        store = SqliteStore(self.path)
        await store.open()
        self.is_open = True
        await asyncio.gather(*(self.write(store, session_id) for session_id in SESSIONS))

    async def write(self, store: SqliteStore, session_id: str) -> None:
        while True:
            changes = await store.transact(session_id, NAMES, next_batch, QUOTA, 1_000.0)
            if self.is_time and self.point == "before it is acknowledged":
                die()
            os.write(self.acknowledged, f"{session_id} {number_of(changes[0].records[0])}\n".encode())
            self.batches -= 1


def live_and_die(path: str, point: str, batches: int) -> tuple[dict[str, int], int]:
    """Has a child die; returns what it acknowledged, and the signal it died of."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            Child(path, point, batches, writing).run()
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as lines:
        acknowledged = {session_id: int(number) for session_id, number in map(str.split, lines)}
    _, status = os.waitpid(child, 0)
    return acknowledged, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def main() -> None:
    for order in sys.stdin:
        print(json.dumps(live_and_die(*json.loads(order))), flush=True)


if __name__ == "__main__":
    main()
