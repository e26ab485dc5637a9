"""What every store promises to listeners: whoever listens is told of every commit, and of the end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from bridge.stores.base import QuotaExceeded, Signal, Snapshot, Store
from tests.support.records import NOW, ROOMY, TTL, Listener, commit, create, gone, read_log, sweep, value, versions
from tests.support.storage import SHARED, Storage


@pytest.fixture(autouse=True)
async def opened(store: Store) -> None:
    """A session to begin with."""
    await create(store)


async def test_listener_is_told_once_the_change_can_be_read(store: Store) -> None:
    listener = Listener()
    async with store.subscribe("s", listener):
        for version in range(1, 4):
            await commit(store, value("a"))
            await listener.told(Signal.CHANGED)
            assert versions(await read_log(store, {"a": version - 1})) == [("a", version)]


async def test_wait_for_what_somebody_else_commits_ends(store: Store) -> None:
    listener = Listener()

    async def wait_for_the_change() -> list[tuple[str, int]]:
        while not (seen := versions(await read_log(store, {"a": 0}))):
            await listener.told(Signal.CHANGED)
        return seen

    async with asyncio.timeout(5), store.subscribe("s", listener):
        waiting = asyncio.create_task(wait_for_the_change())
        await asyncio.sleep(0)
        await commit(store, value("a"))
        assert await waiting == [("a", 1)]


@pytest.mark.parametrize("record", [value("a"), gone("a")], ids=["value", "deletion"])
async def test_every_kind_of_change_is_told(store: Store, record: object) -> None:
    listener = Listener()
    async with store.subscribe("s", listener):
        await commit(store, record)  # type: ignore[arg-type]
        await listener.told(Signal.CHANGED)


async def test_all_who_listen_are_told(store: Store) -> None:
    listeners = [Listener() for _ in range(3)]
    async with AsyncExitStack() as stack:
        for listener in listeners:
            await stack.enter_async_context(store.subscribe("s", listener))
        await commit(store, value("a"))
        for listener in listeners:
            await listener.told(Signal.CHANGED)


async def test_who_left_is_told_nothing_and_the_others_still_are(store: Store) -> None:
    leaver, stayer = Listener(), Listener()
    async with store.subscribe("s", stayer):
        async with store.subscribe("s", leaver):
            await commit(store, value("a"))
            await leaver.told(Signal.CHANGED)
        stayer.signals.clear()
        await commit(store, value("a"))
        await stayer.told(Signal.CHANGED)
    assert leaver.signals == []


async def test_who_comes_back_is_told_again(store: Store) -> None:
    listener = Listener()
    for _ in range(3):
        async with store.subscribe("s", listener):
            await commit(store, value("a"))
            await listener.told(Signal.CHANGED)


async def test_listener_of_another_session_is_told_nothing(store: Store) -> None:
    await create(store, "t")
    other, listener = Listener(), Listener()
    async with store.subscribe("t", other), store.subscribe("s", listener):
        await commit(store, value("a"))
        await listener.told(Signal.CHANGED)
        await store.delete_session("s")
        await listener.told(Signal.CLOSED)
        assert other.signals == []
        await commit(store, value("a"), session_id="t")
        await other.told(Signal.CHANGED)


async def test_what_is_not_committed_is_not_told(store: Store) -> None:
    listener = Listener()

    def refuse(_: Snapshot) -> list[object]:
        raise ValueError

    async with store.subscribe("s", listener):
        with pytest.raises(ValueError):
            await store.transact("s", ["a"], refuse, ROOMY, NOW)  # type: ignore[arg-type]
        with pytest.raises(QuotaExceeded):
            await commit(store, value("a", size=2**41))
        await store.transact("s", ["a"], lambda _: [], ROOMY, NOW)
        await store.read("s", None, NOW)
        await store.delete_session("s")
        await listener.until(lambda signals: Signal.CLOSED in signals)
    assert listener.signals == [Signal.CLOSED]


async def test_closed_session_is_told(store: Store) -> None:
    listener = Listener()
    async with store.subscribe("s", listener):
        await store.delete_session("s")
        await listener.until(lambda signals: Signal.CLOSED in signals)
    assert Signal.EXPIRED not in listener.signals


async def test_expired_session_is_told(store: Store) -> None:
    listener = Listener()
    async with store.subscribe("s", listener):
        assert not await store.delete_session("s", expired_by=NOW)
        assert await sweep(store, NOW + TTL) == 1
        await listener.until(lambda signals: Signal.EXPIRED in signals)
    assert listener.signals == [Signal.EXPIRED]


async def test_expired_variable_is_told_as_a_change(store: Store) -> None:
    await commit(store, value("a", expires_at=NOW + 5))
    listener = Listener()
    async with store.subscribe("s", listener):
        await sweep(store, NOW + 5)
        await listener.told(Signal.CHANGED)


async def test_every_one_of_many_commits_at_once_is_seen_by_who_reads_when_told(store: Store) -> None:
    listener = Listener()
    seen: list[int] = []
    async with asyncio.timeout(20), store.subscribe("s", listener), asyncio.TaskGroup() as writers:
        for _ in range(30):
            writers.create_task(commit(store, value("a")))
        while len(seen) < 30:
            new = [version for _, version in versions(await read_log(store, {"a": seen[-1] if seen else 0}))]
            seen += new
            if not new:
                await listener.told(Signal.CHANGED)
    assert seen == list(range(1, 31))


async def test_listener_may_leave_after_the_session_and_the_store_are_gone(storage: Storage, store: Store) -> None:
    async with asyncio.timeout(5), store.subscribe("s", Listener()):
        await store.delete_session("s")
        await storage.aclose()


@SHARED
async def test_listener_is_told_of_what_others_do(storage: Storage, store: Store) -> None:
    other = await storage.open()
    listener = Listener()
    async with store.subscribe("s", listener):
        await commit(other, value("a"))
        await listener.told(Signal.CHANGED)
        assert versions(await read_log(store, {"a": 0})) == [("a", 1)]
        await other.delete_session("s")
        await listener.told(Signal.CLOSED)


@SHARED
async def test_expiry_by_another_is_told_as_expiry(storage: Storage, store: Store) -> None:
    other = await storage.open()
    listener = Listener()
    async with store.subscribe("s", listener):
        await sweep(other, NOW + TTL)
        await listener.until(lambda signals: Signal.EXPIRED in signals)
    assert Signal.CLOSED not in listener.signals
