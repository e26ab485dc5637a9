"""Several hosts on one Redis: they share what they should, decide on what is there, and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bridge.stores.base import Change, Quota, QuotaExceeded, SessionGone, Signal, Snapshot
from bridge.stores.redis.views import View, Views
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
    session,
    value,
)
from tests.support.redis_server import RedisServer
from tests.support.redis_stores import OpenStore


async def test_hosts_see_and_hear_each_others_commits(server: RedisServer, open_store: OpenStore) -> None:
    one, other = await open_store(server.url), await open_store(server.url)
    await create(one)
    heard_by_one, heard_by_other = Listener(), Listener()
    async with asyncio.timeout(5), one.subscribe("s", heard_by_one), other.subscribe("s", heard_by_other):
        await commit(one, value("a", b"1"))
        await heard_by_other.told(Signal.CHANGED)
        await commit(other, value("a", b"2"), value("b", b"1"))
        assert await newest(one) == {"a": 2, "b": 1}
        heard_by_one.signals.clear()
        assert await other.delete_session("s")
        await heard_by_one.told(Signal.CLOSED)
        await heard_by_other.told(Signal.CLOSED)


async def test_belief_that_is_out_of_date_decides_nothing(server: RedisServer, open_store: OpenStore) -> None:
    one, other = await open_store(server.url), await open_store(server.url)
    await create(one)
    await commit(one, value("a", b"1"))
    await commit(other, value("a", b"2"))

    def only_second(snapshot: Snapshot) -> Sequence[Change]:
        if snapshot.variables["a"].payload != b"2":
            raise RuntimeError("decided on what is no more")
        return changes_of(snapshot, [value("a", b"3")])

    await one.transact("s", ["a"], only_second, ROOMY, NOW)
    assert await newest(other) == {"a": 3}


async def test_decision_not_to_write_is_made_on_what_is_there(server: RedisServer, open_store: OpenStore) -> None:
    one, other = await open_store(server.url), await open_store(server.url)
    await create(one)
    await commit(one, value("a", b"1"))
    await commit(other, value("a", b"2"))
    seen: list[bytes] = []

    def nothing(snapshot: Snapshot) -> Sequence[Change]:
        seen.append(snapshot.variables["a"].payload)
        return []

    assert await one.transact("s", ["a"], nothing, ROOMY, NOW) == []
    assert seen[-1] == b"2"


async def test_decision_sees_how_many_variables_other_hosts_made(server: RedisServer, open_store: OpenStore) -> None:
    one, other = await open_store(server.url), await open_store(server.url)
    await create(one)
    await commit(one, value("a", b"1"))
    await commit(other, value("b", b"1"))
    counts: list[int] = []

    def decide(snapshot: Snapshot) -> Sequence[Change]:
        counts.append(snapshot.variable_count)
        return changes_of(snapshot, [value("a", b"1")])

    await one.transact("s", ["a"], decide, ROOMY, NOW)
    assert counts[-1] == 2


async def test_session_of_the_same_id_is_another_session(server: RedisServer, open_store: OpenStore) -> None:
    one, other = await open_store(server.url), await open_store(server.url)
    await create(one, owner="alice")
    await one.read("s", ["a"], NOW)
    await other.delete_session("s")
    with pytest.raises(SessionGone):
        await commit(one, value("a", b"1"))
    await create(one, owner="alice")
    await one.read("s", ["a"], NOW)
    await other.delete_session("s")
    await create(other, owner="bob")
    owners: list[str] = []

    def decide(snapshot: Snapshot) -> Sequence[Change]:
        owners.append(snapshot.session.owner)
        return changes_of(snapshot, [value("a", b"2")])

    await one.transact("s", ["a"], decide, ROOMY, NOW)
    assert owners[-1] == "bob"
    assert await newest(other) == {"a": 1}


async def test_who_builds_on_a_refused_change_decides_again(server: RedisServer, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    await create(store)
    await commit(store, value("a", b"first"))
    tight = Quota(max_variables=10, max_bytes=50, history_entries=10, history_bytes=1_000)
    seen: list[bytes] = []

    def longer(snapshot: Snapshot) -> Sequence[Change]:
        seen.append(snapshot.variables["a"].payload)
        return changes_of(snapshot, [value("a", seen[-1] + b"+")])

    async with asyncio.timeout(5):
        too_big = store.transact("s", ["a"], committing(value("a", b"refused", size=1_000)), tight, NOW)
        small = [store.transact("s", ["a"], longer, tight, NOW) for _ in range(3)]
        first, *rest = await asyncio.gather(too_big, *small, return_exceptions=True)
    assert isinstance(first, QuotaExceeded)
    assert not any(isinstance(one, BaseException) for one in rest)
    assert b"refused" in seen  # else this shows nothing
    payloads = [one.payload for one in (await read_log(store, {"a": 0})).records]
    assert payloads == [b"first", b"first+", b"first++", b"first+++"]


async def test_many_writers_of_several_hosts_lose_no_update(server: RedisServer, open_store: OpenStore) -> None:
    stores = [await open_store(server.url) for _ in range(4)]
    await create(stores[0])

    def increment(snapshot: Snapshot) -> Sequence[Change]:
        current = snapshot.variables.get("a")
        return changes_of(snapshot, [value("a", b"%d" % (int(current.payload if current else b"0") + 1))])

    async with asyncio.timeout(30):
        await asyncio.gather(*(store.transact("s", ["a"], increment, ROOMY, NOW) for _ in range(8) for store in stores))
    (last,) = (await read_log(stores[0], {"a": 31})).records
    assert (last.version, last.payload) == (32, b"32")


async def test_session_to_which_nobody_listens_is_not_subscribed_to(server: RedisServer, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    await create(store)
    async with asyncio.timeout(5):
        for _ in range(3):
            one, other = Listener(), Listener()
            async with store.subscribe("s", one):
                async with store.subscribe("s", other):
                    await commit(store, value("a", b"1"))
                    await other.told(Signal.CHANGED)
                await one.told(Signal.CHANGED)
                await commit(store, value("a", b"1"))
                await one.told(Signal.CHANGED)
            assert other.signals == []
            await store.read("s", (), NOW)
        while server.ask("PUBSUB", "CHANNELS") != []:  # noqa: ASYNC110 - it was told, and need not have heard it yet
            await asyncio.sleep(0.01)


def view(session_id: str, payload: bytes) -> View:
    """A belief about one variable."""
    return View(session(session_id), "incarnation", NOW, 1, 0, {"a": (value("a", payload), "token")})


def test_beliefs_about_sessions_are_bounded() -> None:
    views = Views(20_000)
    for number in range(100):
        views.put(view(f"s{number}", bytes(5_000)))
    there = [number for number in range(100) if views.get(f"s{number}", ["a"]) is not None]
    assert there == [97, 98, 99]
    views.put(view("large", bytes(50_000)))
    assert views.get("large", ["a"]) is None


async def test_prefixes_do_not_see_each_other(server: RedisServer, open_store: OpenStore) -> None:
    one, other = await open_store(server.url, prefix="one"), await open_store(server.url, prefix="other")
    await create(one)
    listener = Listener()
    async with asyncio.timeout(5), other.subscribe("s", listener):
        await commit(one, value("a", b"1"))
        assert await other.read("s", None, NOW) is None
        assert await other.list_sessions("", NOW, 10) == []
        assert await other.due(NOW + TTL, 10) == []
        assert not await other.delete_session("s")
        assert await other.create_session(session(), NOW + TTL, max_sessions=1)
        await commit(other, value("b", b"1"))
        await listener.told(Signal.CHANGED)
    assert (await newest(one), await newest(other)) == ({"a": 1}, {"b": 1})


async def test_databases_do_not_see_each_other(server: RedisServer, open_store: OpenStore) -> None:
    one, other = await open_store(f"{server.url}?db=1"), await open_store(f"{server.url}?db=2")
    await create(one)
    await create(other)
    listener = Listener()
    async with asyncio.timeout(5), other.subscribe("s", listener):
        await one.delete_session("s")
        assert await newest(other) == {}
        await commit(other, value("a", b"1"))
        await listener.until(lambda signals: Signal.CHANGED in signals)
        assert Signal.CLOSED not in listener.signals


async def test_equal_large_payloads_are_kept_once(server: RedisServer, open_store: OpenStore) -> None:
    store = await open_store(server.url, prefix="p")
    await create(store)
    large, other = bytes(100_000), b"\x01" * 100_000
    for payload in (large, large, other, large):
        await commit(store, value("a", payload), value("b", payload))
    assert server.ask("HLEN", "{p}:payloads:s") == 2
    used = sum(int(str(server.ask("MEMORY", "USAGE", key, "SAMPLES", "0"))) for key in server.all_keys())
    assert 200_000 < used < 300_000
    assert [one.payload for one in (await read_log(store, {"a": 0})).records] == [large, large, other, large]


async def test_payload_goes_with_the_last_record_that_has_it(server: RedisServer, open_store: OpenStore) -> None:
    store = await open_store(server.url, prefix="p")
    await create(store)
    one_before = Quota(10, 2**30, history_entries=1, history_bytes=2**30)
    for number in range(4):
        await commit(store, value("a", bytes([number]) * 2_000), quota=one_before)
    assert server.ask("HLEN", "{p}:payloads:s") == 2
    await store.trim("s")
    assert server.ask("HLEN", "{p}:payloads:s") == 1
    await commit(store, gone("a"), quota=one_before)
    await store.trim("s")
    assert server.ask("EXISTS", "{p}:payloads:s", "{p}:references:s", "{p}:history:s") == 0


async def test_nothing_is_left_of_a_session(server: RedisServer, open_store: OpenStore) -> None:
    store = await open_store(server.url)
    await create(store, owner="alice")
    for _ in range(3):
        await commit(store, value("a", bytes(5_000), expires_at=NOW + 9), value("b", b"1"), gone("c"))
    assert len(server.all_keys()) == 8
    assert await store.delete_session("s")
    assert server.all_keys() == []


async def test_sessions_that_are_used_are_looked_at_once_in_their_time(
    server: RedisServer, open_store: OpenStore
) -> None:
    store = await open_store(server.url, prefix="p")
    await create(store)
    for elapsed in range(50):
        await store.read("s", (), NOW + elapsed)
    assert await store.due(NOW + TTL, 10) == []
    assert float(str(server.ask("ZSCORE", "{p}:due", "s"))) == NOW + 49 + TTL
