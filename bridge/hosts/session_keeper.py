"""Sessions of a host: opened, found, kept alive, closed, and freed when their time is over."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping

from bridge.errors import BridgeError, Code, NoSessionError, invalid_argument
from bridge.host import CallScope
from bridge.hosts.changes import decide_expiry
from bridge.hosts.limits import HostLimits, check_metadata, check_ttl, limit_exceeded
from bridge.hosts.watching import session_not_found
from bridge.stores.base import Change, Contention, Quota, QuotaExceeded, SessionGone, Snapshot, Store, StoredSession
from bridge.variables import SessionInfo

__all__ = ["MAX_LISTED", "SessionKeeper", "store_is_full"]

_MINTED_ID = re.compile(r"[0-9a-f]{32}")
_CHOSEN_ID = re.compile(r"[A-Za-z0-9_.:@/+=~#<>-]{1,128}")

SWEEP_LIMIT = 10_000
"""Sessions and variables one sweep looks at: some milliseconds in memory."""

MAX_LISTED = 1_000
"""Sessions one answer lists."""

_ADVICE = {
    "max_sessions": "close sessions that are not needed, or wait until some expire",
    "max_variables": "delete variables that are not needed",
    "max_session_bytes": "delete variables that are not needed, or keep large data elsewhere",
    "max_store_bytes": "close sessions that are not needed, or wait until some expire",
}


class SessionKeeper:
    """Owns sessions.

    Args:
        store: where they are kept; ``open`` opens it, ``aclose`` closes it.
        limits: what is kept at most.
        clock: seconds since the epoch.
        trusted_principals: principals that may act in sessions of others: servers that run tools for many clients
            under a name of their own.
        auto_open: whether a session nobody opened is opened when it is used first, for the principal that uses it;
            otherwise that is NOT_FOUND.
        lists_anonymous: whether callers without a name may list the sessions that were opened without one. An id is
            all it takes to use such a session, so only where nobody else can connect.
        chosen_ids: whether callers may choose the ids of sessions, see ``ensure_session``; with ``auto_open`` also by
            using one. Whoever guesses the id of a session without an owner can use it.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: HostLimits | None = None,
        clock: Callable[[], float] = time.time,
        trusted_principals: Collection[str] = (),
        auto_open: bool = False,
        lists_anonymous: bool = True,
        chosen_ids: bool = False,
    ) -> None:
        self.limits = limits = limits or HostLimits()
        self._store = store
        self._clock = clock
        self._trusted = frozenset(trusted_principals)
        self._auto_open = auto_open
        self._lists_anonymous = lists_anonymous
        self._ids = _CHOSEN_ID if chosen_ids else _MINTED_ID
        past = limits.history_entries, limits.history_bytes
        self._quota = Quota(limits.max_variables, limits.max_session_bytes, *past)
        self._last_quota = Quota(limits.max_variables, limits.max_session_bytes, 0, 0)
        """When there is no room for history."""
        # What only removes is never refused, although the record of it takes room, too.
        self._no_quota = Quota(2**62, 2**62, *past)

    async def open(self) -> None:
        """Opens the store; raises ``BridgeError`` if that cannot be."""
        await self._store.open()

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
        return _info(await self._create(secrets.token_hex(16), scope.principal, dict(metadata or {}), lifetime))

    async def ensure_session(self, scope: CallScope, *, metadata: Mapping[str, str] | None = None) -> SessionInfo:
        """Describes ``scope.session_id``, and opens it before if there is no such session.

        For wires whose callers choose the ids of their sessions; INVALID_ARGUMENT, reason ``SESSION_ID_REFUSED``, for
        what cannot be one. A session that is there keeps the metadata it has.
        """
        if not self._ids.fullmatch(scope.session_id):
            rule = "is not 1 to 128 of A-Z, a-z, 0-9 and '_', '.', ':', '@', '/', '+', '=', '~', '#', '<', '>', '-'"
            raise invalid_argument("session_id", rule, reason="SESSION_ID_REFUSED")
        check_metadata(metadata or {}, self.limits, "the session")
        snapshot = await self._store.read(scope.session_id, (), self._clock())
        return _info(self._admitted(snapshot or await self._open_chosen(scope, (), dict(metadata or {})), scope))

    async def _open_chosen(
        self, scope: CallScope, names: Collection[str] | None, metadata: Mapping[str, str]
    ) -> Snapshot | None:
        """Opens a session under the id in the scope, unless somebody is faster, and reads it."""
        # One whose time is over, and that nobody has swept, is in the way.
        await self._store.delete_session(scope.session_id, expired_by=self._clock())
        await self._create(scope.session_id, scope.principal, metadata, self.limits.default_ttl)
        return await self._store.read(scope.session_id, names, self._clock())

    async def _create(self, session_id: str, owner: str, metadata: Mapping[str, str], ttl: float) -> Snapshot:
        now = self._clock()
        session = StoredSession(session_id=session_id, owner=owner, metadata=metadata, created_at=now, ttl=ttl)
        maximum = self.limits.max_sessions
        try:
            await self._store.create_session(session, now + ttl, max_sessions=maximum)
        except QuotaExceeded:
            await self.sweep()
            try:
                await self._store.create_session(session, now + ttl, max_sessions=maximum)
            except QuotaExceeded as exceeded:
                raise store_is_full(exceeded, "the session was not opened") from None
        return Snapshot(session, now + ttl, 0, 0, {})

    async def get_session(self, scope: CallScope) -> SessionInfo:
        """Describes the session. Looking counts as use."""
        return _info(await self._read(scope, ()))

    async def heartbeat(self, scope: CallScope) -> float:
        """Keeps the session; when it ends if nothing happens from now on, seconds since the epoch."""
        return (await self._read(scope, ())).expires_at

    async def close_session(self, scope: CallScope) -> None:
        """Ends the session, its watches, and frees its variables."""
        await self._read(scope, (), opens=False)
        if not await self._store.delete_session(scope.session_id):
            raise session_not_found()

    async def list_sessions(self, scope: CallScope, limit: int = 0) -> list[SessionInfo]:
        """The sessions of ``scope.principal``, newest first; at most ``limit`` (0: 1,000, which is also the most).
        Looking at the list is no use of them."""
        if not scope.principal and not self._lists_anonymous:
            message = "this host can be reached from other machines: clients without a name may not list its sessions"
            raise BridgeError(Code.PERMISSION_DENIED, message, reason="SESSIONS_PRIVATE")
        if limit < 0:
            raise invalid_argument("limit", "must be 0 or more")
        most = min(limit or MAX_LISTED, MAX_LISTED)
        return [_info(one) for one in await self._store.list_sessions(scope.principal, self._clock(), most)]

    async def sweep(self) -> int:
        """Frees sessions and variables whose time is over and tells who watches; says how many. Whoever runs the host
        calls it now and then: what is over cannot be used without it either, but takes room."""
        now = self._clock()
        freed = 0
        for due in await self._store.due(now, SWEEP_LIMIT):
            if due.names:
                freed += await self._expire(due.session_id, due.names, now)
            else:
                freed += await self._store.delete_session(due.session_id, expired_by=now)
        return freed

    async def _expire(self, session_id: str, names: Collection[str], now: float) -> int:
        def decide(snapshot: Snapshot) -> list[Change]:
            found = (decide_expiry(stored, now) for stored in snapshot.variables.values())
            return [change for change in found if change is not None]

        for quota in (self._no_quota, self._last_quota):
            try:
                return len(await self._store.transact(session_id, names, decide, quota, now, renew=False))
            except QuotaExceeded:
                pass  # the store is full: then without their history
            except (SessionGone, Contention):
                break
        return 0  # they are gone anyway, or the next sweep finds them again

    async def _read(self, scope: CallScope, names: Collection[str] | None, *, opens: bool = True) -> Snapshot:
        """What is stored, if the caller may see it; and so the session lives on."""
        snapshot = await self._store.read(self._session_id(scope), names, self._clock())
        if snapshot is None and self._auto_open and opens:
            snapshot = await self._open_chosen(scope, names, {})
        return self._admitted(snapshot, scope)

    def _admitted(self, snapshot: Snapshot | None, scope: CallScope) -> Snapshot:
        owner = "" if snapshot is None else snapshot.session.owner
        if not (owner or scope.principal):
            if snapshot is None:
                raise session_not_found()
            return snapshot
        # Compared also if there is nothing to compare with, so that time does not tell which of the two it was.
        is_owner = hmac.compare_digest(owner.encode(), scope.principal.encode())
        if snapshot is None or not (is_owner or scope.principal in self._trusted):
            raise session_not_found()
        return snapshot

    def _session_id(self, scope: CallScope) -> str:
        """The session a caller means, if it can be one."""
        if not scope.session_id:
            raise NoSessionError
        if not self._ids.fullmatch(scope.session_id):
            raise session_not_found()
        return scope.session_id

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


def store_is_full(exceeded: QuotaExceeded, subject: str) -> BridgeError:
    return limit_exceeded(exceeded.limit, exceeded.maximum, subject, _ADVICE[exceeded.limit])
