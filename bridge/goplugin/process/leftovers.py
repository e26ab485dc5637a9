"""What a plugin leaves on disk when it is killed: sockets that nobody answers on, and the directory made for them."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

__all__ = ["remove_leftovers"]

_OWN_DIRECTORY = "plugin"
"""How the names of the directories begin that go-plugin and its likes make for sockets."""


def remove_leftovers(address: str | os.PathLike[str]) -> None:
    """Removes the socket of a plugin that has ended; and the directory that was made for it, with further sockets of it
    there and in such directories in it (those of its broker, and private ones as ours have), unless there is more.

    The address is the plugin's word, so nothing but dead sockets is ever removed: not a file, not a link, and no socket
    on which somebody still listens. Blocks no longer than the file system.

    Args:
        address: absolute path of the socket; anything else is left alone.
    """
    path = Path(address)
    try:
        if path.is_absolute() and _remove_dead(path) and _is_own(path.parent):
            for inner in path.parent.iterdir():
                if _is_own(inner):
                    _empty(inner)
            _empty(path.parent)
    except (OSError, ValueError):  # it is gone, is not ours, is no path; or the directory is in use
        pass


def _is_own(directory: Path) -> bool:
    return directory.name.startswith(_OWN_DIRECTORY) and stat.S_ISDIR(directory.lstat().st_mode)


def _empty(directory: Path) -> None:
    """Removes a directory if it holds nothing but dead sockets."""
    for path in directory.iterdir():
        _remove_dead(path)
    directory.rmdir()


def _remove_dead(path: Path) -> bool:
    """Removes a socket that nobody answers on; whether that is done."""
    if not stat.S_ISSOCK(path.lstat().st_mode) or _is_answered(path):
        return False
    path.unlink()
    return True


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except OSError:  # its queue is full, or it is not ours, or of another kind
            return True
    return True
