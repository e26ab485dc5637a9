"""The memory store: exact commits, and room given back."""

from __future__ import annotations

import pytest

from bridge.stores.base import Change, Conflict, Quota, QuotaExceeded, SessionGone, StoredSession, StoredVariable
from bridge.stores.memory import MemoryStore

QUOTA = Quota(max_variables=3, max_bytes=100)


def variable(name: str, version: int = 1, size: int = 10, expires_at: float | None = None) -> StoredVariable:
    return StoredVariable(name=name, type="bytes", payload=b"", version=version, size=size, expires_at=expires_at)


def put(name: str, expected: int = 0, size: int = 10, expires_at: float | None = None) -> Change:
    return Change(name, expected, variable(name, expected + 1, size, expires_at))


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore(max_bytes=150)
    await create(store, "s", 1000.0)
    return store


async def create(store: MemoryStore, session_id: str, expires_at: float, max_sessions: int = 100_000) -> None:
    session = StoredSession(session_id=session_id, owner="", metadata={}, created_at=0.0, ttl=1000.0)
    await store.create_session(session, expires_at, max_sessions=max_sessions)


async def names(store: MemoryStore, session_id: str = "s") -> set[str]:
    snapshot = await store.read(session_id, None)
    assert snapshot is not None
    assert snapshot.variable_count == len(snapshot.variables)
    return set(snapshot.variables)


async def test_conflict_names_the_version_and_commits_nothing(store: MemoryStore) -> None:
    await store.commit("s", [put("a")], QUOTA)
    with pytest.raises(Conflict) as conflict:
        await store.commit("s", [put("b"), put("a", expected=2), put("c")], QUOTA)
    assert (conflict.value.name, conflict.value.current_version) == ("a", 1)
    with pytest.raises(Conflict) as conflict:
        await store.commit("s", [put("b"), Change("c", 1, None)], QUOTA)
    assert (conflict.value.name, conflict.value.current_version) == ("c", 0)
    assert await names(store) == {"a"}


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ([put("b"), put("c"), put("d")], "max_variables"),
        ([put("b", size=100)], "max_session_bytes"),
        ([put("a", expected=1, size=101)], "max_session_bytes"),
    ],
)
async def test_quota_names_the_limit_and_commits_nothing(store: MemoryStore, changes: list[Change], limit: str) -> None:
    await store.commit("s", [put("a")], QUOTA)
    with pytest.raises(QuotaExceeded) as exceeded:
        await store.commit("s", changes, QUOTA)
    assert exceeded.value.limit == limit
    assert await names(store) == {"a"}


async def test_store_has_a_limit_over_all_sessions(store: MemoryStore) -> None:
    await create(store, "t", 1000.0)
    await store.commit("s", [put("a", size=80)], QUOTA)
    with pytest.raises(QuotaExceeded) as exceeded:
        await store.commit("t", [put("a", size=80)], QUOTA)
    assert exceeded.value.limit == "max_store_bytes"
    assert await store.delete_session("s")
    await store.commit("t", [put("a", size=80)], QUOTA)


async def test_what_holds_too_much_may_shrink(store: MemoryStore) -> None:
    await store.commit("s", [put("a", size=50), put("b", size=50)], QUOTA)
    tight = Quota(max_variables=1, max_bytes=10)
    await store.commit("s", [put("a", expected=1, size=40)], tight)
    await store.commit("s", [Change("b", 1, None)], tight)
    assert await names(store) == {"a"}


async def test_unknown_session_is_told(store: MemoryStore) -> None:
    assert await store.read("t", None) is None
    assert not await store.delete_session("t")
    await store.touch_session("t", 1.0)
    with pytest.raises(SessionGone):
        await store.commit("t", [put("a")], QUOTA)


async def test_renewed_session_is_not_removed_as_expired(store: MemoryStore) -> None:
    await store.touch_session("s", 2000.0)
    await store.touch_session("s", 500.0)  # never back
    assert await store.expire(1500.0, 100) == []
    assert not await store.delete_session("s", expired_by=1999.0)
    assert [one.session_id for one in await store.expire(2000.0, 100)] == ["s"]
    assert await store.read("s", ()) is None


async def test_expire_removes_what_is_over_and_says_what(store: MemoryStore) -> None:
    await store.commit("s", [put("a", expires_at=10.0), put("b", expires_at=20.0), put("c")], QUOTA)
    gone = await store.expire(10.0, 100)
    assert [(one.session_id, one.variable.name) for one in gone if one.variable] == [("s", "a")]
    assert await names(store) == {"b", "c"}
    assert len(await store.expire(20.0, 100)) == 1
    assert await store.expire(999.0, 100) == []
    gone = await store.expire(1000.0, 100)
    assert [(one.session_id, one.variable) for one in gone] == [("s", None)]


async def test_expire_does_not_look_at_more_than_it_may(store: MemoryStore) -> None:
    for number in range(10):
        await create(store, f"t{number}", 5.0)
    assert len(await store.expire(5.0, 4)) == 4
    assert len(await store.expire(5.0, 100)) == 6


async def test_ten_thousand_sessions_leave_nothing_behind(store: MemoryStore) -> None:
    for number in range(10_000):
        await create(store, f"t{number}", 5.0)
        await store.commit(f"t{number}", [put("a", size=0, expires_at=4.0 - number / 10_000)], QUOTA)
        if number % 2:
            await store.delete_session(f"t{number}")
    for _ in range(100):
        await store.expire(5.0, 1000)
    assert set(store._sessions) == {"s"}
    assert store._size == 0
    assert len(store._due) <= 2


async def test_shorter_and_shorter_lives_do_not_pile_up(store: MemoryStore) -> None:
    for version in range(2000):
        await store.commit("s", [put("a", expected=version, expires_at=900.0 - version / 10)], QUOTA)
    assert len(store._due) < 200
    assert len(await store.expire(900.0, 1000)) == 1
