"""Variables and their records in the tables of a sqlite store."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from bridge.stores.base import Change, Quota, StoredVariable
from bridge.stores.packing import pack_constraints, unpack_constraints
from bridge.variables import UpdateKind

__all__ = ["Held", "Records"]

LARGE_PAYLOAD = 1024
"""Bytes from which a payload is kept once for all records of a session that have the same."""

_encode = msgspec.msgpack.Encoder().encode
_decode_metadata = msgspec.msgpack.Decoder(dict[str, str]).decode

_RECORD = """v.name, r.type, coalesce(r.data, p.data), r.version, r.kind, r.constraints, r.metadata, r.changed_by,
    r.updated_at, r.expires_at, r.size"""
_NEWEST = f"""SELECT {_RECORD}, v.id, v.oldest, v.bytes FROM variable AS v
    JOIN record AS r ON r.variable = v.id AND r.version = v.version LEFT JOIN payload AS p ON p.id = r.payload
    WHERE v.session = ?"""  # noqa: S608 - of constants only
# A statement for every number of names would not stay prepared, so the last name fills up what is left.
_NEWEST_OF = {
    count: f"{_NEWEST} AND v.name IN ({', '.join('?' * count)})" for count in (2**power for power in range(10))
}
_VERSIONS_OF = {
    count: f"SELECT name, version, id FROM variable WHERE session = ? AND name IN ({', '.join('?' * count)})"  # noqa: S608
    for count in _NEWEST_OF
}
# CROSS: what is asked for is gone through, not what is kept.
_LATER = """FROM json_each(?) AS asked CROSS JOIN record AS r
    ON r.variable = json_extract(asked.value, '$[0]') AND r.version > json_extract(asked.value, '$[1]')"""
_LATER_LENGTHS = f"SELECT r.revision, r.length {_LATER} ORDER BY r.revision LIMIT ?"
_LATER_RECORDS = f"""SELECT {_RECORD} {_LATER} AND r.revision <= ? JOIN variable AS v ON v.id = r.variable
    LEFT JOIN payload AS p ON p.id = r.payload ORDER BY r.revision"""
_INSERT_RECORD = """INSERT INTO record (variable, version, revision, size, length, payload, kind, type, constraints,
    metadata, changed_by, updated_at, expires_at, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_UPDATE_VARIABLE = "UPDATE variable SET version = ?, oldest = ?, bytes = ?, gone = ?, expires_at = ? WHERE id = ?"
_TRIM = (
    "DELETE FROM variable WHERE session = ? AND gone",
    """DELETE FROM record WHERE variable IN (SELECT id FROM variable WHERE session = ? AND oldest < version)
    AND version < (SELECT version FROM variable WHERE id = record.variable)""",
    """UPDATE variable SET oldest = version, bytes =
    (SELECT size FROM record WHERE variable = variable.id AND version = variable.version) WHERE session = ?""",
    "DELETE FROM payload WHERE session = ? AND NOT EXISTS (SELECT 1 FROM record WHERE payload = payload.id)",
)


class Held(msgspec.Struct):
    """What is kept of one name."""

    key: int
    newest: StoredVariable
    oldest: int
    """Version of the first record that is kept."""
    bytes: int
    """Of all its records."""


class Records:
    """The records of all sessions. Belongs to the thread of its connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def newest(self, session: int, names: Collection[str] | None) -> dict[str, Held]:
        """What is kept of the named variables, ``None``: of all."""
        if names is None:
            rows = self._execute(_NEWEST, (session,)).fetchall()
        else:
            rows = self._by_names(_NEWEST_OF, session, names)
        return {row[0]: Held(row[11], _variable(row), row[12], row[13]) for row in rows}

    def _by_names(self, statements: Mapping[int, str], session: int, names: Collection[str]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for some in _pieces(tuple(names), max(statements)):
            places = next(count for count in statements if count >= len(some))
            fill = some[-1:] * (places - len(some))
            found += self._execute(statements[places], (session, *some, *fill))
        return found

    def add(self, session: int, before: Held | None, change: Change, revision: int, quota: Quota) -> Held:
        """Adds the records of a change, numbered from after ``revision``, and drops those that the history has no room
        for."""
        newest = change.records[-1]
        if before is None:
            cursor = self._execute("INSERT INTO variable (session, name) VALUES (?, ?)", (session, change.name))
            held = Held(cursor.lastrowid or 0, newest, change.records[0].version, 0)
        else:
            held = Held(before.key, newest, before.oldest, before.bytes)
        for record in change.records:
            revision += 1
            held.bytes += record.size
            self._insert(session, held.key, record, revision)
        over = newest.version - held.oldest > quota.history_entries
        if over or held.bytes - newest.size > quota.history_bytes:
            self._forget(held, quota)
        expires_at = None if newest.is_gone else newest.expires_at
        row = (newest.version, held.oldest, held.bytes, newest.is_gone, expires_at, held.key)
        self._execute(_UPDATE_VARIABLE, row)
        return held

    def _insert(self, session: int, key: int, record: StoredVariable, revision: int) -> None:
        length = len(record.payload)
        large = self._keep(session, record.payload) if length >= LARGE_PAYLOAD else None
        row = (
            key,
            record.version,
            revision,
            record.size,
            length,
            large,
            int(record.kind),
            record.type,
            pack_constraints(record.constraints),
            _encode(record.metadata) if record.metadata else None,
            record.changed_by,
            record.updated_at,
            record.expires_at,
            record.payload if large is None else None,
        )
        self._execute(_INSERT_RECORD, row)

    def _keep(self, session: int, payload: bytes) -> int:
        digest = hashlib.sha256(payload).digest()
        found = self._execute("SELECT id FROM payload WHERE session = ? AND digest = ?", (session, digest)).fetchone()
        if found is not None:
            return int(found[0])
        row = (session, digest, payload)
        return self._execute("INSERT INTO payload (session, digest, data) VALUES (?, ?, ?)", row).lastrowid or 0

    def _forget(self, held: Held, quota: Quota) -> None:
        """Drops the oldest records until the history is as small as it must be."""
        first = held.newest.version - quota.history_entries
        history = held.bytes - held.newest.size
        large: set[int] = set()
        rows = self._execute(
            "SELECT version, size, payload FROM record WHERE variable = ? AND version < ? ORDER BY version",
            (held.key, held.newest.version),
        )
        held.oldest = held.newest.version
        for version, size, payload in rows:
            if version >= first and history <= quota.history_bytes:
                held.oldest = version
                break
            history -= size
            if payload is not None:
                large.add(payload)
        rows.close()
        held.bytes = history + held.newest.size
        self._execute("DELETE FROM record WHERE variable = ? AND version < ?", (held.key, held.oldest))
        for payload in large:
            unused = "DELETE FROM payload WHERE id = ? AND NOT EXISTS (SELECT 1 FROM record WHERE payload = ?)"
            self._execute(unused, (payload, payload))

    def later(
        self, session: int, after: Mapping[str, int], limit: int, max_bytes: int
    ) -> tuple[list[StoredVariable], dict[str, int]]:
        """The first records with versions above those given, and the newest version of each name."""
        rows = self._by_names(_VERSIONS_OF, session, after)
        newest = {name: version for name, version, _ in rows}
        asked = [(key, after[name]) for name, version, key in rows if version > after[name]]
        if not asked:
            return [], newest
        pairs = msgspec.json.encode(asked).decode()
        last = total = 0
        for revision, length in self._execute(_LATER_LENGTHS, (pairs, limit)):
            total += length
            if last and total > max_bytes:
                break
            last = revision
        return [_variable(row) for row in self._execute(_LATER_RECORDS, (pairs, last))], newest

    def trim(self, session: int) -> None:
        """Drops the history and the variables that are gone."""
        for statement in _TRIM:
            self._execute(statement, (session,))


def _pieces(names: tuple[str, ...], size: int) -> Iterator[tuple[str, ...]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _variable(row: tuple[Any, ...]) -> StoredVariable:
    name, type_, payload, version, kind, constraints, metadata, changed_by, updated_at, expires_at, size = row[:11]
    return StoredVariable(
        name=name,
        type=type_,
        payload=payload,
        version=version,
        kind=UpdateKind(kind),
        constraints=unpack_constraints(constraints),
        metadata={} if metadata is None else _decode_metadata(metadata),
        changed_by=changed_by,
        updated_at=updated_at,
        expires_at=expires_at,
        size=size,
    )
