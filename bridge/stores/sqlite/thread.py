"""The thread that a database belongs to.

Whoever asks leaves a job in a queue. The thread takes all that wait, runs those that write in one transaction, and
answers all of them at once when it is committed: however many there are, they share what a commit costs, and what the
way to the thread and back costs.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import msgspec

from bridge.errors import BridgeError, Code
from bridge.stores.sqlite.file import open_file
from bridge.stores.sqlite.tables import Tables

__all__ = ["StorageThread"]

MAX_GROUP = 256
"""Jobs in one transaction, so that none of them waits long for the others."""

T = TypeVar("T")


class _Job(msgspec.Struct, eq=False):
    """Something to do in the thread, and what became of it."""

    work: Callable[[Tables], Any]
    is_write: bool
    future: asyncio.Future[Any]
    then: Callable[[Any], None] | None
    result: Any = None
    error: Exception | None = None


_Queue = SimpleQueue[_Job | None]
"""``None`` is the last."""


class StorageThread:
    """Owns a database; an event loop asks it.

    Args:
        path: of the file.
        synchronous: ``NORMAL`` or ``FULL``.
    """

    def __init__(self, path: Path, synchronous: str) -> None:
        self._path = path
        self._synchronous = synchronous
        self._jobs: _Queue = SimpleQueue()
        self._is_open = False
        self._ended: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Opens the file, unless it is open. Raises as ``open_file`` does."""
        if self._is_open:
            return
        self._loop = asyncio.get_running_loop()
        self._jobs = SimpleQueue()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._ended = self._loop.create_future()
        arguments = (self._jobs, opened, self._ended)
        threading.Thread(target=self._main, args=arguments, name="bridge-sqlite", daemon=True).start()
        try:
            await opened
        except asyncio.CancelledError:
            self._jobs.put(None)
            raise
        self._is_open = True

    async def run(
        self, work: Callable[[Tables], T], *, is_write: bool = False, then: Callable[[T], None] | None = None
    ) -> T:
        """Does something in the thread.

        Args:
            work: what to do. If it raises, it has changed nothing, or has undone what it had.
            is_write: whether it changes something, which is then committed before this returns.
            then: is called in the event loop with the result once it is committed, whether or not somebody waits.

        Raises:
            BridgeError: UNAVAILABLE, reason ``STORE_UNAVAILABLE``; and whatever ``work`` raises.
        """
        if not self._is_open:
            raise self._unavailable("is closed; open it first")
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, is_write, future, then))
        return await future

    async def stop(self) -> None:
        """Does what waits, closes the file and ends the thread."""
        if self._is_open:
            self._is_open = False
            self._jobs.put(None)
        if self._ended is not None:
            await asyncio.shield(self._ended)

    def _unavailable(self, problem: str) -> BridgeError:
        return BridgeError(Code.UNAVAILABLE, f"sqlite store {self._path}: {problem}", reason="STORE_UNAVAILABLE")

    # What follows runs in the thread.

    def _main(self, jobs: _Queue, opened: asyncio.Future[None], ended: asyncio.Future[None]) -> None:
        try:
            file = open_file(self._path, self._synchronous)
        except Exception as error:  # noqa: BLE001 - it goes to whoever opens the store
            self._tell(_settle, opened, None, error)
            self._tell(_settle, ended, None, None)
            return
        self._tell(_settle, opened, None, None)
        try:
            self._serve(jobs, Tables(file.connection))
        finally:
            file.close()
            self._tell(_settle, ended, None, None)

    def _serve(self, jobs: _Queue, tables: Tables) -> None:
        is_last = False
        while not is_last:
            group, is_last = _take(jobs)
            writes = [job for job in group if job.is_write]
            if writes:
                self._commit(writes, tables)
            for job in group:
                if not job.is_write:
                    self._read(job, tables)
            self._tell(_answer, group)
        self._finish(tables)

    def _commit(self, jobs: Sequence[_Job], tables: Tables) -> None:
        execute = tables.connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for job in jobs:
                _attempt(job, tables)
            execute("COMMIT")
        except sqlite3.Error as error:
            # Also those that were refused: on grounds that are gone with the others.
            for job in jobs:
                job.error = self._failure(error)
            _roll_back(tables)

    def _read(self, job: _Job, tables: Tables) -> None:
        try:
            _attempt(job, tables)
        except sqlite3.Error as error:
            job.error = self._failure(error)

    def _finish(self, tables: Tables) -> None:
        try:
            tables.connection.execute("BEGIN IMMEDIATE")
            tables.finish()
            tables.connection.execute("COMMIT")
        except sqlite3.Error:
            _roll_back(tables)  # the file is then opened as after a crash, which it is made for

    def _failure(self, error: sqlite3.Error) -> BridgeError:
        if isinstance(error, sqlite3.OperationalError):
            return self._unavailable(f"{error}; see that its disk works and has room, then try again")
        return self._unavailable(f"{error}; stop the host and put back a copy of the file")

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            pass  # the event loop is closed, and with it went all who waited


def _take(jobs: _Queue) -> tuple[list[_Job], bool]:
    """All jobs that wait, at least one unless it is the end; and whether that came."""
    group: list[_Job] = []
    while not group or (len(group) < MAX_GROUP and not jobs.empty()):
        job = jobs.get()
        if job is None:
            return group, True
        group.append(job)
    return group, False


def _attempt(job: _Job, tables: Tables) -> None:
    """Runs a job. Raises only what means that the storage, not the job, has failed."""
    try:
        job.result = job.work(tables)
    except Exception as error:
        if type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError):
            raise
        job.error = error


def _roll_back(tables: Tables) -> None:
    try:
        if tables.connection.in_transaction:
            tables.connection.execute("ROLLBACK")
    except sqlite3.Error:
        pass  # the next transaction fails as well, and says why


def _answer(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        _settle(job.future, job.result, job.error)
        if job.error is None and job.then is not None:
            job.then(job.result)


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return  # nobody waits any more
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
