"""Where a host keeps sessions and variables.

A store knows nothing of types, constraints or owners. It keeps what it is given, says what is there, commits changes
all or nothing, and tells who listens. What a change should be is decided above (``bridge.hosts.changes``), so every
store behaves alike.

What is kept of a variable is a row of *records*, one for each committed change, versions without gaps: the newest says
what the variable is, those before it are its history, which is bounded. A deletion is a record too. It stays as long as
there is room, so that a name that is used again goes on with the next version and no version ever means two values.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from bridge.variables import NO_CONSTRAINTS, Constraints, UpdateKind

__all__ = [
    "Change",
    "Contention",
    "Decide",
    "Due",
    "Log",
    "Quota",
    "QuotaExceeded",
    "SessionGone",
    "Signal",
    "Snapshot",
    "Store",
    "StoredSession",
    "StoredVariable",
    "Wake",
]


# Asked of every record, and a member of an enumeration is slow to look up.
_DELETED, _EXPIRED = UpdateKind.DELETED, UpdateKind.EXPIRED


class StoredSession(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change about a session."""

    session_id: str
    owner: str
    """The principal that opened it; empty without authentication."""
    metadata: Mapping[str, str]
    created_at: float
    """Seconds since the epoch."""
    ttl: float
    """Seconds it lives without use."""


class StoredVariable(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A variable after one committed change, its value packed.

    Packed, so that nobody can change what is stored by keeping a reference to it, so that its size is known, and so
    that it goes to a disk or a wire as it is.
    """

    name: str
    type: str
    payload: bytes
    """The value: a serialized ``google.protobuf.Any``; empty if the variable is gone."""
    version: int
    kind: UpdateKind = UpdateKind.CHANGED
    constraints: Constraints = NO_CONSTRAINTS
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    changed_by: str = "client"
    updated_at: float = 0.0
    expires_at: float | None = None
    size: int = 0
    """Bytes it counts for in its session: value, name, metadata and constraints."""

    @property
    def is_gone(self) -> bool:
        """Whether this change removed the variable."""
        return self.kind is _DELETED or self.kind is _EXPIRED


class Change(msgspec.Struct, frozen=True, gc=False):
    """What is to be committed of one variable."""

    name: str
    expected_version: int
    """Version of the record it was decided on; 0: there is none."""
    records: tuple[StoredVariable, ...]
    """One or more, in order; the last is what the variable then is."""


class Quota(msgspec.Struct, frozen=True):
    """How much a session may hold. What holds too much already may shrink, not grow."""

    max_variables: int
    """Names that have a record, also of variables that are gone."""
    max_bytes: int
    """Sum of ``StoredVariable.size`` of all records, history included."""
    history_entries: int
    """Records kept of one variable beside the newest; older ones are dropped as new ones come."""
    history_bytes: int
    """Sum of the sizes of these."""


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """A session and some of its variables at one instant."""

    session: StoredSession
    expires_at: float
    """When the session ends if nothing happens, seconds since the epoch."""
    variable_count: int
    """All its variables that are not gone, read or not."""
    floor: int
    """Version after which a name without a record starts: 0, until ``Store.trim`` forgets a name."""
    variables: Mapping[str, StoredVariable]
    """The newest records of the names asked for, also of variables that are gone or whose own time is over."""


class Log(msgspec.Struct, frozen=True):
    """What happened to some variables."""

    records: Sequence[StoredVariable]
    """In the order they were committed. If the first of a name is not the one after the version asked for, those
    between are not kept any more."""
    newest: Mapping[str, int]
    """By name, the version of the newest record, whether or not it is among ``records``; absent: there is none."""
    floor: int
    """See ``Snapshot.floor``."""


class Due(msgspec.Struct, frozen=True):
    """A session in which something's time is over."""

    session_id: str
    names: Sequence[str]
    """The variables; empty: the whole session."""


class Signal(enum.Enum):
    """What a listener is told."""

    CHANGED = "changed"
    """Something was committed, or may have been while the store could not tell."""
    CLOSED = "closed"
    """The session was closed."""
    EXPIRED = "expired"
    """The session's time was over."""


Decide = Callable[[Snapshot], Sequence[Change]]
"""Makes the changes to commit, of distinct names among those asked for, of what is there; what it raises goes to the
caller, and nothing is committed. It is pure: it may be called more than once, and in another thread."""

Wake = Callable[[Signal], None]
"""Tells a listener; called in the event loop, must not raise."""


class SessionGone(Exception):
    """The session is not there, or its time is over. Nothing was committed."""


class Contention(Exception):
    """Other writers were faster again and again. Nothing was committed."""


class QuotaExceeded(Exception):
    """What was to be kept goes over a limit. Nothing was committed."""

    def __init__(self, limit: str, maximum: int) -> None:
        super().__init__(f"{limit} is {maximum}")
        self.limit = limit
        """Name of the limit, as users know it: max_sessions, max_variables, max_session_bytes or max_store_bytes."""
        self.maximum = maximum


class Store(Protocol):
    """Keeps sessions and variables.

    Methods raise nothing but what they name, and UNAVAILABLE, reason ``STORE_UNAVAILABLE``, if the storage is (whether
    the change was committed is then unknown). Times are given, never taken: a store has no clock. A session whose time
    is over at ``now`` is as good as gone, whether or not it still takes room.
    """

    async def open(self) -> None:
        """Makes files and connections. Raises FAILED_PRECONDITION that says what to change, or UNAVAILABLE."""

    async def create_session(self, session: StoredSession, expires_at: float, *, max_sessions: int) -> bool:
        """Keeps a session; says whether it did: not if there is one of this id. Raises ``QuotaExceeded``."""

    async def read(self, session_id: str, names: Collection[str] | None, now: float) -> Snapshot | None:
        """Reads a session and the named variables (``None``: all) at one instant; ``None`` if it is not there.

        The session then lives until ``now`` and its time to live, unless it does so anyway.
        """

    async def transact(
        self, session_id: str, names: Collection[str], decide: Decide, quota: Quota, now: float, *, renew: bool = True
    ) -> Sequence[Change]:
        """Decides on what is there and commits that, all or nothing, as if nobody else were there; returns what was
        committed, which may be nothing. With ``renew`` it renews the session like ``read``.

        Raises ``SessionGone``, ``QuotaExceeded``, ``Contention``, or what ``decide`` raises.
        """

    async def read_log(
        self, session_id: str, after: Mapping[str, int], now: float, *, limit: int, max_bytes: int
    ) -> Log | None:
        """Reads the records that are kept of the named variables with versions above those given: the earliest
        ``limit`` of them, less if their payloads are more than ``max_bytes``, but at least one. ``None`` if the session
        is not there. Does not renew the session."""

    async def delete_session(self, session_id: str, *, expired_by: float | None = None) -> bool:
        """Removes a session and all that is in it; says whether it did. With ``expired_by`` only if it ends by then.
        Listeners are told ``EXPIRED`` in that case, else ``CLOSED``."""

    async def list_sessions(self, owner: str, now: float, limit: int) -> list[Snapshot]:
        """The newest sessions of an owner, newest first, without variables."""

    async def due(self, now: float, limit: int) -> list[Due]:
        """Sessions whose time is over, or the time of variables in them; looks at about ``limit`` of them, so that
        nobody waits long. Removes nothing, and says the same again until somebody does."""

    async def trim(self, session_id: str) -> None:
        """Makes room in a session: drops its history and the records of variables that are gone, and raises the floor
        to the highest version forgotten so."""

    def subscribe(self, session_id: str, wake: Wake) -> AbstractAsyncContextManager[None]:
        """Tells a listener of everything committed in a session, from when it is entered until it is left. Several
        commits may be told as one."""

    async def aclose(self) -> None:
        """Lets go of files and connections."""
