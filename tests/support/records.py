"""Small builders of what stores keep, and short ways to ask a store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from bridge.stores.base import Change, Decide, Log, Quota, Signal, Snapshot, Store, StoredSession, StoredVariable
from bridge.variables import UpdateKind

__all__ = [
    "NOW",
    "ROOMY",
    "TTL",
    "Listener",
    "changes_of",
    "commit",
    "committing",
    "create",
    "expiring",
    "gone",
    "newest",
    "read_log",
    "session",
    "sweep",
    "value",
    "versions",
]

NOW = 1_000.0
"""When tests begin, seconds since the epoch: long ago for a store that would look at a clock."""
TTL = 100.0
"""Seconds the sessions of tests live."""
ROOMY = Quota(max_variables=1_000, max_bytes=2**40, history_entries=1_000, history_bytes=2**40)
"""Limits that nothing reaches."""


def session(session_id: str = "s", **fields: Any) -> StoredSession:
    """A session that was opened just now by nobody."""
    defaults = {"owner": "", "metadata": {}, "created_at": NOW, "ttl": TTL}
    return StoredSession(session_id=session_id, **{**defaults, **fields})


async def create(store: Store, session_id: str = "s", **fields: Any) -> StoredSession:
    """Keeps a session that ends when its time to live is over."""
    made = session(session_id, **fields)
    assert await store.create_session(made, made.created_at + made.ttl, max_sessions=1_000_000)
    return made


def value(name: str, payload: bytes = b"", *, size: int = 10, **fields: Any) -> StoredVariable:
    """A record of a value. Its version is given when it is committed."""
    return StoredVariable(name=name, type="bytes", payload=payload, version=0, size=size, **fields)


def gone(name: str, kind: UpdateKind = UpdateKind.DELETED, *, size: int = 1) -> StoredVariable:
    """A record that says that a variable is gone."""
    return StoredVariable(name=name, type="bytes", payload=b"", version=0, kind=kind, size=size)


def changes_of(snapshot: Snapshot, records: Sequence[StoredVariable]) -> list[Change]:
    """The records as the next versions of what is there, those of one name as one change."""
    by_name: dict[str, list[StoredVariable]] = {}
    for record in records:
        by_name.setdefault(record.name, []).append(record)
    changes: list[Change] = []
    for name, own in by_name.items():
        current = snapshot.variables.get(name)
        before = snapshot.floor if current is None else current.version
        numbered = [msgspec.structs.replace(one, version=before + place) for place, one in enumerate(own, 1)]
        changes.append(Change(name, 0 if current is None else before, tuple(numbered)))
    return changes


def committing(*records: StoredVariable) -> Decide:
    """Decides to commit these records, whatever is there."""
    return lambda snapshot: changes_of(snapshot, records)


def expiring(now: float) -> Decide:
    """Decides that what was read and is over is gone."""

    def decide(snapshot: Snapshot) -> list[Change]:
        there = [one for one in snapshot.variables.values() if not one.is_gone and one.expires_at is not None]
        over = [one.name for one in there if one.expires_at is not None and one.expires_at <= now]
        return changes_of(snapshot, [gone(name, UpdateKind.EXPIRED) for name in over])

    return decide


async def commit(
    store: Store, *records: StoredVariable, session_id: str = "s", quota: Quota = ROOMY, now: float = NOW
) -> Sequence[Change]:
    """Commits these records as the next versions of what is there."""
    return await store.transact(session_id, {one.name for one in records}, committing(*records), quota, now)


async def newest(store: Store, session_id: str = "s", now: float = NOW) -> dict[str, int]:
    """The versions of all newest records."""
    snapshot = await store.read(session_id, None, now)
    assert snapshot is not None
    return {name: record.version for name, record in snapshot.variables.items()}


async def read_log(
    store: Store,
    after: Mapping[str, int],
    *,
    session_id: str = "s",
    now: float = NOW,
    limit: int = 1_000,
    max_bytes: int = 2**40,
) -> Log:
    """The log of a session that is there."""
    log = await store.read_log(session_id, after, now, limit=limit, max_bytes=max_bytes)
    assert log is not None
    return log


def versions(log: Log) -> list[tuple[str, int]]:
    """Name and version of each record, in their order."""
    return [(record.name, record.version) for record in log.records]


async def sweep(store: Store, now: float, limit: int = 1_000) -> int:
    """Ends everything whose time is over, as a host does; says how much that was."""
    ended = 0
    while found := await store.due(now, limit):
        for due in found:
            if due.names:
                ended += len(await store.transact(due.session_id, due.names, expiring(now), ROOMY, now, renew=False))
            else:
                ended += await store.delete_session(due.session_id, expired_by=now)
    return ended


class Listener:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self._news = asyncio.Event()

    def __call__(self, signal: Signal) -> None:
        self.signals.append(signal)
        self._news.set()

    async def until(self, condition: Callable[[list[Signal]], bool]) -> None:
        """Waits until what it was told satisfies the condition."""
        async with asyncio.timeout(5):
            while not condition(self.signals):
                self._news.clear()
                await self._news.wait()

    async def told(self, signal: Signal) -> None:
        """Waits until it was told this, and forgets what it was told so far."""
        await self.until(lambda signals: signal in signals)
        self.signals.clear()
