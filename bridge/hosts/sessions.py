"""The host of ours: sessions and variables in a store, tools by whoever runs them.

Every write is decided on what was read and committed only if that is still there; otherwise it is decided again. So a
store needs one atomic operation, and a refused write has changed nothing.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Any

from bridge.errors import BridgeError, Code, NoSessionError, invalid_argument
from bridge.host import CallScope
from bridge.hosts.changes import Commit, decide_delete, decide_register, decide_write, is_live, unpack
from bridge.hosts.glob import Glob
from bridge.hosts.limits import HostLimits, check_metadata, check_ttl, limit_exceeded
from bridge.hosts.tools import NoTools, ToolRunner, run_tool, stream_tool
from bridge.stores.base import (
    Change,
    Conflict,
    Quota,
    QuotaExceeded,
    SessionGone,
    Snapshot,
    Store,
    StoredSession,
    StoredVariable,
)
from bridge.variables import Declaration, SessionInfo, Variable, Write, WriteResult, check_name

__all__ = ["SessionHost"]

_SESSION_ID = re.compile(r"[0-9a-f]{32}")

_ATTEMPTS = 32
"""Times a write is decided again because somebody else was faster."""

SWEEP_LIMIT = 10_000
"""Sessions and variables one sweep looks at: some milliseconds."""

_ADVICE = {
    "max_sessions": "close sessions that are not needed, or wait until some expire",
    "max_variables": "delete variables that are not needed",
    "max_session_bytes": "delete variables that are not needed, or keep large data elsewhere",
    "max_store_bytes": "close sessions that are not needed, or wait until some expire",
}

Decide = Callable[[Mapping[str, StoredVariable], float], Sequence[Change]]
"""Makes the changes to commit of what is stored and the time."""


class SessionHost:
    """Owns sessions and variables. A ``Host``; what it has beyond that is for whoever opens sessions.

    Args:
        store: where they are kept.
        tools: runs the host's own tools; ``None``: it has none.
        limits: what is kept at most.
        clock: seconds since the epoch.
        trusted_principals: principals that may act in sessions of others: servers that run tools for many clients
            under a name of their own.
    """

    def __init__(
        self,
        store: Store,
        *,
        tools: ToolRunner | None = None,
        limits: HostLimits | None = None,
        clock: Callable[[], float] = time.time,
        trusted_principals: Collection[str] = (),
    ) -> None:
        self.limits = limits or HostLimits()
        self._store = store
        self._tools = tools or NoTools()
        self._clock = clock
        self._trusted = frozenset(trusted_principals)
        self._quota = Quota(self.limits.max_variables, self.limits.max_session_bytes)

    # Sessions

    async def open_session(
        self, scope: CallScope, *, metadata: Mapping[str, str] | None = None, ttl: float | None = None
    ) -> SessionInfo:
        """Opens a session that belongs to ``scope.principal``.

        Args:
            metadata: free text kept with the session.
            ttl: seconds it lives without use or heartbeat; ``None``: ``HostLimits.default_ttl``.
        """
        limits = self.limits
        check_metadata(metadata or {}, limits, "the session")
        longest = max(limits.default_ttl, limits.max_ttl)
        lifetime = limits.default_ttl if ttl is None else check_ttl(ttl, longest)
        now = self._clock()
        session = StoredSession(
            session_id=secrets.token_hex(16),
            owner=scope.principal,
            metadata=dict(metadata or {}),
            created_at=now,
            ttl=lifetime,
        )
        try:
            await self._create(session, now)
        except QuotaExceeded:
            await self._store.expire(now, limits.max_sessions)
            try:
                await self._create(session, now)
            except QuotaExceeded as exceeded:
                raise _limit(exceeded, "the session was not opened") from None
        return _info(Snapshot(session, now + lifetime, 0, {}))

    async def _create(self, session: StoredSession, now: float) -> None:
        await self._store.create_session(session, now + session.ttl, max_sessions=self.limits.max_sessions)

    async def get_session(self, scope: CallScope) -> SessionInfo:
        """Describes the session. Looking counts as use."""
        return _info(await self._read(scope, ()))

    async def heartbeat(self, scope: CallScope) -> float:
        """Keeps the session; when it ends if nothing happens from now on, seconds since the epoch."""
        return (await self._read(scope, ())).expires_at

    async def close_session(self, scope: CallScope) -> None:
        """Ends the session and frees its variables."""
        await self._read(scope, ())
        if not await self._store.delete_session(scope.session_id):
            raise _session_not_found()

    async def sweep(self) -> int:
        """Frees sessions and variables whose time is over; says how many. Whoever runs the host calls it now and
        then: what is over cannot be seen without it either, but takes room."""
        return len(await self._store.expire(self._clock(), SWEEP_LIMIT))

    async def _read(self, scope: CallScope, names: Collection[str] | None) -> Snapshot:
        """What is stored, if the caller may see it; and so the session lives on."""
        session_id = scope.session_id
        if not session_id:
            raise NoSessionError
        if not _SESSION_ID.fullmatch(session_id):
            raise _session_not_found()
        snapshot = await self._store.read(session_id, names)
        # Compared also if there is nothing to compare with, so that time does not tell which of the two it was.
        owner = "" if snapshot is None else snapshot.session.owner
        is_owner = hmac.compare_digest(owner.encode(), scope.principal.encode())
        if snapshot is None or not (is_owner or scope.principal in self._trusted):
            raise _session_not_found()
        now = self._clock()
        if snapshot.expires_at <= now:
            await self._store.delete_session(session_id, expired_by=now)
            raise _session_not_found()
        expires_at = now + snapshot.session.ttl
        if expires_at <= snapshot.expires_at:
            return snapshot
        await self._store.touch_session(session_id, expires_at)
        return Snapshot(snapshot.session, expires_at, snapshot.variable_count, snapshot.variables)

    # Variables

    async def read_stored(self, scope: CallScope, names: Collection[str]) -> dict[str, StoredVariable]:
        """``get_variables`` with the values still packed, for who passes them on."""
        self._check_count(len(names))
        snapshot = await self._read(scope, names)
        now = self._clock()
        found = {name: stored for name, stored in snapshot.variables.items() if is_live(stored, now)}
        if len(found) < len(names):
            for name in names:
                check_name(name)
        return found

    async def list_stored(self, scope: CallScope, pattern: str = "") -> list[StoredVariable]:
        """``list_variables`` with the values still packed, for who passes them on."""
        glob = Glob(pattern)
        await self._read(scope, ())
        snapshot = await self._read(scope, None)
        now = self._clock()
        found = [name for name, stored in snapshot.variables.items() if is_live(stored, now) and glob.matches(name)]
        return [snapshot.variables[name] for name in sorted(found)]

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        """Reads variables at one instant; those that do not exist are absent."""
        return {name: unpack(stored) for name, stored in (await self.read_stored(scope, names)).items()}

    async def list_variables(self, scope: CallScope, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted; all without a pattern."""
        return [unpack(stored) for stored in await self.list_stored(scope, pattern)]

    async def set_variables(
        self, scope: CallScope, writes: Sequence[Write], *, atomic: bool = True
    ) -> dict[str, WriteResult]:
        """Writes variables. Atomic: all or nothing, and the first refusal is raised. Otherwise each name has the new
        version or the error; only what concerns the whole call (the session, the number of writes) is raised."""
        self._check_count(len(writes))
        if len({write.name for write in writes}) < len(writes):
            raise invalid_argument("writes", "a name must not be there twice")
        if atomic or not writes:
            return dict(await self._write(scope, writes))
        await self._read(scope, ())
        results: dict[str, WriteResult] = {}
        for write in writes:
            try:
                results.update(await self._write(scope, (write,)))
            except BridgeError as error:
                results[write.name] = error
        return results

    async def _write(self, scope: CallScope, writes: Sequence[Write]) -> dict[str, int]:
        def decide(stored: Mapping[str, StoredVariable], now: float) -> list[Change]:
            commit = Commit(now, scope.changed_by, self.limits)
            return [decide_write(write, stored.get(write.name), commit) for write in writes]

        changes = await self._commit(scope, [write.name for write in writes], decide)
        return {change.name: change.variable.version for change in changes if change.variable is not None}

    async def register_variable(self, scope: CallScope, declaration: Declaration) -> Variable:
        """Declares a variable. A name that exists gets the new declaration as its next version."""

        def decide(stored: Mapping[str, StoredVariable], now: float) -> list[Change]:
            commit = Commit(now, scope.changed_by, self.limits)
            return [decide_register(declaration, stored.get(declaration.name), commit)]

        (change,) = await self._commit(scope, (declaration.name,), decide)
        assert change.variable is not None  # noqa: S101 - a declaration never deletes
        return unpack(change.variable)

    async def delete_variable(self, scope: CallScope, name: str, *, expected_version: int | None = None) -> None:
        """Deletes a variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is none."""

        def decide(stored: Mapping[str, StoredVariable], now: float) -> list[Change]:
            return [decide_delete(name, expected_version, stored.get(name), now)]

        await self._commit(scope, (name,), decide)

    async def _commit(self, scope: CallScope, names: Collection[str], decide: Decide) -> Sequence[Change]:
        freed = False
        for _ in range(_ATTEMPTS):
            snapshot = await self._read(scope, names)
            now = self._clock()
            changes = decide(snapshot.variables, now)
            try:
                await self._store.commit(scope.session_id, changes, self._quota)
            except Conflict:
                continue
            except SessionGone:
                raise _session_not_found() from None
            except QuotaExceeded as exceeded:
                if freed:
                    raise _limit(exceeded, "nothing was written") from None
                await self._free(scope.session_id, now)
                freed = True
                continue
            return changes
        message = f"other writers were faster {_ATTEMPTS} times in a row: try again"
        raise BridgeError(Code.ABORTED, message, reason="CONTENTION")

    async def _free(self, session_id: str, now: float) -> None:
        """Removes what is over, which takes room until then: in this session all of it, elsewhere some."""
        await self._store.expire(now, SWEEP_LIMIT)
        snapshot = await self._store.read(session_id, None)
        over = [stored for stored in snapshot.variables.values() if not is_live(stored, now)] if snapshot else []
        try:
            await self._store.commit(session_id, [Change(one.name, one.version, None) for one in over], self._quota)
        except (Conflict, SessionGone):
            pass  # somebody else is at it; the caller's next attempt sees what came of it

    def _check_count(self, count: int) -> None:
        maximum = self.limits.max_names_per_call
        if count > maximum:
            raise limit_exceeded("max_names_per_call", maximum, f"{count} variables in one call", "use several calls")

    # Tools

    async def call_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Runs a tool of the host and returns its result."""
        return await run_tool(self._tools, self, scope, tool, arguments)

    def stream_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Runs a streaming tool of the host; an async generator of what it yields."""
        return stream_tool(self._tools, self, scope, tool, arguments)

    async def aclose(self) -> None:
        """Closes the store."""
        await self._store.aclose()


def _info(snapshot: Snapshot) -> SessionInfo:
    session = snapshot.session
    return SessionInfo(
        session_id=session.session_id,
        metadata=session.metadata,
        created_at=session.created_at,
        ttl=session.ttl,
        expires_at=snapshot.expires_at,
        variable_count=snapshot.variable_count,
    )


def _session_not_found() -> BridgeError:
    message = "there is no such session: it was never opened here, has expired or is closed; open another one"
    return BridgeError(Code.NOT_FOUND, message, reason="SESSION_NOT_FOUND")


def _limit(exceeded: QuotaExceeded, subject: str) -> BridgeError:
    return limit_exceeded(exceeded.limit, exceeded.maximum, subject, _ADVICE[exceeded.limit])
