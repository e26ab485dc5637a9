"""What is special about the store in memory: one limit over all sessions, and nothing that piles up."""

from __future__ import annotations

import pytest

from bridge.stores.base import QuotaExceeded
from bridge.stores.memory import MemoryStore
from tests.support.records import NOW, TTL, commit, create, newest, read_log, sweep, value


@pytest.fixture
async def store() -> MemoryStore:
    """A small store with the sessions s and t."""
    store = MemoryStore(max_bytes=150)
    await create(store, "s")
    await create(store, "t")
    return store


async def test_store_has_a_limit_over_all_sessions(store: MemoryStore) -> None:
    await commit(store, value("a", size=80))
    with pytest.raises(QuotaExceeded) as exceeded:
        await commit(store, value("a", size=71), session_id="t")
    assert (exceeded.value.limit, exceeded.value.maximum) == ("max_store_bytes", 150)
    assert await newest(store, "t") == {}
    await commit(store, value("a", size=70), session_id="t")


async def test_deleted_session_gives_its_bytes_back_to_all(store: MemoryStore) -> None:
    await commit(store, value("a", size=100), value("b", size=50))
    await store.delete_session("s")
    await commit(store, value("a", size=150), session_id="t")


async def test_trimmed_session_gives_its_bytes_back_to_all(store: MemoryStore) -> None:
    for size in (100, 40, 10):
        await commit(store, value("a", size=size))
    await store.trim("s")
    await commit(store, value("a", size=140), session_id="t")
    with pytest.raises(QuotaExceeded, match="max_store_bytes"):
        await commit(store, value("b", size=1), session_id="t")


async def test_lives_that_change_all_the_time_do_not_pile_up(store: MemoryStore) -> None:
    for version in range(2_000):
        await commit(store, value("a", size=0, expires_at=NOW + 90 - version / 100))
    assert len(store._due) < 200
    for number in range(2_000):
        await create(store, f"s{number}")
        await store.delete_session(f"s{number}")
    assert len(store._due) < 200
    assert await sweep(store, NOW + 90) == 1


async def test_session_is_found_however_its_ends_moved() -> None:
    store = MemoryStore()
    await create(store)
    for second in range(1, 50):
        await commit(store, value("a", expires_at=NOW + second), now=NOW + second - 1)
        (due,) = await store.due(NOW + second, 10)
        assert due.names == ["a"]
    assert await sweep(store, NOW + 49) == 1
    assert [(due.session_id, list(due.names)) for due in await store.due(NOW + 48 + TTL, 10)] == [("s", [])]


async def test_large_value_that_is_written_again_is_kept_once() -> None:
    store = MemoryStore()
    await create(store)
    for _ in range(3):
        await commit(store, value("a", bytes(100_000)))
    payloads = {id(record.payload) for record in (await read_log(store, {"a": 0})).records}
    assert len(payloads) == 1
