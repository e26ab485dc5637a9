"""What every store promises of the log: every record in the order of the commits, and a gap that can be seen."""

from __future__ import annotations

import pytest

from bridge.stores.base import Quota, QuotaExceeded, Store
from tests.support.records import NOW, TTL, commit, create, gone, newest, read_log, value, versions


@pytest.fixture(autouse=True)
async def opened(store: Store) -> None:
    """A session to begin with."""
    await create(store)


async def test_log_has_the_records_of_all_names_as_they_were_committed(store: Store) -> None:
    for name in "abacbba":
        await commit(store, value(name))
    log = await read_log(store, {"a": 0, "b": 0, "c": 0})
    order = [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2), ("b", 3), ("a", 3)]
    assert versions(log) == order
    assert log.newest == {"a": 3, "b": 3, "c": 1}
    assert versions(await read_log(store, {"c": 0, "b": 0, "a": 0})) == order


async def test_order_of_commits_is_kept_beyond_nine_and_ninety_nine(store: Store) -> None:
    order = [("a" if number % 2 else "b", number // 2 + 1) for number in range(1, 112)]
    for name, _ in order:
        await commit(store, value(name))
    log = await read_log(store, {"a": 0, "b": 0})
    assert [name for name, _ in versions(log)] == [name for name, _ in order]
    assert [version for name, version in versions(log) if name == "a"] == list(range(1, 57))


async def test_records_of_one_commit_are_not_mixed_with_those_of_others(store: Store) -> None:
    await commit(store, value("a"), value("b"), value("b"))
    await commit(store, value("b"), value("a"))
    log = await read_log(store, {"a": 0, "b": 0})
    assert sorted(versions(log)[:3]) == [("a", 1), ("b", 1), ("b", 2)]
    assert sorted(versions(log)[3:]) == [("a", 2), ("b", 3)]
    assert [version for name, version in versions(log) if name == "b"] == [1, 2, 3]


async def test_log_begins_after_the_versions_given(store: Store) -> None:
    for name in "ababab":
        await commit(store, value(name))
    assert versions(await read_log(store, {"a": 1, "b": 2})) == [("a", 2), ("a", 3), ("b", 3)]
    assert versions(await read_log(store, {"b": 1})) == [("b", 2), ("b", 3)]


async def test_who_has_seen_all_gets_nothing_and_the_newest_versions(store: Store) -> None:
    await commit(store, value("a"))
    for version in (1, 2, 2**62):
        log = await read_log(store, {"a": version, "missing": 0})
        assert (list(log.records), dict(log.newest), log.floor) == ([], {"a": 1}, 0)


async def test_nothing_asked_is_nothing_told(store: Store) -> None:
    await commit(store, value("a"))
    log = await read_log(store, {})
    assert (list(log.records), dict(log.newest)) == ([], {})


async def test_log_gives_the_earliest_up_to_its_limit(store: Store) -> None:
    for name in "abab":
        await commit(store, value(name))
    log = await read_log(store, {"a": 0, "b": 0}, limit=3)
    assert versions(log) == [("a", 1), ("b", 1), ("a", 2)]
    assert log.newest == {"a": 2, "b": 2}
    assert versions(await read_log(store, {"a": 2, "b": 1}, limit=3)) == [("b", 2)]


async def test_log_gives_as_many_bytes_as_wanted(store: Store) -> None:
    for _ in range(4):
        await commit(store, value("a", b"12345", size=1))
    assert len(versions(await read_log(store, {"a": 0}, max_bytes=14))) == 2
    assert len(versions(await read_log(store, {"a": 0}, max_bytes=15))) == 3


async def test_log_gives_one_record_whatever_its_size(store: Store) -> None:
    await commit(store, value("a", bytes(100)))
    await commit(store, value("a"))
    assert versions(await read_log(store, {"a": 0}, max_bytes=10)) == [("a", 1)]
    assert versions(await read_log(store, {"a": 1}, max_bytes=0)) == [("a", 2)]


async def test_small_record_after_a_big_one_does_not_overtake_it(store: Store) -> None:
    await commit(store, value("a", bytes(5)))
    await commit(store, value("b", bytes(100)))
    await commit(store, value("a", bytes(5)))
    assert versions(await read_log(store, {"a": 0, "b": 0}, max_bytes=20)) == [("a", 1)]


async def test_log_read_in_pieces_is_the_whole_log(store: Store) -> None:
    for number in range(40):
        await commit(store, value("abc"[number % 3], bytes(number % 7)), value("d"))
    after = dict.fromkeys("abcd", 0)
    whole = versions(await read_log(store, after))
    pieces: list[tuple[str, int]] = []
    while piece := versions(await read_log(store, after, limit=3, max_bytes=9)):
        for name, version in piece:
            assert version == after[name] + 1
            after[name] = version
        pieces += piece
    assert sorted(pieces) == sorted(whole)
    assert after == (await read_log(store, after)).newest


async def test_gap_is_seen(store: Store) -> None:
    for _ in range(5):
        await commit(store, value("a"), quota=Quota(10, 1_000, 1, 1_000))
    log = await read_log(store, {"a": 1})
    assert versions(log) == [("a", 4), ("a", 5)]
    assert versions(await read_log(store, {"a": 3})) == [("a", 4), ("a", 5)]
    assert versions(await read_log(store, {"a": 4})) == [("a", 5)]


async def test_trim_drops_history_and_what_is_gone(store: Store) -> None:
    await commit(store, value("a", b"1"), value("b"), gone("c"))
    await commit(store, value("a", b"2"), gone("b"))
    await store.trim("s")
    snapshot = await store.read("s", None, NOW)
    assert snapshot is not None
    assert {name: (one.version, one.payload) for name, one in snapshot.variables.items()} == {"a": (2, b"2")}
    assert (snapshot.variable_count, snapshot.floor) == (1, 2)
    log = await read_log(store, {"a": 0, "b": 0, "c": 0})
    assert (versions(log), dict(log.newest), log.floor) == ([("a", 2)], {"a": 2}, 2)


async def test_floor_is_the_highest_version_forgotten_and_never_sinks(store: Store) -> None:
    for _ in range(4):
        await commit(store, value("a"))
    await commit(store, gone("a"), gone("b"))
    await store.trim("s")
    assert (await read_log(store, {})).floor == 5
    (change,) = await commit(store, gone("c"))
    assert (change.expected_version, change.records[-1].version) == (0, 6)
    await store.trim("s")
    assert (await read_log(store, {})).floor == 6
    await store.trim("s")
    assert (await read_log(store, {})).floor == 6


async def test_history_that_is_dropped_does_not_raise_the_floor(store: Store) -> None:
    for _ in range(9):
        await commit(store, value("a"))
    await store.trim("s")
    assert (await read_log(store, {})).floor == 0
    (change,) = await commit(store, value("b"))
    assert change.records[0].version == 1


async def test_trim_makes_room(store: Store) -> None:
    quota = Quota(3, 30, 10, 1_000)
    await commit(store, value("a"), value("b"), gone("c", size=0), quota=quota)
    await commit(store, value("a", size=9), quota=quota)
    for blocked in (value("b"), value("d", size=0)):
        with pytest.raises(QuotaExceeded):
            await commit(store, blocked, quota=quota)
    await store.trim("s")
    await commit(store, value("d", size=11), quota=quota)
    assert await newest(store) == {"a": 2, "b": 1, "d": 2}
    with pytest.raises(QuotaExceeded):
        await commit(store, value("b", size=2), quota=quota)


async def test_order_of_commits_goes_on_after_trim(store: Store) -> None:
    for name in "aabba":
        await commit(store, value(name))
    await store.trim("s")
    for name in "ab":
        await commit(store, value(name))
    assert versions(await read_log(store, {"a": 0, "b": 0})) == [("b", 2), ("a", 3), ("a", 4), ("b", 3)]


async def test_trim_touches_no_other_session(store: Store) -> None:
    await create(store, "t")
    for session_id in ("s", "t"):
        await commit(store, value("a"), gone("b"), session_id=session_id)
        await commit(store, value("a"), session_id=session_id)
    await store.trim("s")
    assert await newest(store, "t") == {"a": 2, "b": 1}
    log = await read_log(store, {"a": 0, "b": 0}, session_id="t")
    assert (sorted(versions(log)), log.floor) == ([("a", 1), ("a", 2), ("b", 1)], 0)


async def test_what_is_left_after_trim_is_due_in_its_time(store: Store) -> None:
    await commit(store, value("a", expires_at=NOW + 5), value("b", expires_at=NOW + 5))
    await commit(store, gone("b"))
    await store.trim("s")
    assert [(due.session_id, list(due.names)) for due in await store.due(NOW + 5, 10)] == [("s", ["a"])]


async def test_log_of_a_session_that_is_over_is_none(store: Store) -> None:
    await commit(store, value("a"))
    assert await store.read_log("s", {"a": 0}, NOW + TTL, limit=10, max_bytes=100) is None
