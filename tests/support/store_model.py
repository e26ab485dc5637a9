"""What a session in a store should be: a plain list of records, bounded by a plain rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from bridge.stores.base import Change, Log, Quota, Snapshot, StoredSession, StoredVariable
from bridge.variables import UpdateKind
from tests.support.records import changes_of, gone

__all__ = ["Drafts", "Kept", "check_log", "planned"]

Drafts = dict[str, StoredVariable]
"""By name, the record to be written; its ``expires_at`` is in seconds from now."""


class Kept:
    """A session as it should be: every record that is kept, with the number of its commit, in order."""

    def __init__(self, made: StoredSession, expires_at: float) -> None:
        self.session = made
        self.expires_at = expires_at
        self.floor = 0
        self.commits = 0
        self.records: list[tuple[int, StoredVariable]] = []

    @property
    def newest(self) -> dict[str, StoredVariable]:
        """The newest record of each name, also of what is gone."""
        return {record.name: record for _, record in self.records}

    @property
    def size(self) -> int:
        """Bytes of all records."""
        return sum(record.size for _, record in self.records)

    def snapshot(self, names: Iterable[str]) -> Snapshot:
        """What reading these names gives."""
        newest = self.newest
        count = sum(not record.is_gone for record in newest.values())
        found = {name: newest[name] for name in names if name in newest}
        return Snapshot(self.session, self.expires_at, count, self.floor, found)

    def renew(self, now: float) -> None:
        """Lets it live on from now."""
        self.expires_at = max(self.expires_at, now + self.session.ttl)

    def commit(self, changes: list[Change], quota: Quota) -> set[str]:
        """Commits, or says over which limits that would go."""
        records = [*self.records, *((self.commits, record) for change in changes for record in change.records)]
        for change in changes:
            records = bounded(records, change.name, quota)
        names, names_before = {record.name for _, record in records}, self.newest.keys()
        size = sum(record.size for _, record in records)
        exceeded = set()
        if len(names) > max(len(names_before), quota.max_variables):
            exceeded.add("max_variables")
        if size > max(self.size, quota.max_bytes):
            exceeded.add("max_session_bytes")
        if not exceeded:
            self.records = records
            self.commits += 1
        return exceeded

    def trim(self) -> None:
        """Forgets history and what is gone."""
        newest = self.newest
        forgotten = [record.version for record in newest.values() if record.is_gone]
        self.floor = max([self.floor, *forgotten])
        self.records = [one for one in self.records if one[1] is newest[one[1].name] and not one[1].is_gone]

    @property
    def ends(self) -> list[float]:
        """When something in it ends, or the whole."""
        return [self.expires_at, *self.timed().values()]

    def timed(self) -> dict[str, float]:
        """When variables end by themselves."""
        there = [record for record in self.newest.values() if not record.is_gone]
        return {record.name: record.expires_at for record in there if record.expires_at is not None}

    def due(self, now: float) -> set[str]:
        """The variables whose time is over."""
        return {name for name, end in self.timed().items() if end <= now}


def bounded(records: list[tuple[int, StoredVariable]], name: str, quota: Quota) -> list[tuple[int, StoredVariable]]:
    """The records without what the history of a variable may not have."""
    own = [record for _, record in records if record.name == name]
    past = own[:-1]
    while len(past) > quota.history_entries or sum(record.size for record in past) > quota.history_bytes:
        past.pop(0)
    first = (past or own[-1:])[0].version
    return [(number, record) for number, record in records if record.name != name or record.version >= first]


def planned(snapshot: Snapshot, wanted: Drafts, now: float) -> list[Change]:
    """What a host would commit of the drafts: what is over ends first, and what is not there is not deleted."""
    records: list[StoredVariable] = []
    for name, draft in wanted.items():
        current = snapshot.variables.get(name)
        there = current is not None and not current.is_gone
        is_over = there and current is not None and current.expires_at is not None and current.expires_at <= now
        if is_over:
            records.append(gone(name, UpdateKind.EXPIRED, size=4))
        if not draft.is_gone or (there and not is_over):
            ends = None if draft.expires_at is None else now + draft.expires_at
            records.append(msgspec.structs.replace(draft, name=name, expires_at=ends, updated_at=now))
    return changes_of(snapshot, records)


def check_log(log: Log, kept: Kept, after: Mapping[str, int], limit: int, max_bytes: int) -> None:
    """Checks that it is the beginning of what is to be told, and as much of it as may be.

    The records of one commit come in any order, but those of one name always in theirs.
    """
    numbers = {(record.name, record.version): number for number, record in kept.records}
    records = [record for _, record in kept.records if record.name in after and record.version > after[record.name]]
    told = list(log.records)
    assert dict(log.newest) == {name: record.version for name, record in kept.newest.items() if name in after}
    assert log.floor == kept.floor
    order = [numbers[record.name, record.version] for record in told]
    assert order == sorted(order)
    for name in after:
        own = [record for record in told if record.name == name]
        assert own == [record for record in records if record.name == name][: len(own)]
    rest = [record for record in records if record not in told]
    size = sum(len(record.payload) for record in told)
    assert not told or len(told) == 1 or (len(told) <= limit and size <= max_bytes)
    if rest:
        assert told
        earliest = min(numbers[record.name, record.version] for record in rest)
        assert order[-1] <= earliest
        next_ones = [record for record in rest if numbers[record.name, record.version] == earliest]
        assert len(told) >= limit or any(size + len(record.payload) > max_bytes for record in next_ones)
