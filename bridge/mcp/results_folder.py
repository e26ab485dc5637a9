"""A folder of this process's own for results, which the next server removes if this one cannot.

Its lock, on the folder itself, goes with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["ResultsFolder", "remove_leftovers"]

_PREFIX = "tool-bridge-results-"


class ResultsFolder:
    """A folder that only this user can look into, until ``close``. Raises ``OSError`` if there can be none."""

    def __init__(self) -> None:
        self.path, self._lock = _make()

    @property
    def is_there(self) -> bool:
        """Whether nobody has cleaned it away."""
        return _is(self.path, self._lock)

    def close(self) -> None:
        """Removes it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_leftovers() -> None:
    """Removes the folders of this user's servers that are gone."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with suppress(OSError):  # its server lives, or another one is removing it, or it is not ours
                    _remove(Path(entry.path))


def _make() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))  # mode 0700
        with suppress(BlockingIOError, FileNotFoundError):  # until it is locked it looks as if its server were gone
            lock = _locked(path)
            if _is(path, lock):
                return path, lock
            os.close(lock)


def _remove(path: Path) -> None:
    if path.lstat().st_uid != os.geteuid():
        return
    lock = _locked(path)
    try:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)


def _locked(path: Path) -> int:
    """A folder, locked. Raises ``OSError`` if somebody else has locked it, or it is none."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _is(path: Path, folder: int) -> bool:
    """Whether a path leads to the folder that was opened."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(folder))
    except FileNotFoundError:
        return False
