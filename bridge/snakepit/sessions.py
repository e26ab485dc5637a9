"""The sessions that a pool has told a worker of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from bridge.errors import BridgeError, Code

__all__ = ["MAX_SESSIONS", "KnownSession", "Sessions"]

MAX_SESSIONS = 10_000
"""Sessions that are remembered; a worker has one of its own, and the oldest goes first."""
MAX_METADATA = 32
"""Entries of a session's metadata."""


class KnownSession(msgspec.Struct, frozen=True):
    """What a pool has said of a session."""

    metadata: Mapping[str, str]
    created_ns: int
    """Nanoseconds since the epoch."""


class Sessions:
    """Remembers sessions."""

    def __init__(self) -> None:
        self._known: dict[str, KnownSession] = {}
        self._on_open: Callable[[str], None] = _ignore
        self._on_close: Callable[[str], None] = _ignore

    def watch(self, on_open: Callable[[str], None], on_close: Callable[[str], None]) -> None:
        """Has functions called with the id of each session that is opened, again or for the first time, and closed."""
        self._on_open, self._on_close = on_open, on_close

    def open(self, session_id: str, metadata: Mapping[str, str]) -> None:
        """Notes a session; one that is known stays as it is.

        Raises ``BridgeError`` INVALID_ARGUMENT for an empty id or too much metadata.
        """
        if not session_id:
            raise BridgeError(Code.INVALID_ARGUMENT, "session_id is empty: name the session", reason="BAD_SESSION_ID")
        if len(metadata) > MAX_METADATA:
            message = f"metadata has {len(metadata)} entries, and {MAX_METADATA} are allowed"
            raise BridgeError(Code.INVALID_ARGUMENT, message, reason="BAD_METADATA")
        if session_id not in self._known:
            while len(self._known) >= MAX_SESSIONS:
                self.close(next(iter(self._known)))
            self._known[session_id] = KnownSession(dict(metadata), time.time_ns())
        self._on_open(session_id)

    def close(self, session_id: str) -> bool:
        """Forgets a session; whether it was known."""
        self._on_close(session_id)
        return self._known.pop(session_id, None) is not None

    def get(self, session_id: str) -> KnownSession:
        """What is known of a session. Raises ``BridgeError`` NOT_FOUND."""
        session = self._known.get(session_id)
        if session is None:
            raise BridgeError(Code.NOT_FOUND, f"Session not found: {session_id[:200]}", reason="SESSION_NOT_FOUND")
        return session


def _ignore(session_id: str) -> None:
    """Nobody minds."""
