"""What every store promises those who use it at once, give up, close it, or come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bridge.errors import BridgeError, Code
from bridge.stores.base import Change, Contention, Quota, QuotaExceeded, Snapshot, Store
from tests.support.records import (
    NOW,
    ROOMY,
    TTL,
    Listener,
    changes_of,
    commit,
    create,
    gone,
    newest,
    read_log,
    session,
    value,
    versions,
)
from tests.support.storage import DURABLE, SHARED, Storage


@pytest.fixture(autouse=True)
async def opened(store: Store) -> None:
    """A session to begin with."""
    await create(store)


def increment(snapshot: Snapshot) -> list[Change]:
    """Counts one on."""
    current = snapshot.variables.get("a")
    number = 0 if current is None else int(current.payload)
    return changes_of(snapshot, [value("a", b"%d" % (number + 1))])


async def count_on(store: Store) -> None:
    """Counts one on, however many others do."""
    while True:
        try:
            await store.transact("s", ["a"], increment, ROOMY, NOW)
        except Contention:
            continue
        return


async def counted(store: Store) -> tuple[int, int]:
    """The number and its version."""
    snapshot = await store.read("s", ["a"], NOW)
    assert snapshot is not None
    current = snapshot.variables["a"]
    return int(current.payload), current.version


async def test_no_update_is_lost_among_many_at_once(store: Store) -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as writers:
        for _ in range(50):
            writers.create_task(count_on(store))
    assert await counted(store) == (50, 50)
    assert versions(await read_log(store, {"a": 0})) == [("a", version) for version in range(1, 51)]


@SHARED
async def test_no_update_is_lost_among_several_handles(storage: Storage, store: Store) -> None:
    other = await storage.open()
    async with asyncio.timeout(30), asyncio.TaskGroup() as writers:
        for _ in range(25):
            writers.create_task(count_on(store))
            writers.create_task(count_on(other))
    assert await counted(store) == await counted(other) == (50, 50)


async def test_one_of_many_who_create_the_same_session_does(store: Store) -> None:
    async with asyncio.timeout(5):
        made = await asyncio.gather(
            *(store.create_session(session("t"), NOW + TTL, max_sessions=10) for _ in range(10))
        )
    assert sum(made) == 1


async def test_no_more_sessions_than_may_be_are_created_at_once(store: Store) -> None:
    async with asyncio.timeout(5):
        results = await asyncio.gather(
            *(store.create_session(session(f"t{number}"), NOW + TTL, max_sessions=5) for number in range(10)),
            return_exceptions=True,
        )
    assert sum(result is True for result in results) == 4
    assert sum(isinstance(result, QuotaExceeded) for result in results) == 6


async def test_reader_never_sees_half_of_a_batch(store: Store) -> None:
    await commit(store, value("a"), value("b"))
    done = asyncio.Event()

    async def write() -> None:
        for _ in range(30):
            await commit(store, value("a"), value("b"))
        done.set()

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        while not done.is_set():
            seen = await newest(store)
            assert seen["a"] == seen["b"]
            await asyncio.sleep(0)


async def test_cancelled_transact_is_all_or_nothing_and_leaves_the_store_usable(store: Store) -> None:
    async with asyncio.timeout(20):
        for steps in range(25):
            task = asyncio.ensure_future(commit(store, value("a"), value("b")))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            changes = await commit(store, value("a"), value("b"))
            assert changes[0].expected_version == changes[1].expected_version
        seen = await newest(store)
        assert seen["a"] == seen["b"] >= 25
        assert len((await read_log(store, {"a": 0})).records) == seen["a"]


async def test_cancelled_calls_leave_no_listener_and_no_lock_behind(store: Store) -> None:
    async def listen() -> None:
        async with store.subscribe("s", Listener()):
            await store.read("s", None, NOW)
            await asyncio.Event().wait()

    async with asyncio.timeout(20):
        for steps in range(25):
            task = asyncio.create_task(listen())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert len(await commit(store, value("a"))) == 1


def operations(store: Store) -> list[Callable[[], Awaitable[object]]]:
    """Every method that touches the storage."""
    return [
        lambda: store.create_session(session("t"), NOW + TTL, max_sessions=10),
        lambda: store.read("s", None, NOW),
        lambda: commit(store, value("a")),
        lambda: store.read_log("s", {"a": 0}, NOW, limit=10, max_bytes=10),
        lambda: store.list_sessions("", NOW, 10),
        lambda: store.due(NOW, 10),
        lambda: store.trim("s"),
        lambda: store.delete_session("s"),
    ]


@DURABLE
async def test_closed_store_says_that_it_is(storage: Storage, store: Store) -> None:
    await storage.aclose()
    for operation in operations(store):
        async with asyncio.timeout(5):
            with pytest.raises(BridgeError) as refusal:
                await operation()
        assert (refusal.value.code, refusal.value.reason) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE")


async def test_closing_twice_is_closing(store: Store) -> None:
    async with asyncio.timeout(5):
        await store.aclose()
        await store.aclose()


async def test_closing_leaves_nobody_waiting(storage: Storage, store: Store) -> None:
    async with asyncio.timeout(10):
        tasks = [asyncio.create_task(count_on(store)) for _ in range(20)]
        await asyncio.sleep(0)
        await storage.aclose()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        assert result is None or (isinstance(result, BridgeError) and result.code is Code.UNAVAILABLE), result


@DURABLE
async def test_what_was_committed_is_there_when_the_store_is_opened_again(storage: Storage, store: Store) -> None:
    made = await create(store, "t", owner="alice", metadata={"job": "7"})
    for _ in range(3):
        await commit(store, value("a", b"a", expires_at=NOW + 50), session_id="t")
        await commit(store, value("b", b"b"), session_id="t")
    await commit(store, gone("c"), session_id="t")
    await store.trim("t")
    await commit(store, value("b", b"b2", metadata={"k": "v"}), gone("d"), session_id="t", now=NOW + 7)
    names = dict.fromkeys("abcd", 0)
    before = await read_log(store, names, session_id="t")

    again = await storage.reopen()
    snapshot = await again.read("t", None, NOW)
    assert snapshot is not None
    assert (snapshot.session, snapshot.expires_at) == (made, NOW + 7 + TTL)
    assert (snapshot.variable_count, snapshot.floor) == (2, 1)
    after = await read_log(again, names, session_id="t")
    assert (list(after.records), dict(after.newest)) == (list(before.records), dict(before.newest))
    assert [one.session.session_id for one in await again.list_sessions("alice", NOW, 10)] == ["t"]
    assert [(due.session_id, list(due.names)) for due in await again.due(NOW + 50, 10)] == [("t", ["a"])]


@DURABLE
async def test_room_that_is_taken_is_still_taken_when_the_store_is_opened_again(storage: Storage, store: Store) -> None:
    await commit(store, value("a"))
    await commit(store, value("a"), gone("b", size=0))
    again = await storage.reopen()
    with pytest.raises(QuotaExceeded, match="max_session_bytes"):
        await commit(again, value("a"), quota=Quota(10, 29, 10, 1_000))
    with pytest.raises(QuotaExceeded, match="max_variables"):
        await commit(again, value("c", size=0), quota=Quota(2, 1_000, 10, 1_000))
    with pytest.raises(QuotaExceeded, match="max_sessions"):
        await again.create_session(session("t"), NOW + TTL, max_sessions=1)
    await commit(again, value("a"), quota=Quota(2, 30, 10, 1_000))


@DURABLE
async def test_order_of_commits_goes_on_when_the_store_is_opened_again(storage: Storage, store: Store) -> None:
    for name in "ab":
        await commit(store, value(name))
    again = await storage.reopen()
    for name in "ba":
        await commit(again, value(name))
    assert versions(await read_log(again, {"a": 0, "b": 0})) == [("a", 1), ("b", 1), ("b", 2), ("a", 2)]


@SHARED
async def test_handles_see_one_storage(storage: Storage, store: Store) -> None:
    other = await storage.open()
    await commit(store, value("a", b"1"))
    assert await newest(other) == {"a": 1}
    await commit(other, value("a", b"2"))
    assert await newest(store) == {"a": 2}
    assert not await other.create_session(session(), NOW + TTL, max_sessions=10)
    assert await other.delete_session("s")
    assert await store.read("s", None, NOW) is None
