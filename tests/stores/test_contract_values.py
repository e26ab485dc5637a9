"""What every store promises of what it keeps: it comes back exactly as it was given."""

from __future__ import annotations

import sys

import pytest

from bridge.stores.base import Change, Quota, Store, StoredSession, StoredVariable
from bridge.variables import MAX_NAME_LENGTH, Constraints, UpdateKind
from tests.support.records import NOW, ROOMY, commit, create, newest, read_log, value

TEXTS = ("", "plain", "é — 漢字 🙂", "a'b\"c;--", "\x00\x1f\n\r\t", "{}[]:*?\\", "x" * 8_000)
TIMES = (0.1 + 0.2, 1_700_000_000.123456, 1e-300, 4e15 + 0.5, sys.float_info.max)


async def round_trip(store: Store, record: StoredVariable) -> None:
    """Commits a record and compares what every way of reading gives."""
    await create(store)
    ((given,),) = [change.records for change in await commit(store, record)]
    snapshot = await store.read("s", None, NOW)
    assert snapshot is not None
    (logged,) = (await read_log(store, {given.name: 0})).records
    for read in (snapshot.variables[given.name], logged):
        assert read == given
        # 1 == 1.0 == True, and they are not the same bound.
        assert repr(read.constraints) == repr(given.constraints)
        assert (dict(read.metadata), read.kind.name) == (dict(given.metadata), given.kind.name)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 65_536, 1024 * 1024])
async def test_payload_is_exact(store: Store, size: int) -> None:
    await round_trip(store, value("a", bytes(range(256)) * (size // 256) + bytes(range(size % 256)), size=size))


async def test_large_values_are_exact_whether_or_not_an_earlier_one_was_equal(store: Store) -> None:
    """Equal ones may be kept once; so one that goes must not take those with it that stay."""
    one, other = bytes(100_000), bytes(99_999) + b"x"
    written = [one, other, one, one, other, one]
    await create(store)
    for payload in written:
        await commit(store, value("a", payload), value("b", payload))
    assert [record.payload for record in (await read_log(store, {"a": 0})).records] == written
    await commit(store, value("a", one), quota=Quota(10, 10_000, 1, 10_000))
    assert [record.payload for record in (await read_log(store, {"a": 0})).records] == [one, one]
    await store.trim("s")
    await commit(store, value("a", other))
    assert [record.payload for record in (await read_log(store, {"a": 0})).records] == [one, other]
    snapshot = await store.read("s", ["a", "b"], NOW)
    assert snapshot is not None
    assert [snapshot.variables[name].payload for name in "ab"] == [other, one]


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(),
        Constraints(min=1, max=1.0),
        Constraints(min=1.0, max=1),
        Constraints(min=-(2**63), max=2**63 - 1),
        Constraints(min=-0.0, max=0.1 + 0.2),
        Constraints(min=float("-inf"), max=float("inf")),
        Constraints(min=0, max=0, min_length=0, max_length=0, dimensions=0),
        Constraints(min_length=1, max_length=2**40),
        Constraints(pattern="(?i)^[\"'é\\\\]+$"),
        Constraints(choices=("", "a", "A", "é", "a")),
        Constraints(dimensions=1536),
        Constraints(shape=()),
        Constraints(shape=(-1, 0, 3, 2**40)),
    ],
    ids=repr,
)
async def test_constraints_are_exact(store: Store, constraints: Constraints) -> None:
    await round_trip(store, value("a", constraints=constraints))


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_texts_are_exact(store: Store, text: str) -> None:
    await round_trip(store, value("a", metadata={text: text, "other": ""}, changed_by=f"tool:{text}"))


@pytest.mark.parametrize("moment", TIMES)
async def test_times_are_exact(store: Store, moment: float) -> None:
    await round_trip(store, value("a", updated_at=moment, expires_at=moment))


@pytest.mark.parametrize("kind", [UpdateKind.CHANGED, UpdateKind.REGISTERED, UpdateKind.DELETED, UpdateKind.EXPIRED])
async def test_kinds_are_exact(store: Store, kind: UpdateKind) -> None:
    await round_trip(store, value("a", kind=kind))


async def test_names_are_kept_apart(store: Store) -> None:
    names = ["a", "A", "a:b", "a/b", "a.b", "a-b", "a_b", "a:", ":a", "0", "00", "x" * MAX_NAME_LENGTH]
    await create(store)
    await commit(store, *(value(name, name.encode()) for name in names))
    snapshot = await store.read("s", names, NOW)
    assert snapshot is not None
    assert {name: one.payload.decode() for name, one in snapshot.variables.items()} == {name: name for name in names}
    assert await newest(store) == dict.fromkeys(names, 1)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_sessions_are_exact(store: Store, text: str) -> None:
    made = StoredSession(
        session_id="0123456789abcdef" * 2,
        owner=text,
        metadata={text: text, "other": ""},
        created_at=NOW + 0.1 + 0.2,
        ttl=0.1 + 0.7,
    )
    ends = NOW + 77.7
    assert await store.create_session(made, ends, max_sessions=10)
    (listed,) = await store.list_sessions(text, NOW, 10)
    read = await store.read(made.session_id, None, NOW)
    for snapshot in (listed, read):
        assert snapshot is not None
        assert (snapshot.session, snapshot.expires_at) == (made, ends)
        assert dict(snapshot.session.metadata) == made.metadata


async def test_large_versions_are_exact(store: Store) -> None:
    await create(store)
    big = 2**53 - 2  # more changes than anybody lives to see, and the most that a store may count with floats

    async def write(expected: int, version: int) -> None:
        record = StoredVariable(name="a", type="bytes", payload=b"", version=version, size=1)
        await store.transact("s", ["a"], lambda _: [Change("a", expected, (record,))], ROOMY, NOW)

    await write(0, big)
    await write(big, big + 1)
    log = await read_log(store, {"a": big})
    assert [one.version for one in log.records] == [big + 1]
    assert log.newest == {"a": big + 1}
