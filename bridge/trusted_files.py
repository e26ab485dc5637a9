"""Files that decide what we do: who may change them, and who may read those that hold a secret.

What others can change is not read at all: they would decide in our place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from bridge.errors import BridgeError, Code

__all__ = ["MAX_FILE_BYTES", "alterable", "exposed", "read_text"]

MAX_FILE_BYTES = 1024 * 1024
"""No file that is read here is larger."""


def read_text(
    path: Path, what: str, *, reason: str, problem: Callable[[os.stat_result], str | None] | None = None
) -> tuple[str, os.stat_result]:
    """Text of a small file, and its status at the moment of reading.

    Args:
        path: the file.
        what: what it has to be, for messages.
        reason: of the errors.
        problem: what is wrong with its status: ``alterable``, ``exposed``, or nothing that could be.

    Raises:
        BridgeError: INVALID_ARGUMENT.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for somebody to write.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _bad(path, f"is no plain file; it has to be {what}", reason)
            if problem is not None and (text := problem(status)):
                raise _bad(path, f"{what} {text}", reason)
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _bad(path, f"cannot read {what}: {error.strerror}", reason) from error
    if len(content) > MAX_FILE_BYTES:
        raise _bad(path, f"has more than {MAX_FILE_BYTES} bytes; it has to be {what}", reason)
    try:
        return content.decode("utf-8"), status
    except UnicodeDecodeError as error:
        raise _bad(path, f"is not text; it has to be {what}", reason) from error


def exposed(status: os.stat_result) -> str | None:
    """What is wrong with a file that holds a secret; ``None``: nothing.

    It may belong to us or to root. The group may read it only if it is root's: that is how orchestrators and
    distributions hand a key to a service that is not root.
    """
    lent_by_root = status.st_uid == 0 and os.geteuid() != 0
    if problem := _owner(status):
        return problem
    if status.st_mode & (0o027 if lent_by_root else 0o077):
        return f"is open to other users (mode {_mode(status)}); `chmod 600` it"
    return None


def alterable(status: os.stat_result) -> str | None:
    """What is wrong with a file or a folder that decides what runs; ``None``: nothing. It may belong to us or to root,
    and nobody else may write it."""
    if problem := _owner(status):
        return problem
    if status.st_mode & 0o022:
        return f"can be changed by other users (mode {_mode(status)}); `chmod go-w` it"
    return None


def _owner(status: os.stat_result) -> str | None:
    if status.st_uid in (0, os.geteuid()):
        return None
    return f"belongs to user {status.st_uid}, who could change it; `chown` it"


def _mode(status: os.stat_result) -> str:
    return f"{status.st_mode & 0o777:04o}"


def _bad(path: Path, problem: str, reason: str) -> BridgeError:
    return BridgeError(Code.INVALID_ARGUMENT, f"{path}: {problem}", reason=reason)
