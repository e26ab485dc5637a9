"""Where a host keeps sessions and variables.

A store knows nothing of types, constraints, owners or time to live. It keeps what it is given, says what is there, and
commits changes all or nothing, each against the version it was decided on. What a change should be is decided above
(``bridge.hosts.changes``), so every store behaves alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from bridge.variables import NO_CONSTRAINTS, Constraints

__all__ = [
    "Change",
    "Conflict",
    "Expired",
    "Quota",
    "QuotaExceeded",
    "SessionGone",
    "Snapshot",
    "Store",
    "StoredSession",
    "StoredVariable",
]


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


class StoredVariable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable at one version, its value packed.

    Packed, so that nobody can change what is stored by keeping a reference to it, so that its size is known, and so
    that it goes to a disk or a wire as it is.
    """

    name: str
    type: str
    payload: bytes
    """The value: a serialized ``google.protobuf.Any``."""
    version: int
    constraints: Constraints = NO_CONSTRAINTS
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    changed_by: str = "client"
    updated_at: float = 0.0
    expires_at: float | None = None
    size: int = 0
    """Bytes it counts for in its session: value, name, metadata and constraints."""


class Change(msgspec.Struct, frozen=True):
    """One change of one variable. It is committed only if the variable is at the version it was decided on."""

    name: str
    expected_version: int
    """The version that is there now; 0: there is none."""
    variable: StoredVariable | None
    """What is to be there; ``None``: nothing."""


class Quota(msgspec.Struct, frozen=True):
    """How much a session may hold. What holds too much already may shrink, not grow."""

    max_variables: int
    max_bytes: int
    """Sum of ``StoredVariable.size``."""


class Snapshot(msgspec.Struct, frozen=True):
    """A session and some of its variables at one instant."""

    session: StoredSession
    expires_at: float
    """When the session ends if nothing happens, seconds since the epoch."""
    variable_count: int
    """All its variables, read or not."""
    variables: Mapping[str, StoredVariable]
    """Those asked for that exist, also those whose own time is over."""


class Expired(msgspec.Struct, frozen=True):
    """Something whose time was over and that is gone."""

    session_id: str
    variable: StoredVariable | None
    """The variable; ``None``: the whole session."""


class Conflict(Exception):
    """A change was decided on a version that is no longer there. Nothing was committed."""

    def __init__(self, name: str, current_version: int) -> None:
        super().__init__(f"{name} is at version {current_version}")
        self.name = name
        self.current_version = current_version


class SessionGone(Exception):
    """The session is not there. Nothing was committed."""


class QuotaExceeded(Exception):
    """What was to be kept goes over a limit. Nothing was committed."""

    def __init__(self, limit: str, maximum: int) -> None:
        super().__init__(f"{limit} is {maximum}")
        self.limit = limit
        """Name of the limit, as users know it."""
        self.maximum = maximum


class Store(Protocol):
    """Keeps sessions and variables. Methods raise nothing but what they name, and UNAVAILABLE if the storage is.

    Times are given, never taken: a store has no clock.
    """

    async def create_session(self, session: StoredSession, expires_at: float, *, max_sessions: int) -> None:
        """Keeps a session that is not there yet. Raises ``QuotaExceeded``."""

    async def read(self, session_id: str, names: Collection[str] | None) -> Snapshot | None:
        """Reads a session and the named variables (``None``: all) at one instant; ``None`` if it is not there."""

    async def touch_session(self, session_id: str, expires_at: float) -> None:
        """Lets a session live until then, if that is later than before; does nothing if it is not there."""

    async def delete_session(self, session_id: str, *, expired_by: float | None = None) -> bool:
        """Removes a session and its variables; says whether it did. With ``expired_by`` only if it ends by then."""

    async def commit(self, session_id: str, changes: Sequence[Change], quota: Quota) -> None:
        """Commits changes of distinct names, all or nothing.

        Raises ``SessionGone``, ``Conflict`` or ``QuotaExceeded``.
        """

    async def expire(self, now: float, limit: int) -> list[Expired]:
        """Removes sessions and variables whose time is over and returns them; looks at about ``limit`` of them, so
        that nobody waits long. None returned does not mean that none is left."""

    async def aclose(self) -> None:
        """Lets go of files and connections."""
