"""The files of a sqlite store, as others see them. Plain functions, for tests that are not."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["ask", "content", "crashed", "modes", "put", "size", "statements", "wal"]


def ask(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Reads the file as somebody else does."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def content(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def size(path: Path) -> int:
    return path.stat().st_size


def modes(folder: Path) -> dict[str, int]:
    """Who may do what with the files in a folder."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def wal(path: Path) -> Path:
    """The write-ahead log of a store."""
    return path.with_name(f"{path.name}-wal")


def crashed(path: Path, name: str = "crashed") -> Path:
    """The files as they are at this moment, which is what a host that is killed leaves."""
    left = path.with_name(name)
    shutil.copy(path, left)
    shutil.copy(wal(path), wal(left))
    return left


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What stores that are opened meanwhile tell SQLite to do."""
    seen: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.set_trace_callback(seen.append)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", traced)
        yield seen
