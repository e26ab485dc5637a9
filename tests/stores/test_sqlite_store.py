"""What is special about a store in a file: what is written to it, when, and what a crash leaves."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.stores.base import Change, Quota, Signal, Snapshot
from bridge.stores.sqlite import SqliteStore
from tests.support.records import (
    NOW,
    ROOMY,
    TTL,
    Listener,
    changes_of,
    commit,
    committing,
    create,
    gone,
    newest,
    read_log,
    value,
    versions,
)
from tests.support.sqlite_files import ask, crashed, size, statements, wal

SHORT_HISTORY = Quota(max_variables=100, max_bytes=2**40, history_entries=2, history_bytes=2**40)
SLACK = TTL / 16
"""Seconds that a session of these tests may live longer after a crash."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """An open store with a session."""
    store = SqliteStore(path)
    await store.open()
    await create(store)
    yield store
    await store.aclose()


async def ends(store: SqliteStore) -> float:
    """When the session ends; asking does not renew it."""
    (listed,) = await store.list_sessions("", NOW, 10)
    return listed.expires_at


class Blocked:
    """Keeps the thread of a store busy, so that what is asked for meanwhile waits, and is then taken at once."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._begun = threading.Event()
        self._go_on = threading.Event()

    def _decide(self, _: Snapshot) -> list[Change]:
        self._begun.set()
        assert self._go_on.wait(10)
        return []

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._store.transact("s", (), self._decide, ROOMY, NOW))
        assert await asyncio.to_thread(self._begun.wait, 10)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)  # the tasks made meanwhile ask
        self._go_on.set()
        await self._task


async def test_full_disk_is_unavailable_commits_nothing_and_passes(path: Path, store: SqliteStore) -> None:
    await commit(store, value("a"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    listener = Listener()
    room = size(wal(path)) + 50_000

    def refuse(_: Snapshot) -> list[Change]:
        raise ValueError

    async with asyncio.timeout(10), store.subscribe("s", listener):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            async with Blocked(store):
                asked = [
                    asyncio.create_task(commit(store, value("a", bytes(200_000)))),
                    asyncio.create_task(store.transact("s", ["a"], refuse, ROOMY, NOW)),
                    asyncio.create_task(commit(store, value("b"))),
                    asyncio.create_task(store.read("s", None, NOW)),
                ]
            big, refused, small, read = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        for error in (big, refused, small):
            assert isinstance(error, BridgeError)
            assert (error.code, error.reason) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert "room" in error.message
        assert isinstance(read, Snapshot)
        assert list(read.variables) == ["a"]
        assert listener.signals == []
        await commit(store, value("a"))
        await listener.told(Signal.CHANGED)
    assert await newest(store) == {"a": 2}


async def test_changes_that_come_together_are_committed_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(path)
    with statements(monkeypatch) as seen:
        await store.open()
    await create(store)
    async with asyncio.timeout(10):
        async with Blocked(store):
            writers = [asyncio.create_task(commit(store, value("a"))) for _ in range(50)]
            await asyncio.sleep(0)
            seen.clear()
        await asyncio.gather(*writers)
    assert seen.count("COMMIT") == 2  # of who kept the thread busy, and of the fifty
    assert await newest(store) == {"a": 50}
    await store.aclose()


async def test_refused_changes_do_not_hurt_those_they_came_with(store: SqliteStore) -> None:
    def refuse(_: Snapshot) -> list[Change]:
        raise KeyError("no")

    def break_off(snapshot: Snapshot) -> list[Change]:
        good, bad = changes_of(snapshot, [value("b"), value("c", size=2**70)])
        return [good, bad]

    def write_unread(snapshot: Snapshot) -> list[Change]:
        return changes_of(snapshot, [value("b"), value("a")])

    await commit(store, value("a"))
    async with asyncio.timeout(10):
        async with Blocked(store):
            asked = [
                asyncio.create_task(commit(store, value("a"))),
                asyncio.create_task(store.transact("s", ["a"], refuse, ROOMY, NOW)),
                asyncio.create_task(store.transact("s", ["b", "c"], break_off, ROOMY, NOW)),
                asyncio.create_task(store.transact("s", ["b"], write_unread, ROOMY, NOW)),
                asyncio.create_task(commit(store, value("a"))),
            ]
        first, refused, broken, unread, last = await asyncio.gather(*asked, return_exceptions=True)
    assert not isinstance(first, BaseException)
    assert not isinstance(last, BaseException)
    assert isinstance(refused, KeyError)
    assert isinstance(broken, OverflowError)
    assert isinstance(unread, sqlite3.Error)
    assert await newest(store) == {"a": 3}
    await commit(store, value("b"))


async def test_what_was_asked_for_before_it_was_closed_is_committed(path: Path, store: SqliteStore) -> None:
    async with asyncio.timeout(10):
        async with Blocked(store):
            writer = asyncio.create_task(commit(store, value("a")))
            await asyncio.sleep(0)
            closing = asyncio.create_task(store.aclose())
        await asyncio.gather(writer, closing)
    await store.open()
    assert await newest(store) == {"a": 1}


async def test_change_of_who_gave_up_waiting_is_committed_and_told(store: SqliteStore) -> None:
    listener = Listener()
    async with asyncio.timeout(10), store.subscribe("s", listener):
        async with Blocked(store):
            writer = asyncio.create_task(commit(store, value("a")))
            await asyncio.sleep(0)
            writer.cancel()
        await listener.told(Signal.CHANGED)
    assert await newest(store) == {"a": 1}


async def test_large_payload_is_kept_once_and_as_long_as_it_is_needed(path: Path, store: SqliteStore) -> None:
    large = bytes(2_000)
    kept = "SELECT count(*), coalesce(sum(length(data)), 0) FROM payload"
    for number in range(3):
        await commit(store, value("a", large, metadata={"number": str(number)}), value("b", large))
    assert ask(path, kept) == [(1, 2_000)]
    await create(store, "t")
    await commit(store, value("a", large), session_id="t")
    assert ask(path, kept) == [(2, 4_000)]  # sessions share nothing
    for _ in range(3):
        await commit(store, value("a"), quota=SHORT_HISTORY)
    assert ask(path, kept) == [(2, 4_000)]
    for _ in range(3):
        await commit(store, gone("b"), quota=SHORT_HISTORY)
    assert ask(path, kept) == [(1, 2_000)]
    await store.delete_session("t")
    assert ask(path, kept) == [(0, 0)]


async def test_trim_drops_payloads_that_nobody_needs(path: Path, store: SqliteStore) -> None:
    await commit(store, value("a", bytes(2_000)), value("b", bytes(3_000)), value("c", bytes(4_000)))
    await commit(store, value("a"), gone("b"))
    await store.trim("s")
    assert ask(path, "SELECT length(data) FROM payload") == [(4_000,)]
    assert versions(await read_log(store, {"a": 0, "b": 0, "c": 0})) == [("c", 1), ("a", 2)]


async def test_deleted_session_leaves_nothing_in_any_table(path: Path, store: SqliteStore) -> None:
    await commit(store, value("a", bytes(2_000)), value("b"))
    await commit(store, value("a"), value("b", expires_at=NOW + 1))
    await store.delete_session("s")
    for table in ("session", "variable", "record", "payload"):
        assert ask(path, f"SELECT count(*) FROM {table}") == [(0,)]


async def test_more_names_than_one_statement_takes_are_read_at_once(store: SqliteStore) -> None:
    names = [f"v{number}" for number in range(1_300)]
    await store.transact("s", names, committing(*map(value, names)), Quota(2_000, 2**40, 10, 2**40), NOW)
    snapshot = await store.read("s", names, NOW)
    assert snapshot is not None
    assert set(snapshot.variables) == set(names)
    log = await read_log(store, dict.fromkeys(names, 0), limit=2_000)
    assert [name for name, _ in versions(log)] == names
    assert log.newest == dict.fromkeys(names, 1)


async def test_use_is_not_written_down_each_time(path: Path, store: SqliteStore) -> None:
    before = size(wal(path))
    for turn in range(50):
        await store.read("s", None, NOW + SLACK * turn / 50)
    assert size(wal(path)) == before
    await store.read("s", None, NOW + SLACK + 1)
    assert size(wal(path)) > before


async def test_session_that_was_used_never_ends_early_after_a_crash(path: Path, store: SqliteStore) -> None:
    for turn in range(30):
        used = NOW + turn
        await store.read("s", None, used)
        again = SqliteStore(crashed(path))
        await again.open()
        assert used + TTL <= await ends(again) <= used + TTL + SLACK
        await again.aclose()


async def test_crash_after_crash_does_not_make_a_session_live_on(path: Path, store: SqliteStore) -> None:
    for turn in range(5):
        path = crashed(path, f"crash-{turn}")
        await store.aclose()
        store = SqliteStore(path)
        await store.open()
        assert await ends(store) == NOW + TTL + SLACK
    await store.aclose()


async def test_session_ends_when_it_should_after_a_close(store: SqliteStore) -> None:
    await store.read("s", None, NOW + 3)
    await store.aclose()
    await store.open()
    assert await ends(store) == NOW + 3 + TTL


async def test_file_of_mostly_free_room_gets_smaller(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.stores.sqlite.file.COMPACT_PAGES", 100)
    await create(store, "t")
    await commit(store, value("a", bytes(2_000_000)))
    await commit(store, value("a", bytes(2_000)), session_id="t")
    await store.delete_session("s")
    await store.aclose()
    assert size(path) > 2_000_000
    await store.open()
    await store.aclose()
    assert size(path) < 200_000
    await store.open()
    assert await newest(store, "t") == {"a": 1}
