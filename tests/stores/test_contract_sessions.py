"""What every store promises of sessions: they are there until they are deleted or their time is over."""

from __future__ import annotations

import pytest

from bridge.stores.base import Change, QuotaExceeded, SessionGone, Snapshot, Store
from bridge.variables import UpdateKind
from tests.support.records import (
    NOW,
    ROOMY,
    TTL,
    commit,
    committing,
    create,
    expiring,
    gone,
    newest,
    read_log,
    session,
    sweep,
    value,
)

END = NOW + TTL


async def ends(store: Store, now: float = NOW, owner: str = "") -> dict[str, float]:
    """When the sessions of an owner end; asking renews none."""
    return {one.session.session_id: one.expires_at for one in await store.list_sessions(owner, now, 1_000)}


async def test_created_session_is_read_as_it_was_given(store: Store) -> None:
    made = await create(store, owner="alice", metadata={"job": "7"})
    snapshot = await store.read("s", (), NOW)
    assert snapshot is not None
    assert (snapshot.session, snapshot.expires_at) == (made, END)
    assert (snapshot.variable_count, snapshot.floor, snapshot.variables) == (0, 0, {})


async def test_second_session_of_an_id_is_not_created(store: Store) -> None:
    await create(store, owner="alice")
    await commit(store, value("a"))
    assert not await store.create_session(session(owner="bob", created_at=NOW + 1), END + 1, max_sessions=10)
    assert await ends(store, owner="alice") == {"s": END}
    assert await ends(store, owner="bob") == {}
    assert await newest(store) == {"a": 1}


async def test_full_store_names_the_limit_and_creates_nothing(store: Store) -> None:
    await create(store)
    with pytest.raises(QuotaExceeded) as exceeded:
        await store.create_session(session("t"), END, max_sessions=1)
    assert (exceeded.value.limit, exceeded.value.maximum) == ("max_sessions", 1)
    assert await store.read("t", None, NOW) is None
    assert await store.create_session(session("t"), END, max_sessions=2)


async def test_deleted_session_makes_room_for_another(store: Store) -> None:
    await create(store)
    assert await store.delete_session("s")
    assert await store.create_session(session("t"), END, max_sessions=1)


async def test_unknown_session_is_told(store: Store) -> None:
    assert await store.read("s", None, NOW) is None
    assert await store.read_log("s", {"a": 0}, NOW, limit=10, max_bytes=10) is None
    assert not await store.delete_session("s")
    assert not await store.delete_session("s", expired_by=END)
    await store.trim("s")
    with pytest.raises(SessionGone):
        await commit(store, value("a"))
    assert await store.list_sessions("", NOW, 10) == []


async def test_session_whose_time_is_over_is_as_good_as_gone_before_anybody_sweeps(store: Store) -> None:
    await create(store)
    await commit(store, value("a"))
    assert await store.list_sessions("", END, 10) == []
    assert await store.read_log("s", {"a": 0}, END, limit=10, max_bytes=10) is None
    assert await store.read("s", None, END) is None
    for renew in (True, False):
        with pytest.raises(SessionGone):
            await store.transact("s", ["a"], committing(value("a")), ROOMY, END, renew=renew)
    assert [due.session_id for due in await store.due(END, 10)] == ["s"]  # and none of these has renewed it


async def test_decision_is_not_asked_for_in_a_session_that_is_over(store: Store) -> None:
    await create(store)
    asked: list[Snapshot] = []

    def decide(snapshot: Snapshot) -> list[Change]:
        asked.append(snapshot)
        return []

    with pytest.raises(SessionGone):
        await store.transact("s", ["a"], decide, ROOMY, END)
    assert not asked


async def test_read_renews(store: Store) -> None:
    await create(store)
    snapshot = await store.read("s", (), NOW + 60)
    assert snapshot is not None
    assert snapshot.expires_at == NOW + 60 + TTL
    assert await ends(store) == {"s": NOW + 60 + TTL}
    assert await store.read("s", (), NOW + 60 + TTL - 0.5) is not None


async def test_transact_renews_also_if_there_is_nothing_to_commit(store: Store) -> None:
    await create(store)
    await commit(store, value("a"), now=NOW + 10)
    assert await ends(store) == {"s": END + 10}
    assert list(await store.transact("s", ["a"], lambda _: [], ROOMY, NOW + 20)) == []
    assert await ends(store) == {"s": END + 20}
    assert await newest(store) == {"a": 1}


async def test_refused_transact_is_use_of_a_session_too(store: Store) -> None:
    await create(store)

    def refuse(_: Snapshot) -> list[Change]:
        raise LookupError

    with pytest.raises(LookupError):
        await store.transact("s", ["a"], refuse, ROOMY, NOW + 10)
    assert await ends(store) == {"s": END + 10}
    with pytest.raises(QuotaExceeded):
        await commit(store, value("a", size=2**41), now=NOW + 20)
    assert await ends(store) == {"s": END + 20}


async def test_transact_that_is_no_use_of_a_session_does_not_renew_it(store: Store) -> None:
    await create(store)
    await commit(store, value("a", expires_at=NOW + 5))
    await store.transact("s", ["a"], expiring(NOW + 5), ROOMY, NOW + 5, renew=False)
    assert await newest(store) == {"a": 2}
    assert await ends(store) == {"s": END}


async def test_nothing_shortens_a_life(store: Store) -> None:
    await store.create_session(session(), END + 1_000, max_sessions=10)
    await store.read("s", (), NOW)
    await commit(store, value("a"))
    assert await ends(store) == {"s": END + 1_000}


async def test_looking_does_not_renew(store: Store) -> None:
    await create(store)
    await read_log(store, {"a": 0}, now=END - 1)
    await store.list_sessions("", END - 1, 10)
    await store.due(END - 1, 10)
    await store.trim("s")
    assert await store.read("s", (), END) is None


async def test_deleted_session_is_gone_with_all_that_was_in_it(store: Store) -> None:
    await create(store)
    await commit(store, value("a", b"old"), gone("b"))
    assert await store.delete_session("s")
    assert await store.read("s", None, NOW) is None
    await create(store)
    assert await newest(store) == {}
    log = await read_log(store, {"a": 0, "b": 0})
    assert (list(log.records), dict(log.newest), log.floor) == ([], {}, 0)
    assert (await commit(store, value("a")))[0].records[0].version == 1


async def test_renewed_session_is_not_deleted_as_expired(store: Store) -> None:
    await create(store)
    await store.read("s", (), NOW + 50)
    assert not await store.delete_session("s", expired_by=END + 49)
    assert await newest(store, now=NOW + 50) == {}
    assert await store.delete_session("s", expired_by=END + 50)
    assert not await store.delete_session("s", expired_by=END + 50)


async def test_sessions_are_listed_by_owner_newest_first(store: Store) -> None:
    for number, owner in enumerate(("alice", "bob", "alice", "", "alice", "alice*")):
        await create(store, f"s{number}", owner=owner, created_at=NOW + number)
    await commit(store, value("a"), value("b"), value("c"), session_id="s2")
    await commit(store, gone("c"), session_id="s2")
    listed = await store.list_sessions("alice", NOW + 10, 10)
    assert [one.session.session_id for one in listed] == ["s4", "s2", "s0"]
    assert [one.variable_count for one in listed] == [0, 2, 0]
    assert not any(one.variables for one in listed)
    assert [one.session.session_id for one in await store.list_sessions("alice", NOW + 10, 2)] == ["s4", "s2"]
    assert [one.session.session_id for one in await store.list_sessions("", NOW + 10, 10)] == ["s3"]
    assert await store.list_sessions("nobody", NOW + 10, 10) == []


async def test_list_reaches_past_sessions_whose_time_is_over(store: Store) -> None:
    await create(store, "old", ttl=1_000.0)
    for number in range(5):
        await create(store, f"brief{number}", created_at=NOW + 1 + number, ttl=1.0)
    assert [one.session.session_id for one in await store.list_sessions("", NOW + 500, 3)] == ["old"]


async def test_due_says_what_is_over_until_somebody_ends_it(store: Store) -> None:
    await create(store)
    await create(store, "t")
    await commit(store, value("a", expires_at=NOW + 5), value("b", expires_at=NOW + 9), value("c"), session_id="t")
    assert await store.due(NOW + 4, 10) == []
    for _ in range(2):
        (due,) = await store.due(NOW + 5, 10)
        assert (due.session_id, list(due.names)) == ("t", ["a"])
    (due,) = await store.due(NOW + 9, 10)
    assert (due.session_id, sorted(due.names)) == ("t", ["a", "b"])
    await store.transact("t", ["a", "b"], expiring(NOW + 9), ROOMY, NOW + 9)
    assert await store.due(NOW + 9, 10) == []
    for _ in range(2):
        assert [(due.session_id, list(due.names)) for due in await store.due(END, 10)] == [("s", [])]


async def test_whole_session_is_due_once_its_time_is_over_whatever_is_in_it(store: Store) -> None:
    await create(store)
    await commit(store, value("a", expires_at=NOW + 5))
    assert [(due.session_id, list(due.names)) for due in await store.due(END, 10)] == [("s", [])]


async def test_what_got_more_time_is_not_due(store: Store) -> None:
    await create(store)
    await commit(store, value("a", expires_at=NOW + 5), value("b", expires_at=NOW + 5), value("c", expires_at=NOW + 5))
    await commit(store, value("a", expires_at=NOW + 50), value("b"), gone("c"))
    assert await store.due(NOW + 49, 10) == []
    await store.read("s", (), NOW + 49)
    assert [(due.session_id, list(due.names)) for due in await store.due(END, 10)] == [("s", ["a"])]
    assert [(due.session_id, list(due.names)) for due in await store.due(END + 49, 10)] == [("s", [])]


async def test_what_got_less_time_is_due_earlier(store: Store) -> None:
    await create(store)
    await commit(store, value("a", expires_at=NOW + 50))
    await commit(store, value("a", expires_at=NOW + 5))
    assert [(due.session_id, list(due.names)) for due in await store.due(NOW + 5, 10)] == [("s", ["a"])]


async def test_variable_that_is_gone_is_never_due(store: Store) -> None:
    await create(store)
    await commit(store, value("a", kind=UpdateKind.EXPIRED, expires_at=NOW + 5))
    assert await store.due(NOW + 5, 10) == []


async def test_deleted_session_is_not_due(store: Store) -> None:
    await create(store)
    await commit(store, value("a", expires_at=NOW + 5))
    await store.delete_session("s")
    assert await store.due(END, 10) == []


async def test_due_looks_at_no_more_than_about_its_limit_and_comes_to_all(store: Store) -> None:
    for number in range(12):
        await create(store, f"s{number:02}")
        await commit(store, value("a", expires_at=NOW + 5), session_id=f"s{number:02}")
    assert 0 < len(await store.due(NOW + 5, 4)) < 12
    # A look may end at what it need not have looked at, so an empty answer is not the end of all.
    assert sum([await sweep(store, NOW + 5, limit=4) for _ in range(12)]) == 12
    assert await store.due(NOW + 5, 100) == []
    assert 0 < len(await store.due(END + 5, 4)) < 12
    assert sum([await sweep(store, END + 5, limit=4) for _ in range(12)]) == 12
    assert await store.due(END + 5, 100) == []


async def test_swept_session_may_be_made_again(store: Store) -> None:
    await create(store)
    await store.transact("s", ["a"], committing(value("a")), ROOMY, NOW)
    assert await sweep(store, END) == 1
    await create(store, created_at=END)
    assert await newest(store, now=END) == {}
