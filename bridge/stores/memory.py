"""Sessions and variables in dicts of this process: gone when it ends."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Sequence

import msgspec

from bridge.stores.base import (
    Change,
    Conflict,
    Expired,
    Quota,
    QuotaExceeded,
    SessionGone,
    Snapshot,
    StoredSession,
    StoredVariable,
)

__all__ = ["MemoryStore"]


class _Entry(msgspec.Struct):
    session: StoredSession
    expires_at: float
    due: float
    """When to look at it again: not later than anything in it expires."""
    variables: dict[str, StoredVariable] = msgspec.field(default_factory=dict)
    size: int = 0


class MemoryStore:
    """A store in memory. No method suspends, so on one event loop every one of them is atomic.

    Args:
        max_bytes: what all sessions may hold together, bytes.
    """

    def __init__(self, *, max_bytes: int = 1024 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._sessions: dict[str, _Entry] = {}
        # (due, session id). Entries are not removed when a session changes or goes: one that no longer fits its
        # session is skipped when it comes up.
        self._due: list[tuple[float, str]] = []

    async def create_session(self, session: StoredSession, expires_at: float, *, max_sessions: int) -> None:
        """Keeps a session that is not there yet. Raises ``QuotaExceeded``."""
        if len(self._sessions) >= max_sessions:
            raise QuotaExceeded("max_sessions", max_sessions)
        entry = _Entry(session, expires_at, due=expires_at)
        self._sessions[session.session_id] = entry
        self._schedule(entry, expires_at)

    async def read(self, session_id: str, names: Collection[str] | None) -> Snapshot | None:
        """Reads a session and the named variables (``None``: all)."""
        entry = self._sessions.get(session_id)
        if entry is None:
            return None
        held = entry.variables
        found = dict(held) if names is None else {name: held[name] for name in names if name in held}
        return Snapshot(entry.session, entry.expires_at, len(held), found)

    async def touch_session(self, session_id: str, expires_at: float) -> None:
        """Lets a session live until then, if that is later than before."""
        entry = self._sessions.get(session_id)
        if entry is not None and expires_at > entry.expires_at:
            entry.expires_at = expires_at

    async def delete_session(self, session_id: str, *, expired_by: float | None = None) -> bool:
        """Removes a session and its variables; says whether it did."""
        entry = self._sessions.get(session_id)
        if entry is None or (expired_by is not None and entry.expires_at > expired_by):
            return False
        del self._sessions[session_id]
        self._size -= entry.size
        return True

    async def commit(self, session_id: str, changes: Sequence[Change], quota: Quota) -> None:
        """Commits changes, all or nothing. Raises ``SessionGone``, ``Conflict`` or ``QuotaExceeded``."""
        entry = self._sessions.get(session_id)
        if entry is None:
            raise SessionGone
        held = entry.variables
        more_bytes = more_variables = 0
        for change in changes:
            current = held.get(change.name)
            version = 0 if current is None else current.version
            if version != change.expected_version:
                raise Conflict(change.name, version)
            more_bytes += _size(change.variable) - _size(current)
            more_variables += (change.variable is not None) - (current is not None)
        if more_variables > 0 and len(held) + more_variables > quota.max_variables:
            raise QuotaExceeded("max_variables", quota.max_variables)
        if more_bytes > 0 and entry.size + more_bytes > quota.max_bytes:
            raise QuotaExceeded("max_session_bytes", quota.max_bytes)
        if more_bytes > 0 and self._size + more_bytes > self._max_bytes:
            raise QuotaExceeded("max_store_bytes", self._max_bytes)
        self._apply(entry, changes)
        entry.size += more_bytes
        self._size += more_bytes

    def _apply(self, entry: _Entry, changes: Sequence[Change]) -> None:
        for change in changes:
            variable = change.variable
            if variable is None:
                entry.variables.pop(change.name, None)
                continue
            entry.variables[change.name] = variable
            if variable.expires_at is not None and variable.expires_at < entry.due:
                self._schedule(entry, variable.expires_at)

    async def expire(self, now: float, limit: int) -> list[Expired]:
        """Removes sessions and variables whose time is over; looks at about ``limit`` of them."""
        removed: list[Expired] = []
        seen = 0
        while self._due and self._due[0][0] <= now and seen < limit:
            due, session_id = heapq.heappop(self._due)
            entry = self._sessions.get(session_id)
            seen += 1
            if entry is None or entry.due != due:
                continue
            seen += len(entry.variables)
            if await self.delete_session(session_id, expired_by=now):
                removed.append(Expired(session_id, None))
                continue
            removed += self._expire_variables(entry, now)
            self._schedule(entry, min(entry.expires_at, *map(_end, entry.variables.values()), math.inf))
        return removed

    def _expire_variables(self, entry: _Entry, now: float) -> list[Expired]:
        over = [variable for variable in entry.variables.values() if _end(variable) <= now]
        for variable in over:
            del entry.variables[variable.name]
            entry.size -= variable.size
            self._size -= variable.size
        return [Expired(entry.session.session_id, variable) for variable in over]

    def _schedule(self, entry: _Entry, due: float) -> None:
        entry.due = due
        if len(self._due) > 2 * len(self._sessions) + 64:
            # Mostly leftovers; what is due is written down in the sessions.
            self._due = [(each.due, session_id) for session_id, each in self._sessions.items()]
            heapq.heapify(self._due)
        else:
            heapq.heappush(self._due, (due, entry.session.session_id))

    async def aclose(self) -> None:
        """Nothing to let go of."""


def _size(variable: StoredVariable | None) -> int:
    return 0 if variable is None else variable.size


def _end(variable: StoredVariable) -> float:
    return math.inf if variable.expires_at is None else variable.expires_at
