"""Sessions and variables in dicts of this process: gone when it ends."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import chain, islice

import msgspec

from bridge.stores.base import (
    Change,
    Decide,
    Due,
    Log,
    Quota,
    QuotaExceeded,
    SessionGone,
    Signal,
    Snapshot,
    StoredSession,
    StoredVariable,
    Wake,
)
from bridge.stores.listeners import Listeners

__all__ = ["MemoryStore"]

_SHARED = 1024
"""Bytes of a payload from which it is worth looking whether an earlier record holds the same."""


class _Variable(msgspec.Struct, gc=False):
    """The records of a variable."""

    newest: StoredVariable
    commit: int
    """Number of the commit of the newest."""
    past: list[tuple[int, StoredVariable]] = msgspec.field(default_factory=list)
    """Records before the newest, each with the number of its commit."""
    past_bytes: int = 0

    @property
    def size(self) -> int:
        return self.newest.size + self.past_bytes


class _Session(msgspec.Struct):
    session: StoredSession
    expires_at: float
    due: float
    """When to look at it again: not later than anything in it expires."""
    variables: dict[str, _Variable] = msgspec.field(default_factory=dict)
    size: int = 0
    count: int = 0
    """Variables that are not gone."""
    commits: int = 0
    floor: int = 0


class MemoryStore:
    """A store in memory. No method suspends, so on one event loop every one of them is atomic.

    Args:
        max_bytes: what all sessions may hold together, bytes.
    """

    def __init__(self, *, max_bytes: int = 1024 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._sessions: dict[str, _Session] = {}
        self._listeners = Listeners()
        # (due, session id). Entries are not removed when a session changes or goes: one that no longer fits its
        # session is skipped when it comes up.
        self._due: list[tuple[float, str]] = []

    async def open(self) -> None:
        """Nothing to make."""

    async def create_session(self, session: StoredSession, expires_at: float, *, max_sessions: int) -> bool:
        """Keeps a session; says whether it did. Raises ``QuotaExceeded``."""
        if session.session_id in self._sessions:
            return False
        if len(self._sessions) >= max_sessions:
            raise QuotaExceeded("max_sessions", max_sessions)
        held = self._sessions[session.session_id] = _Session(session, expires_at, due=expires_at)
        self._schedule(held, expires_at)
        return True

    async def read(self, session_id: str, names: Collection[str] | None, now: float) -> Snapshot | None:
        """Reads a session and the named variables (``None``: all), and renews it."""
        held = self._renewed(session_id, now)
        return None if held is None else _snapshot(held, names)

    async def transact(
        self, session_id: str, names: Collection[str], decide: Decide, quota: Quota, now: float, *, renew: bool = True
    ) -> Sequence[Change]:
        """Decides and commits. Raises ``SessionGone``, ``QuotaExceeded`` or what ``decide`` raises."""
        held = self._renewed(session_id, now) if renew else self._live(session_id, now)
        if held is None:
            raise SessionGone
        changes = decide(_snapshot(held, names))
        if changes:
            self._commit(held, changes, quota)
            self._listeners.tell(session_id, Signal.CHANGED)
        return changes

    def _commit(self, held: _Session, changes: Sequence[Change], quota: Quota) -> None:
        variables = held.variables
        more_bytes = more_names = more_variables = 0
        steps: list[tuple[_Variable | None, Sequence[StoredVariable], int, int]] = []
        for change in changes:
            records = change.records
            before = variables.get(change.name)
            dropped, past_bytes = _trimmed(before, records, quota)
            steps.append((before, records, dropped, past_bytes))
            more_bytes += records[-1].size + past_bytes
            more_variables += not records[-1].is_gone
            if before is None:
                more_names += 1
            else:
                more_bytes -= before.newest.size + before.past_bytes
                more_variables -= not before.newest.is_gone
        self._check(held, more_names, more_bytes, quota)
        held.commits += 1
        held.count += more_variables
        held.size += more_bytes
        self._size += more_bytes
        for before, added, dropped, past_bytes in steps:
            newest = added[-1]
            variables[newest.name] = _appended(before, added, held.commits, dropped, past_bytes)
            if newest.expires_at is not None and newest.expires_at < held.due:
                self._schedule(held, newest.expires_at)

    def _check(self, held: _Session, more_names: int, more_bytes: int, quota: Quota) -> None:
        if more_names and len(held.variables) + more_names > quota.max_variables:
            raise QuotaExceeded("max_variables", quota.max_variables)
        if more_bytes > 0 and held.size + more_bytes > quota.max_bytes:
            raise QuotaExceeded("max_session_bytes", quota.max_bytes)
        if more_bytes > 0 and self._size + more_bytes > self._max_bytes:
            raise QuotaExceeded("max_store_bytes", self._max_bytes)

    async def read_log(
        self, session_id: str, after: Mapping[str, int], now: float, *, limit: int, max_bytes: int
    ) -> Log | None:
        """Reads records with versions above those given."""
        held = self._live(session_id, now)
        if held is None:
            return None
        asked = [(variable, after[name]) for name in after if (variable := held.variables.get(name)) is not None]
        # What was not seen of a variable are its last records, however many are kept.
        unseen = [
            islice(_numbered(variable), _seen(variable, version), None)
            for variable, version in asked
            if variable.newest.version > version
        ]
        records: list[StoredVariable] = []
        size = 0
        for _, record in heapq.merge(*unseen, key=_commit_number):
            size += len(record.payload)
            if records and (len(records) >= limit or size > max_bytes):
                break
            records.append(record)
        newest = {variable.newest.name: variable.newest.version for variable, _ in asked}
        return Log(records, newest, held.floor)

    async def delete_session(self, session_id: str, *, expired_by: float | None = None) -> bool:
        """Removes a session and its variables; says whether it did."""
        held = self._sessions.get(session_id)
        if held is None or (expired_by is not None and held.expires_at > expired_by):
            return False
        del self._sessions[session_id]
        self._size -= held.size
        self._listeners.tell(session_id, Signal.CLOSED if expired_by is None else Signal.EXPIRED)
        return True

    async def list_sessions(self, owner: str, now: float, limit: int) -> list[Snapshot]:
        """The newest sessions of an owner, newest first."""
        own = (held for held in self._sessions.values() if held.session.owner == owner and held.expires_at > now)
        newest = heapq.nlargest(limit, own, key=lambda held: held.session.created_at)
        return [_snapshot(held, ()) for held in newest]

    async def due(self, now: float, limit: int) -> list[Due]:
        """Sessions whose time is over, or the time of variables in them."""
        found: list[Due] = []
        looked_at: dict[str, _Session] = {}
        seen = 0
        while self._due and self._due[0][0] <= now and seen < limit:
            due, session_id = heapq.heappop(self._due)
            held = self._sessions.get(session_id)
            if held is None or held.due != due or session_id in looked_at:
                continue  # a leftover, which is gone for good with this look
            seen += 1
            looked_at[session_id] = held
            if held.expires_at <= now:
                found.append(Due(session_id, ()))
                continue
            seen += len(held.variables)
            if over := [name for name, variable in held.variables.items() if _end(variable) <= now]:
                found.append(Due(session_id, over))
        for held in looked_at.values():
            self._schedule(held, min(held.expires_at, *map(_end, held.variables.values()), math.inf))
        return found

    def _schedule(self, held: _Session, due: float) -> None:
        held.due = due
        if len(self._due) > 2 * len(self._sessions) + 64:
            # Mostly leftovers; what is due is written down in the sessions.
            self._due = [(each.due, session_id) for session_id, each in self._sessions.items()]
            heapq.heapify(self._due)
        else:
            heapq.heappush(self._due, (due, held.session.session_id))

    async def trim(self, session_id: str) -> None:
        """Drops history and variables that are gone."""
        held = self._sessions.get(session_id)
        if held is None:
            return
        kept: dict[str, _Variable] = {}
        for name, variable in held.variables.items():
            if variable.newest.is_gone:
                held.floor = max(held.floor, variable.newest.version)
            else:
                kept[name] = _Variable(variable.newest, variable.commit)
        held.variables = kept
        size = sum(variable.size for variable in kept.values())
        self._size += size - held.size
        held.size = size

    def subscribe(self, session_id: str, wake: Wake) -> AbstractAsyncContextManager[None]:
        """Tells a listener of everything committed in a session."""
        return self._listeners.subscribe(session_id, wake)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _live(self, session_id: str, now: float) -> _Session | None:
        held = self._sessions.get(session_id)
        return held if held is not None and held.expires_at > now else None

    def _renewed(self, session_id: str, now: float) -> _Session | None:
        held = self._sessions.get(session_id)
        if held is None or held.expires_at <= now:
            return None
        expires_at = now + held.session.ttl
        if expires_at > held.expires_at:
            held.expires_at = expires_at
        return held


def _snapshot(held: _Session, names: Collection[str] | None) -> Snapshot:
    variables = held.variables
    if names is None:
        found = {name: variable.newest for name, variable in variables.items()}
    else:
        found = {name: variables[name].newest for name in names if name in variables}
    return Snapshot(held.session, held.expires_at, held.count, held.floor, found)


def _trimmed(before: _Variable | None, records: Sequence[StoredVariable], quota: Quota) -> tuple[int, int]:
    """How many of the earliest records of a variable must go when these are added, and the bytes of its history then.

    ``records`` but the last go into the history, too.
    """
    entries, past_bytes = len(records) - 1, 0
    if entries:
        past_bytes = sum(record.size for record in records[:-1])
    if before is not None:
        entries += len(before.past) + 1
        past_bytes += before.past_bytes + before.newest.size
    dropped = 0
    past: Sequence[tuple[int, StoredVariable]] = () if before is None else before.past
    while entries > quota.history_entries or past_bytes > quota.history_bytes:
        if dropped < len(past):
            record = past[dropped][1]
        else:  # nothing of before is left
            record = (*(() if before is None else (before.newest,)), *records)[dropped - len(past)]
        entries -= 1
        past_bytes -= record.size
        dropped += 1
    return dropped, past_bytes


def _appended(
    before: _Variable | None, records: Sequence[StoredVariable], commit: int, dropped: int, past_bytes: int
) -> _Variable:
    """A variable with these records and without the earliest ones."""
    if before is None:
        variable = _Variable(records[-1], commit)
    else:
        variable = before
        variable.past.append((variable.commit, variable.newest))
        variable.newest, variable.commit = _sharing(records[-1], before), commit
    variable.past.extend((commit, record) for record in records[:-1])
    if dropped:
        del variable.past[:dropped]
    variable.past_bytes = past_bytes
    return variable


def _sharing(record: StoredVariable, before: _Variable) -> StoredVariable:
    """The record, with the bytes of an earlier one if they are equal and large."""
    payload = record.payload
    if len(payload) >= _SHARED:
        for _, earlier in before.past:
            if earlier.payload == payload:
                return msgspec.structs.replace(record, payload=earlier.payload)
    return record


def _numbered(variable: _Variable) -> chain[tuple[int, StoredVariable]]:
    return chain(variable.past, ((variable.commit, variable.newest),))


def _seen(variable: _Variable, version: int) -> int:
    """How many of the records that are kept have a version up to this one."""
    kept = len(variable.past) + 1
    return kept - min(kept, max(0, variable.newest.version - version))


def _commit_number(numbered: tuple[int, StoredVariable]) -> int:
    return numbered[0]


def _end(variable: _Variable) -> float:
    """When its own time is over."""
    newest = variable.newest
    return math.inf if newest.expires_at is None or newest.is_gone else newest.expires_at
