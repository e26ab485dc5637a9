"""A host killed while it commits: all of a batch is there or nothing, and what was acknowledged is there."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.stores.base import Snapshot, StoredSession
from bridge.stores.sqlite import SqliteStore
from tests.stores.crash_host import NAMES, POINTS, SESSIONS, number_of

ROUNDS = 15
"""Deaths at each point; more than a hundred in all."""
COMMITTED = POINTS[-2:]
"""Where the last batch is committed and nobody knows."""
NOW = 1_000.0

LiveAndDie = Callable[[Path, str, int], tuple[dict[str, int], int]]


@pytest.fixture(scope="module")
def live_and_die() -> Iterator[LiveAndDie]:
    """Has a host live for some batches and die at a point; see ``crash_host``."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = [sys.executable, Path(__file__).with_name("crash_host.py")]
    with subprocess.Popen(program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdin
        assert host.stdout
        give, take = host.stdin, host.stdout

        def order(path: Path, point: str, batches: int) -> tuple[dict[str, int], int]:
            print(json.dumps([str(path), point, batches]), file=give, flush=True)
            acknowledged, death = json.loads(take.readline())
            return acknowledged, death

        yield order
        give.close()


def check_tables(path: Path) -> None:
    """What is counted is what is there."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        counted = connection.execute("SELECT bytes, names, live, revision FROM session ORDER BY id").fetchall()
        there = connection.execute(
            "SELECT sum(size), count(DISTINCT variable.id), count(DISTINCT variable.id), max(revision)"
            " FROM record JOIN variable ON variable.id = variable GROUP BY session ORDER BY session"
        ).fetchall()
        assert not there or counted == there
        unused = "SELECT count(*) FROM payload WHERE id NOT IN (SELECT payload FROM record WHERE payload IS NOT NULL)"
        assert connection.execute(unused).fetchone() == (0,)
    connection.close()


def batch_of(snapshot: Snapshot | None) -> int:
    """The number of the batch that all variables are of; 0 without variables."""
    assert snapshot is not None
    numbers = {number_of(one) for one in snapshot.variables.values()}
    assert len(snapshot.variables) in (0, len(NAMES))
    assert len(numbers) <= 1, "half a batch"
    return numbers.pop() if numbers else 0


@pytest.mark.parametrize("point", POINTS)
async def test_host_killed_in_a_commit_leaves_whole_batches_and_all_that_was_acknowledged(
    tmp_path: Path, live_and_die: LiveAndDie, point: str
) -> None:
    path = tmp_path / "store.db"
    before = dict.fromkeys(SESSIONS, 0)
    store = SqliteStore(path)
    await store.open()
    for session_id in SESSIONS:
        session = StoredSession(session_id=session_id, owner="", metadata={}, created_at=NOW, ttl=100.0)
        await store.create_session(session, NOW + 100.0, max_sessions=2)
    for turn in range(ROUNDS):
        await store.aclose()
        acknowledged, death = live_and_die(path, point, turn % 5)
        assert death == (signal.SIGXFSZ if point == "in the middle of the commit" else signal.SIGKILL)
        await store.open()
        unacknowledged = 0
        for session_id in SESSIONS:
            there = batch_of(await store.read(session_id, None, NOW))
            least = acknowledged.get(session_id, before[session_id])
            assert least <= there <= least + 1
            log = await store.read_log(session_id, {NAMES[1]: 0}, NOW, limit=10, max_bytes=2**30)
            assert log is not None
            assert [number_of(one) for one in log.records] == list(range(max(there - 3, 1), there + 1))
            before[session_id] = there
            unacknowledged += there - least
        if point in COMMITTED:
            assert unacknowledged
    assert all(before.values())
    await store.aclose()
    check_tables(path)
