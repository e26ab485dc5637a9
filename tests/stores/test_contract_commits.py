"""What every store promises of changes: all or nothing, decided on what is there, within the limits."""

from __future__ import annotations

import pytest

from bridge.stores.base import Change, Quota, QuotaExceeded, Snapshot, Store
from bridge.variables import UpdateKind
from tests.support.records import NOW, ROOMY, commit, create, gone, newest, read_log, value, versions

NAMES = ("a", "b", "c", "d", "e")


class Refused(Exception):
    """What a decision says no with."""


@pytest.fixture(autouse=True)
async def opened(store: Store) -> None:
    """A session to begin with."""
    await create(store)


async def kept(store: Store) -> list[tuple[str, int]]:
    """Every record there is."""
    return versions(await read_log(store, dict.fromkeys(NAMES, 0)))


async def count(store: Store) -> int:
    """Variables that are not gone, as the store counts them."""
    snapshot = await store.read("s", (), NOW)
    assert snapshot is not None
    return snapshot.variable_count


async def test_committed_records_are_read_as_they_were_given(store: Store) -> None:
    (change,) = await commit(store, value("a", b"one", metadata={"k": "v"}, changed_by="tool:t"))
    assert (change.name, change.expected_version) == ("a", 0)
    snapshot = await store.read("s", ["a", "b"], NOW)
    assert snapshot is not None
    assert snapshot.variables == {"a": change.records[0]}
    assert list((await read_log(store, {"a": 0})).records) == [change.records[0]]


async def test_read_gives_the_newest_records_also_of_what_is_gone_or_over(store: Store) -> None:
    await commit(store, value("a", b"1"), value("b"), value("c", expires_at=NOW + 1))
    await commit(store, value("a", b"2"), gone("b"))
    snapshot = await store.read("s", None, NOW + 1)
    assert snapshot is not None
    assert {name: (one.version, one.kind) for name, one in snapshot.variables.items()} == {
        "a": (2, UpdateKind.CHANGED),
        "b": (2, UpdateKind.DELETED),
        "c": (1, UpdateKind.CHANGED),
    }
    assert snapshot.variables["a"].payload == b"2"


async def test_read_gives_only_the_names_asked_for(store: Store) -> None:
    await commit(store, value("a"), value("a:b"), value("b"))
    for names in ([], ["a"], ["b", "a:b"], ["missing"]):
        snapshot = await store.read("s", names, NOW)
        assert snapshot is not None
        assert set(snapshot.variables) == set(names) - {"missing"}
        assert snapshot.variable_count == 3


async def test_count_is_of_what_is_not_gone(store: Store) -> None:
    await commit(store, value("a"), value("b"), gone("c"))
    assert await count(store) == 2
    await commit(store, gone("b"), value("c"))
    assert await count(store) == 2
    await commit(store, gone("a"), gone("c"))
    assert await count(store) == 0
    await commit(store, gone("a"))
    assert await count(store) == 0


async def test_decision_sees_what_is_there(store: Store) -> None:
    await commit(store, value("a", b"1"), value("b", b"1"))
    await commit(store, value("a", b"2"), gone("b"))
    seen: list[Snapshot] = []

    def decide(snapshot: Snapshot) -> list[Change]:
        seen.append(snapshot)
        return []

    await store.transact("s", ["a", "b", "missing"], decide, ROOMY, NOW)
    read = await store.read("s", ["a", "b", "missing"], NOW)
    assert seen[-1] == read


async def test_decision_that_raises_commits_nothing(store: Store) -> None:
    await commit(store, value("a"))

    def decide(snapshot: Snapshot) -> list[Change]:
        raise Refused(snapshot.variables["a"].version)

    with pytest.raises(Refused, match="1"):
        await store.transact("s", ["a", "b"], decide, ROOMY, NOW)
    assert await kept(store) == [("a", 1)]
    await commit(store, value("a"))
    assert await newest(store) == {"a": 2}


async def test_changes_of_several_names_are_committed_together(store: Store) -> None:
    changes = await commit(store, value("a"), value("b"), gone("c"))
    assert [change.name for change in changes] == ["a", "b", "c"]
    assert await newest(store) == {"a": 1, "b": 1, "c": 1}


async def test_change_may_have_several_records(store: Store) -> None:
    await commit(store, value("a", b"1", expires_at=NOW))
    await commit(store, gone("a", UpdateKind.EXPIRED), value("a", b"2"), value("b"))
    log = await read_log(store, {"a": 0})
    assert [(one.version, one.kind, one.payload) for one in log.records] == [
        (1, UpdateKind.CHANGED, b"1"),
        (2, UpdateKind.EXPIRED, b""),
        (3, UpdateKind.CHANGED, b"2"),
    ]
    assert await count(store) == 2


async def test_sessions_do_not_see_each_other(store: Store) -> None:
    await create(store, "t")
    await commit(store, value("a", b"s"))
    await commit(store, value("b", b"t"), session_id="t")
    assert await newest(store) == {"a": 1}
    assert await newest(store, "t") == {"b": 1}


@pytest.mark.parametrize(
    ("quota", "limit", "maximum"),
    [
        (Quota(2, 1_000, 10, 1_000), "max_variables", 2),
        (Quota(10, 29, 10, 1_000), "max_session_bytes", 29),
    ],
)
async def test_quota_names_the_limit_and_commits_nothing(store: Store, quota: Quota, limit: str, maximum: int) -> None:
    await commit(store, value("a"))
    with pytest.raises(QuotaExceeded) as exceeded:
        await commit(store, value("b"), value("c"), quota=quota)
    assert (exceeded.value.limit, exceeded.value.maximum) == (limit, maximum)
    assert await kept(store) == [("a", 1)]
    assert await count(store) == 1


async def test_quota_may_be_used_up_to_the_last_name_and_byte(store: Store) -> None:
    await commit(store, value("a"), value("b"), value("c"), quota=Quota(3, 30, 0, 0))
    assert await newest(store) == {"a": 1, "b": 1, "c": 1}


async def test_names_that_are_gone_count_as_names(store: Store) -> None:
    quota = Quota(2, 1_000, 10, 1_000)
    await commit(store, value("a"), value("b"), quota=quota)
    await commit(store, gone("a"), quota=quota)
    with pytest.raises(QuotaExceeded, match="max_variables"):
        await commit(store, value("c"), quota=quota)
    await commit(store, value("a"), quota=quota)


async def test_history_counts_as_bytes(store: Store) -> None:
    quota = Quota(10, 25, 10, 1_000)
    await commit(store, value("a"), quota=quota)
    await commit(store, value("a"), quota=quota)
    with pytest.raises(QuotaExceeded, match="max_session_bytes"):
        await commit(store, value("a"), quota=quota)
    await commit(store, value("a", size=5), quota=quota)
    assert await kept(store) == [("a", 1), ("a", 2), ("a", 3)]


async def test_history_that_goes_as_the_change_comes_leaves_its_bytes_to_it(store: Store) -> None:
    quota = Quota(10, 20, 1, 1_000)
    for _ in range(5):
        await commit(store, value("a"), quota=quota)
    assert await kept(store) == [("a", 4), ("a", 5)]


async def test_bytes_are_what_records_say_of_themselves(store: Store) -> None:
    await commit(store, value("a", bytes(1_000), size=5), quota=Quota(10, 10, 10, 10))
    await commit(store, value("b", size=5), quota=Quota(10, 10, 10, 10))
    with pytest.raises(QuotaExceeded, match="max_session_bytes"):
        await commit(store, value("c", size=1), quota=Quota(10, 10, 10, 10))


async def test_who_holds_too_much_may_shrink_and_not_grow(store: Store) -> None:
    await commit(store, value("a", size=50), value("b", size=50), value("c", size=50))
    tight = Quota(max_variables=1, max_bytes=10, history_entries=0, history_bytes=0)
    await commit(store, value("a", size=40), quota=tight)
    await commit(store, gone("b"), quota=tight)
    await commit(store, value("a", size=40), quota=tight)
    with pytest.raises(QuotaExceeded, match="max_session_bytes"):
        await commit(store, value("a", size=41), quota=tight)
    with pytest.raises(QuotaExceeded, match="max_variables"):
        await commit(store, value("d", size=0), value("a", size=1), quota=tight)
    assert await newest(store) == {"a": 3, "b": 2, "c": 1}


async def test_refused_change_takes_no_room(store: Store) -> None:
    quota = Quota(2, 20, 0, 0)
    for _ in range(3):
        with pytest.raises(QuotaExceeded):
            await commit(store, value("a", size=21), quota=quota)
    await commit(store, value("a"), value("b"), quota=quota)


async def test_history_is_as_many_entries_as_may_be(store: Store) -> None:
    quota = Quota(10, 1_000, 2, 1_000)
    for _ in range(5):
        await commit(store, value("a"), quota=quota)
    assert await kept(store) == [("a", 3), ("a", 4), ("a", 5)]


async def test_history_is_as_many_bytes_as_may_be(store: Store) -> None:
    quota = Quota(10, 1_000, 10, 30)
    for size in (10, 10, 20, 10, 99):
        await commit(store, value("a", size=size), quota=quota)
    assert await kept(store) == [("a", 3), ("a", 4), ("a", 5)]


async def test_history_goes_oldest_first_and_never_the_newest(store: Store) -> None:
    quota = Quota(10, 1_000, 10, 15)
    await commit(store, value("a", size=5), quota=quota)
    await commit(store, value("a", size=100), quota=quota)
    assert await kept(store) == [("a", 1), ("a", 2)]
    await commit(store, value("a", size=5), quota=quota)  # the big one goes, and all that is older with it
    assert await kept(store) == [("a", 3)]


async def test_history_is_bounded_in_one_change_of_many_records(store: Store) -> None:
    await commit(store, *(value("a") for _ in range(6)), quota=Quota(10, 1_000, 2, 1_000))
    assert await kept(store) == [("a", 4), ("a", 5), ("a", 6)]


async def test_history_of_one_variable_is_not_taken_from_another(store: Store) -> None:
    quota = Quota(10, 1_000, 1, 1_000)
    await commit(store, value("a"), quota=quota)
    for _ in range(3):
        await commit(store, value("b"), quota=quota)
    await commit(store, value("a"), quota=quota)
    assert sorted(await kept(store)) == [("a", 1), ("a", 2), ("b", 2), ("b", 3)]


async def test_no_history_if_none_is_wanted(store: Store) -> None:
    for _ in range(3):
        await commit(store, value("a"), quota=Quota(10, 10, 0, 0))
    assert await kept(store) == [("a", 3)]


async def test_deleted_name_goes_on_with_its_versions(store: Store) -> None:
    await commit(store, value("a"))
    await commit(store, gone("a"))
    await commit(store, value("a"))
    assert await kept(store) == [("a", 1), ("a", 2), ("a", 3)]
