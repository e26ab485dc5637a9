"""Whether a plugin's program is the one that somebody trusts."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from io import FileIO

import msgspec

from bridge.errors import BridgeError, Code

__all__ = ["SecureConfig", "open_program", "path_of_checked"]

_ELF = b"\x7fELF"


class SecureConfig(msgspec.Struct, frozen=True):
    """The checksum that a program must have to be run (``SecureConfig`` of go-plugin).

    Of ``python plugin.py`` the program is the interpreter; who wants to have the script checked makes it executable.

    A binary (ELF) is executed through the descriptor that was read, so that no other file can take its place after the
    check; its short name (``comm``) is then a number. A script is opened by its interpreter once more, by its name, and
    any file that is writable can be written to in between: a directory that only trusted users can write to is needed
    in any case.
    """

    checksum: bytes
    """As the hash gives it, not in hexadecimal."""
    hash: str = "sha256"
    """Name of a hash of ``hashlib``."""

    def check(self, program: FileIO) -> None:
        """Reads the program, which may take a while.

        Raises ``BridgeError`` FAILED_PRECONDITION, reason ``CHECKSUM``, with go-plugin's texts.
        """
        if not self.checksum:
            raise _unverified("no checksum provided")
        try:
            digest = hashlib.file_digest(program, self.hash).digest()
        except (TypeError, ValueError):  # unknown, or without a length of its own
            raise _unverified("no hash implementation provided: name one of hashlib.algorithms_available") from None
        except OSError as error:
            raise _unverified(error.strerror or "it cannot be read") from None
        if not hmac.compare_digest(digest, self.checksum):
            raise _failed("checksums did not match: the plugin's program is not the one that was promised")


def open_program(path: str) -> FileIO:
    """Opens a program to be checked. Raises ``BridgeError`` as ``SecureConfig.check`` does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would wait for a writer
    except OSError as error:
        raise _unverified(error.strerror or "it cannot be opened") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _unverified("it is not a file")
    return FileIO(fd)


def path_of_checked(program: FileIO) -> str | None:
    """A path by which exactly this open file can be executed, if its descriptor is passed on; ``None`` if that does
    not work, as for scripts: they would be told another name than their own."""
    path = f"/proc/self/fd/{program.fileno()}"
    if os.pread(program.fileno(), len(_ELF), 0) == _ELF and os.path.exists(path):  # noqa: PTH110 - not a file of ours
        return path
    return None


def _unverified(problem: str) -> BridgeError:
    return _failed(f"error verifying checksum: {problem}")


def _failed(message: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="CHECKSUM")
