"""Sessions in the tables of a sqlite store, and what a store does with them, one thing after the other.

That a session was used is not written down each time: when it ends is kept in memory, and in the file stands when it
ended at the latest writing (``expires_at``) and until when it may have been renewed since without another
(``expires_by``). After a crash the later of them counts, so a session may live a little longer than it would have, and
never ends early.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from bridge.stores.base import (
    Change,
    Decide,
    Due,
    Log,
    Quota,
    QuotaExceeded,
    SessionGone,
    Snapshot,
    StoredSession,
)
from bridge.stores.sqlite.records import Held, Records

__all__ = ["Tables"]

_encode = msgspec.msgpack.Encoder().encode
_decode_metadata = msgspec.msgpack.Decoder(dict[str, str]).decode

_SESSION = """SELECT session_id, owner, metadata, created_at, ttl, id, expires_at, expires_by, floor, revision, bytes,
    names, live FROM session"""
_FIND = f"{_SESSION} WHERE session_id = ?"
_LIST = f"{_SESSION} WHERE owner = ? ORDER BY created_at DESC, id DESC"
_CREATE = """INSERT INTO session (session_id, owner, metadata, created_at, ttl, expires_at, expires_by)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
_RENEW = "UPDATE session SET expires_at = ?, expires_by = ? WHERE id = ?"
_COUNT = "UPDATE session SET revision = ?, bytes = ?, names = ?, live = ? WHERE id = ?"
_ENDED = "SELECT session_id FROM session WHERE expires_at <= ? ORDER BY expires_at LIMIT ?"
_ENDED_VARIABLES = """SELECT session.session_id, variable.name FROM variable
    JOIN session ON session.id = variable.session WHERE variable.expires_at <= ? ORDER BY variable.expires_at LIMIT ?"""
_TRIM = """UPDATE session SET names = live,
    floor = max(floor, (SELECT coalesce(max(version), 0) FROM variable WHERE session = session.id AND gone))
    WHERE id = ?"""
_MEASURE = """UPDATE session SET
    bytes = (SELECT coalesce(sum(bytes), 0) FROM variable WHERE session = session.id) WHERE id = ?"""


class _Session(msgspec.Struct):
    """A row of the table, with its end as it is."""

    session: StoredSession
    key: int
    expires_at: float
    expires_by: float
    floor: int
    revision: int
    bytes: int
    names: int
    live: int

    def snapshot(self, held: Mapping[str, Held]) -> Snapshot:
        variables = {name: one.newest for name, one in held.items()}
        return Snapshot(self.session, self.expires_at, self.live, self.floor, variables)


class Tables:
    """What ``Store`` promises, for one caller at a time. Belongs to the thread of its connection.

    What writes must run in a transaction. If it raises, nothing of it is left in that.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._execute = connection.execute
        self._records = Records(connection)
        self._ends: dict[str, float] = {}
        """When sessions end that were used since they were written down."""

    def create_session(self, session: StoredSession, expires_at: float, max_sessions: int) -> bool:
        if self._execute(_FIND, (session.session_id,)).fetchone() is not None:
            return False
        (count,) = self._execute("SELECT count(*) FROM session").fetchone()
        if count >= max_sessions:
            raise QuotaExceeded("max_sessions", max_sessions)
        metadata = _encode(session.metadata) if session.metadata else None
        times = (session.created_at, session.ttl, expires_at, expires_at + _slack(session))
        self._execute(_CREATE, (session.session_id, session.owner, metadata, *times))
        return True

    def read(self, session_id: str, names: Collection[str] | None, now: float) -> Snapshot | None:
        found = self._live(session_id, now)
        if found is None:
            return None
        self._use(found, now)
        return found.snapshot(self._records.newest(found.key, names))

    def transact(
        self, session_id: str, names: Collection[str], decide: Decide, quota: Quota, now: float, renew: bool
    ) -> Sequence[Change]:
        found = self._live(session_id, now)
        if found is None:
            raise SessionGone
        if renew:
            self._use(found, now)
        held = self._records.newest(found.key, names)
        changes = decide(found.snapshot(held))
        if not changes:
            return changes
        self._execute("SAVEPOINT change")
        try:
            self._commit(found, held, changes, quota)
        except BaseException:
            if self.connection.in_transaction:  # a full disk may have ended it already
                self._execute("ROLLBACK TO change")
            raise
        self._execute("RELEASE change")
        return changes

    def _commit(self, found: _Session, held: Mapping[str, Held], changes: Sequence[Change], quota: Quota) -> None:
        revision, size, names, live = found.revision, found.bytes, found.names, found.live
        for change in changes:
            before = held.get(change.name)
            after = self._records.add(found.key, before, change, revision, quota)
            revision += len(change.records)
            size += after.bytes
            live += not after.newest.is_gone
            if before is None:
                names += 1
            else:
                size -= before.bytes
                live -= not before.newest.is_gone
        if names > max(quota.max_variables, found.names):
            raise QuotaExceeded("max_variables", quota.max_variables)
        if size > max(quota.max_bytes, found.bytes):
            raise QuotaExceeded("max_session_bytes", quota.max_bytes)
        self._execute(_COUNT, (revision, size, names, live, found.key))

    def read_log(self, session_id: str, after: Mapping[str, int], now: float, limit: int, max_bytes: int) -> Log | None:
        found = self._live(session_id, now)
        if found is None:
            return None
        records, newest = self._records.later(found.key, after, limit, max_bytes)
        return Log(records, newest, found.floor)

    def delete_session(self, session_id: str, expired_by: float | None) -> bool:
        found = self._find(session_id)
        if found is None or (expired_by is not None and found.expires_at > expired_by):
            return False
        self._execute("DELETE FROM session WHERE id = ?", (found.key,))
        self._ends.pop(session_id, None)
        return True

    def list_sessions(self, owner: str, now: float, limit: int) -> list[Snapshot]:
        listed: list[Snapshot] = []
        rows = self._execute(_LIST, (owner,))
        for row in rows:
            if len(listed) >= limit:
                break
            found = self._session(row)
            if found.expires_at > now:
                listed.append(found.snapshot({}))
        rows.close()
        return listed

    def due(self, now: float, limit: int) -> list[Due]:
        """Writes down when those end that would have been over but for their use, so that it does not meet them
        again."""
        ended: dict[str, list[str]] = {}
        rows = self._execute(_ENDED, (now, limit)).fetchall()
        for (session_id,) in rows:
            if self._ends.get(session_id, now) > now:
                self._write_down(session_id)
            else:
                ended[session_id] = []
        whole = set(ended)
        for session_id, name in self._execute(_ENDED_VARIABLES, (now, max(limit - len(rows), 1))):
            if session_id not in whole:
                ended.setdefault(session_id, []).append(name)
        return [Due(session_id, names) for session_id, names in ended.items()]

    def trim(self, session_id: str) -> None:
        found = self._find(session_id)
        if found is not None:
            self._execute(_TRIM, (found.key,))
            self._records.trim(found.key)
            self._execute(_MEASURE, (found.key,))

    def finish(self) -> None:
        """Writes down when sessions end, and that this is known."""
        for session_id in self._ends:
            self._write_down(session_id)
        self._execute("UPDATE state SET closed = 1")

    def _find(self, session_id: str) -> _Session | None:
        row = self._execute(_FIND, (session_id,)).fetchone()
        return None if row is None else self._session(row)

    def _session(self, row: tuple[Any, ...]) -> _Session:
        session_id, owner, metadata, created_at, ttl, key, expires_at, *rest = row
        session = StoredSession(
            session_id=session_id,
            owner=owner,
            metadata={} if metadata is None else _decode_metadata(metadata),
            created_at=created_at,
            ttl=ttl,
        )
        return _Session(session, key, max(expires_at, self._ends.get(session_id, expires_at)), *rest)

    def _live(self, session_id: str, now: float) -> _Session | None:
        found = self._find(session_id)
        return None if found is None or found.expires_at <= now else found

    def _use(self, found: _Session, now: float) -> None:
        """Renews a session, and writes that down if it must not be lost."""
        expires_at = now + found.session.ttl
        if expires_at > found.expires_at:
            found.expires_at = self._ends[found.session.session_id] = expires_at
        if found.expires_at > found.expires_by:
            self._renew(found)

    def _write_down(self, session_id: str) -> None:
        found = self._find(session_id)
        if found is not None:
            self._renew(found)

    def _renew(self, found: _Session) -> None:
        self._execute(_RENEW, (found.expires_at, found.expires_at + _slack(found.session), found.key))


def _slack(session: StoredSession) -> float:
    """Seconds by which a session may be renewed without writing."""
    return min(session.ttl / 16, 60.0)
