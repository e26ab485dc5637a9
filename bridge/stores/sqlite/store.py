"""Sessions and variables in a file of SQLite: there again when the host is, however it ended.

The file belongs to one host at a time. All that is asked of it runs in one thread (``thread``), one after the
other, so what is decided on is what is there, and writes that come together are committed together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from bridge.errors import invalid_argument
from bridge.stores.base import Change, Decide, Due, Log, Quota, Signal, Snapshot, StoredSession, Wake
from bridge.stores.listeners import Listeners
from bridge.stores.sqlite.thread import StorageThread

__all__ = ["SqliteStore"]


class SqliteStore:
    """A store in a file. What was committed is there after ``kill -9`` at any moment, all of it or nothing.

    Beside the file are ``-wal`` and ``-shm`` (SQLite's) and ``.lock`` (ours). Room that is freed is used again; a file
    that is mostly free room is made smaller when it is opened. After a crash a session may live a sixteenth of its time
    to live longer than it would have, one minute at most.

    Args:
        path: of the file; its folder must be there. It is made with mode 0600.
        synchronous: ``normal``: when the whole machine crashes the last commits may be lost; ``full``: every commit
            waits for the disk.

    Raises:
        BridgeError: INVALID_ARGUMENT if ``synchronous`` is neither.
    """

    def __init__(self, path: str | Path, *, synchronous: str = "normal") -> None:
        if synchronous not in ("normal", "full"):
            raise invalid_argument("synchronous", "must be normal or full")
        self._thread = StorageThread(Path(path), synchronous)
        self._listeners = Listeners()

    async def open(self) -> None:
        """Opens the file, makes it if it is not there. Raises FAILED_PRECONDITION, reason ``STORE_IN_USE``,
        ``STORE_PATH``, ``STORE_VERSION`` or ``STORE_DAMAGED``."""
        await self._thread.start()

    async def create_session(self, session: StoredSession, expires_at: float, *, max_sessions: int) -> bool:
        return await self._thread.run(
            lambda tables: tables.create_session(session, expires_at, max_sessions), is_write=True
        )

    async def read(self, session_id: str, names: Collection[str] | None, now: float) -> Snapshot | None:
        return await self._thread.run(lambda tables: tables.read(session_id, names, now))

    async def transact(
        self, session_id: str, names: Collection[str], decide: Decide, quota: Quota, now: float, *, renew: bool = True
    ) -> Sequence[Change]:
        return await self._thread.run(
            lambda tables: tables.transact(session_id, names, decide, quota, now, renew),
            is_write=True,
            then=self._telling(session_id, Signal.CHANGED),
        )

    async def read_log(
        self, session_id: str, after: Mapping[str, int], now: float, *, limit: int, max_bytes: int
    ) -> Log | None:
        return await self._thread.run(lambda tables: tables.read_log(session_id, after, now, limit, max_bytes))

    async def delete_session(self, session_id: str, *, expired_by: float | None = None) -> bool:
        return await self._thread.run(
            lambda tables: tables.delete_session(session_id, expired_by),
            is_write=True,
            then=self._telling(session_id, Signal.CLOSED if expired_by is None else Signal.EXPIRED),
        )

    async def list_sessions(self, owner: str, now: float, limit: int) -> list[Snapshot]:
        return await self._thread.run(lambda tables: tables.list_sessions(owner, now, limit))

    async def due(self, now: float, limit: int) -> list[Due]:
        return await self._thread.run(lambda tables: tables.due(now, limit), is_write=True)

    async def trim(self, session_id: str) -> None:
        await self._thread.run(lambda tables: tables.trim(session_id), is_write=True)

    def subscribe(self, session_id: str, wake: Wake) -> AbstractAsyncContextManager[None]:
        return self._listeners.subscribe(session_id, wake)

    async def aclose(self) -> None:
        """Finishes what was asked for, closes the file and gives it free."""
        await self._thread.stop()

    def _telling(self, session_id: str, signal: Signal) -> Callable[[object], None]:
        """Tells who listens, if anything came of it."""
        return lambda result: self._listeners.tell(session_id, signal) if result else None
