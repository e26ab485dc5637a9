"""The file of a sqlite store: taken by one host at a time, checked, brought into shape, and let go of."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from pathlib import Path

from bridge.errors import BridgeError, Code

__all__ = ["DatabaseFile", "open_file"]

APPLICATION_ID = 0x74_62_73_31
"""Says that a file is ours (``PRAGMA application_id``): "tbs1"."""
SCHEMA_VERSION = 1
"""Says how it is laid out (``PRAGMA user_version``)."""
MIN_SQLITE = (3, 24, 0)
BUSY_SECONDS = 5.0
"""How long to wait for a person's own connection to the file before giving up."""
CHECKPOINT_PAGES = 4_000
"""Pages in the write-ahead log (16 MiB) after which they go to the file itself."""
LOG_BYTES = 64 * 1024 * 1024
"""What is left of a write-ahead log that grew beyond it, once it is no longer needed."""
CACHE_KIB = 16 * 1024
COMPACT_PAGES = 4_096
"""A file with more free pages than this, and more free than used, is made smaller when it is opened."""

# A session's counters are kept, not counted: ``bytes`` of all records, ``names`` that have a record, and those of them
# that are ``live``. ``revision`` numbers its records in the order of the commits. ``expires_by`` is never before its
# end, ``expires_at`` may be (see ``tables``).
# ``variable`` says of each name what its newest record is, and which records before it are kept.
# ``data`` is NULL where a payload is large: then ``payload`` says which it is, and equal ones are kept once.
_SCHEMA = """
CREATE TABLE state (closed INTEGER NOT NULL);
INSERT INTO state VALUES (1);
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    metadata BLOB,
    created_at REAL NOT NULL,
    ttl REAL NOT NULL,
    expires_at REAL NOT NULL,
    expires_by REAL NOT NULL,
    floor INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    names INTEGER NOT NULL DEFAULT 0,
    live INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX session_owner ON session (owner, created_at);
CREATE INDEX session_end ON session (expires_at);
CREATE TABLE variable (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES session ON DELETE CASCADE,
    name TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    oldest INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    gone INTEGER NOT NULL DEFAULT 0,
    expires_at REAL,
    UNIQUE (session, name)
);
CREATE INDEX variable_end ON variable (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE payload (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES session ON DELETE CASCADE,
    digest BLOB NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (session, digest)
);
CREATE TABLE record (
    variable INTEGER NOT NULL REFERENCES variable ON DELETE CASCADE,
    version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    size INTEGER NOT NULL,
    length INTEGER NOT NULL,
    payload INTEGER REFERENCES payload,
    kind INTEGER NOT NULL,
    type TEXT NOT NULL,
    constraints BLOB,
    metadata BLOB,
    changed_by TEXT NOT NULL,
    updated_at REAL NOT NULL,
    expires_at REAL,
    data BLOB,
    PRIMARY KEY (variable, version)
) WITHOUT ROWID;
CREATE INDEX record_payload ON record (payload) WHERE payload IS NOT NULL;
"""


class DatabaseFile:
    """An open file that is ours alone. Belongs to the thread that opened it."""

    def __init__(self, connection: sqlite3.Connection, lock: int) -> None:
        self.connection = connection
        self._lock = lock

    def close(self) -> None:
        """Moves the write-ahead log into the file, if that can be done, and lets go of both."""
        try:
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # nothing is lost: it is done when the file is opened again
        finally:
            self.connection.close()
            os.close(self._lock)


def open_file(path: Path, synchronous: str) -> DatabaseFile:
    """Takes a file and makes it if it is not there.

    Args:
        path: of the file; its folder must be there.
        synchronous: ``NORMAL``: a crash of the machine may lose the last commits, a crash of the process none;
            ``FULL``: every commit waits for the disk (sqlite.org/pragma.html#pragma_synchronous).

    Raises:
        BridgeError: FAILED_PRECONDITION, reason ``STORE_IN_USE``, ``STORE_PATH``, ``STORE_VERSION`` or
            ``STORE_DAMAGED``.
    """
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        need = ".".join(map(str, MIN_SQLITE))
        message = f"this Python has SQLite {sqlite3.sqlite_version}: use one with SQLite {need} or later"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="STORE_VERSION")
    try:
        path = path.resolve()  # one file, one lock, by whatever links it is reached
        if path.exists() and not path.is_file():
            raise _refusal(path, "is not a plain file; name another", "STORE_PATH")
        lock = _take_lock(path)
    except OSError as error:
        raise _bad_path(path, error) from error
    try:
        _make_private(path)
        return DatabaseFile(_connect(path, synchronous), lock)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, OSError):
            raise _bad_path(path, error) from error
        raise


def _refusal(path: Path, problem: str, reason: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, f"sqlite store {path}: {problem}", reason=reason)


def _bad_path(path: Path, error: OSError) -> BridgeError:
    if isinstance(error, FileNotFoundError):
        return _refusal(path, f"there is no folder {path.parent}; make it, or name another file", "STORE_PATH")
    return _refusal(path, f"{error.filename or path}: {error.strerror}; name a file you may write", "STORE_PATH")


def _take_lock(path: Path) -> int:
    """An exclusive lock, which the kernel drops when the process dies, however it dies."""
    lock_path = path.with_name(path.name + ".lock")
    # O_NONBLOCK: opening a FIFO that somebody left there must not wait.
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            raise _refusal(path, f"{lock_path} is not a plain file; remove it", "STORE_PATH")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        os.close(lock)
        who = f"process {holder}" if holder.isdigit() else "a live process"
        problem = f"{who} holds {lock_path}; stop that host, or give each host a file of its own"
        raise _refusal(path, problem, "STORE_IN_USE") from error
    except BaseException:
        os.close(lock)
        raise
    return lock


def _make_private(path: Path) -> None:
    """SQLite makes files that others may read; those it puts beside this one get the same mode as this one."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        # Looked at before anything is written to it: it may be somebody else's.
        is_empty = _check_kind(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        if is_empty:
            _create(connection)
        else:
            _compact(connection)
        _recover(connection)
    except sqlite3.Error as error:
        connection.close()
        raise _bad_database(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _bad_database(path: Path, error: sqlite3.Error) -> BridgeError:
    if isinstance(error, sqlite3.OperationalError):
        return _refusal(
            path, f"cannot be opened: {error}; see that its disk has room and it may be written", "STORE_PATH"
        )
    problem = f"{error}: it is damaged or not a database; put back a copy of it, or move it away to begin anew"
    return _refusal(path, problem, "STORE_DAMAGED")


def _check_kind(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether there is nothing in the file yet; refuses what is not ours."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not tables and not application:
        return True
    if application != APPLICATION_ID:
        raise _refusal(path, "is a database of another program; name another file", "STORE_PATH")
    if version > SCHEMA_VERSION:
        problem = f"was written by a later version (layout {version}, this one knows {SCHEMA_VERSION}); upgrade"
        raise _refusal(path, problem, "STORE_VERSION")
    return False


def _create(connection: sqlite3.Connection) -> None:
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
    connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}{marks}COMMIT;")


def _compact(connection: sqlite3.Connection) -> None:
    """Room that was freed is used again, so a file does not shrink while it is open."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if free > COMPACT_PAGES and free > pages - free:
        try:
            connection.execute("VACUUM")
        except sqlite3.OperationalError:
            pass  # it needs room of its own on the disk; the file is as good as before


def _recover(connection: sqlite3.Connection) -> None:
    """If the file was not closed, sessions may have been used since they were written down."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE session SET expires_at = expires_by WHERE (SELECT NOT closed FROM state)")
    connection.execute("UPDATE state SET closed = 0")
    connection.execute("COMMIT")
