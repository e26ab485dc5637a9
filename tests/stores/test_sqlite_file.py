"""The file of a sqlite store: whose it is, and what may be wrong with it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.stores.sqlite import SqliteStore
from tests.support.records import commit, create, newest, value
from tests.support.sqlite_files import ask, content, modes, put, statements


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


async def refusal(path: Path) -> BridgeError:
    """How opening fails; the lock is not kept."""
    store = SqliteStore(path)
    with pytest.raises(BridgeError) as refused:
        await store.open()
    await store.aclose()
    assert refused.value.code is Code.FAILED_PRECONDITION
    assert str(path) in refused.value.message
    return refused.value


async def test_opening_what_is_open_changes_nothing(store: SqliteStore) -> None:
    await commit(store, value("a"))
    await store.open()
    assert await newest(store) == {"a": 1}


async def test_second_host_is_told_who_has_the_file(path: Path, store: SqliteStore) -> None:
    error = await refusal(path)
    assert error.reason == "STORE_IN_USE"
    assert f"process {os.getpid()} holds {path}.lock" in error.message
    await commit(store, value("a"))


async def test_second_host_is_refused_by_whatever_link_it_comes(path: Path, store: SqliteStore) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    with pytest.raises(BridgeError) as refused:
        await SqliteStore(link).open()
    assert refused.value.reason == "STORE_IN_USE"


async def test_closed_file_is_free(path: Path, store: SqliteStore) -> None:
    await store.aclose()
    other = SqliteStore(path)
    await other.open()
    assert (await refusal(path)).reason == "STORE_IN_USE"
    await other.aclose()
    await store.open()
    assert await newest(store) == {}


async def test_cancelled_open_leaves_the_file_free(path: Path) -> None:
    for steps in range(3):
        store = SqliteStore(path)
        opening = asyncio.create_task(store.open())
        for _ in range(steps):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await store.aclose()
    await store.open()
    await store.aclose()


async def test_only_the_owner_may_read_the_files(path: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteStore(path)
        await store.open()
        await create(store)
        made = modes(path.parent)
    finally:
        os.umask(before)
    await store.aclose()
    assert made == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm", "store.db.lock"), 0o600)
    assert set(modes(path.parent)) == {"store.db", "store.db.lock"}


async def test_missing_folder_is_named(tmp_path: Path) -> None:
    error = await refusal(tmp_path / "missing" / "store.db")
    assert error.reason == "STORE_PATH"
    assert f"no folder {tmp_path / 'missing'}" in error.message


async def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "folder"):
        assert (await refusal(tmp_path / name)).reason == "STORE_PATH"
    assert set(modes(tmp_path)) == {"fifo", "folder"}


async def test_lock_that_is_no_file_is_refused(path: Path) -> None:
    os.mkfifo(f"{path}.lock")
    assert (await refusal(path)).reason == "STORE_PATH"


@pytest.mark.parametrize("other", [b"these are notes, and not a database" * 300, b"SQLite format 3\0" + b"\7" * 9_000])
async def test_file_that_is_no_database_is_refused_and_left_alone(path: Path, other: bytes) -> None:
    put(path, other)
    assert (await refusal(path)).reason == "STORE_DAMAGED"
    assert content(path) == other


async def test_file_that_was_cut_off_is_refused(path: Path, store: SqliteStore) -> None:
    await commit(store, value("a", bytes(100_000)))
    await store.aclose()
    put(path, content(path)[:10_000])
    assert (await refusal(path)).reason == "STORE_DAMAGED"


async def test_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE session (id)")
    connection.close()
    before = content(path)
    error = await refusal(path)
    assert (error.reason, "another program" in error.message) == ("STORE_PATH", True)
    assert content(path) == before


async def test_file_of_a_later_version_is_refused(path: Path, store: SqliteStore) -> None:
    await store.aclose()
    ask(path, "PRAGMA user_version = 2")
    error = await refusal(path)
    assert (error.reason, "upgrade" in error.message) == ("STORE_VERSION", True)


def test_unknown_way_to_write_is_refused(path: Path) -> None:
    with pytest.raises(BridgeError) as refused:
        SqliteStore(path, synchronous="off")
    assert refused.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("synchronous", ["normal", "full"])
async def test_store_writes_as_it_is_told(path: Path, monkeypatch: pytest.MonkeyPatch, synchronous: str) -> None:
    with statements(monkeypatch) as seen:
        store = SqliteStore(path, synchronous=synchronous)
        await store.open()
    await store.aclose()
    assert f"PRAGMA synchronous = {synchronous}" in [
        statement.replace(synchronous.upper(), synchronous) for statement in seen
    ]
