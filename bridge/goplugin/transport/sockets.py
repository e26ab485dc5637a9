"""Where the sockets of a plugin lie, and who may connect to them."""

from __future__ import annotations

import os
import secrets
import socket
import stat
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bridge.errors import BridgeError, Code
from bridge.listeners import MAX_SOCKET_PATH, private_umask

__all__ = ["BACKLOG", "SocketPlace", "choose_port", "listen_tcp", "listen_unix"]

BACKLOG: Final = 128
"""Connections that the kernel keeps until they are accepted."""
_LOOPBACK: Final = "127.0.0.1"
_NAME: Final = "plugin"
"""How names of directories and sockets begin, as go-plugin's: who cleans up after a killed plugin knows them by it."""
_UNIQUE_BYTES: Final = 4


class SocketPlace:
    """Unix sockets of one process, and their removal.

    In a directory that the host has named they lie side by side with those of others: hosts that run plugins in
    containers expect them right there. Else they lie in a directory of their own under the one for temporary files. Who
    may connect: our own user (sockets 0600, directory 0700), and with a group its members (0660 and 0750), whatever the
    umask is.

    Args:
        directory: what the host has named (``PLUGIN_UNIX_SOCKET_DIR``); ``None``: an own one.
        group: name or number of a group (``PLUGIN_UNIX_SOCKET_GROUP``); empty: none.

    Raises ``BridgeError`` INVALID_ARGUMENT, reason ``SOCKET_GROUP``, for a group that does not exist.
    """

    def __init__(self, directory: Path | None = None, group: str = "") -> None:
        self._named = None if directory is None else directory.absolute()
        self._gid = _gid(group) if group else None
        self._own: Path | None = None
        self._private: Path | None = None
        self._made: list[Path] = []
        """Directories, and sockets in the one that the host has named; removed backwards."""
        # Also for a process that ends by sys.exit, as handlers of SIGTERM do, before anybody has called `close`.
        weakref.finalize(self, _remove, self._made, os.getpid())

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """The place that a host asks for. Raises as the class."""
        directory = environ.get("PLUGIN_UNIX_SOCKET_DIR", "")
        return cls(Path(directory) if directory else None, environ.get("PLUGIN_UNIX_SOCKET_GROUP", ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def private(self) -> Path:
        """A directory for sockets of this process alone, mode 0700 also with a group; made when first asked for.

        Raises ``BridgeError`` FAILED_PRECONDITION, reason ``SOCKET_DIRECTORY``.
        """
        if self._private is None:
            if self._named is not None:
                self._private = self._make_directory(self._named / _unique(_NAME), None)
            else:
                # Where whoever cleans up after a killed plugin finds it; short, as paths of sockets have to be.
                self._private = self._make_directory(self._own_directory() / _NAME, None)
        return self._private

    def new_socket(self, prefix: str = _NAME) -> Path:
        """A path that nobody has, for a socket that the other side connects to. ``listen`` there, or use ``binding``.

        Args:
            prefix: of its name.

        Raises ``BridgeError`` FAILED_PRECONDITION, reason ``SOCKET_DIRECTORY``, if no socket can be made, or none has a
        path that is short enough.
        """
        if self._named is not None:
            if not os.access(self._named, os.W_OK | os.X_OK):  # gRPC's own complaint names neither it nor a remedy
                raise _bad_directory(self._named, "takes no socket (it is not there, or not ours to write in)")
            return self._new_path(self._named, prefix)
        return self._new_path(self._own_directory(), prefix)

    def new_private_socket(self) -> Path:
        """The same in ``private``."""
        return self._new_path(self.private, "")

    def listen(self, path: Path) -> socket.socket:
        """A socket that listens at one of these paths, with its mode and group.

        Raises ``BridgeError`` PERMISSION_DENIED, reason ``SOCKET_GROUP``, if the group cannot be given to it;
        FAILED_PRECONDITION, reason ``SOCKET_DIRECTORY``.
        """
        return listen_unix(path, self._share)

    @contextmanager
    def binding(self, path: Path) -> Iterator[None]:
        """For an engine that listens by itself: ``with place.binding(path): engine.listen(f"unix:{path}")``. To be put
        around this one call, as the umask, which it sets, belongs to the whole process. Raises as ``listen``.
        """
        with private_umask():
            yield
        self._share(path)

    def close(self) -> None:
        """Removes all that was made here, and all sockets in directories that were. May be called again."""
        _remove(self._made, os.getpid())
        self._own = self._private = None

    def discard(self, path: Path) -> None:
        """Removes a socket before the end, if it is there."""
        path.unlink(missing_ok=True)
        if path in self._made:
            self._made.remove(path)

    def _new_path(self, directory: Path, prefix: str) -> Path:
        path = directory / _unique(prefix)
        _check_length(directory, path)
        if directory == self._named:  # what is in directories of ours goes with them
            self._made.append(path)
        return path

    def _own_directory(self) -> Path:
        if self._own is None:
            above = Path(os.environ.get("TMPDIR") or "/tmp").absolute()  # noqa: S108 - 0700 is made in it
            self._own = self._make_directory(above / _unique(_NAME), self._gid)
        return self._own

    def _make_directory(self, path: Path, gid: int | None) -> Path:
        above = path.parent
        _check_length(above, path / _unique(""))
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise _bad_directory(above, f"takes no directory ({error.strerror})") from error
        self._made.append(path)
        _give(path, gid, 0o700 if gid is None else 0o750)
        return path

    def _share(self, path: Path) -> None:
        gid = None if path.parent == self._private else self._gid
        _give(path, gid, 0o600 if gid is None else 0o660)


def listen_unix(path: Path, share: Callable[[Path], None] | None = None) -> socket.socket:
    """A socket that listens at a path where there is nothing.

    Args:
        path: of the socket.
        share: says who may connect, before anybody can; without it only our own user may (0600).

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``SOCKET_DIRECTORY``; or what ``share`` raises.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(os.fspath(path))
        (share or _keep)(path)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _bad_directory(path.parent, f"takes no socket ({error.strerror or error})") from error
    except BaseException:
        listening.close()
        raise
    return listening


def listen_tcp(host: str, port: int) -> socket.socket:
    """A socket that listens on a port, 0 for any.

    Raises ``BridgeError`` ALREADY_EXISTS, reason ``ADDRESS_IN_USE``, if somebody else is there, or ``host`` is no IP
    address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        message = f"cannot listen on port {port} of {host} ({error.strerror}); choose another, or 0 for any"
        raise BridgeError(Code.ALREADY_EXISTS, message, reason="ADDRESS_IN_USE") from error


def choose_port(low: int, high: int) -> socket.socket:
    """A socket that listens on the lowest free port of a range on 127.0.0.1, as go-plugin does on Windows.

    Args:
        low: first port; with ``high`` 0 as well: any port.
        high: last port.

    Raises ``BridgeError`` INVALID_ARGUMENT, reason ``PORT_RANGE``, for a range that is none; RESOURCE_EXHAUSTED, the
    same reason, if no port of it is free.
    """
    if not 0 <= low <= high <= 65535:
        message = "PLUGIN_MIN_PORT has to be at least 0 and at most PLUGIN_MAX_PORT, which is at most 65535"
        raise BridgeError(Code.INVALID_ARGUMENT, message, reason="PORT_RANGE")
    for port in range(low, high + 1):
        try:
            return listen_tcp(_LOOPBACK, port)
        except BridgeError:
            pass
    message = f"no port from {low} to {high} of {_LOOPBACK} is free; widen PLUGIN_MIN_PORT and PLUGIN_MAX_PORT"
    raise BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="PORT_RANGE")


def _keep(path: Path) -> None:
    path.chmod(0o600)


def _give(path: Path, gid: int | None, mode: int) -> None:
    """Sets group and mode, the latter last: nobody may come in before the group is right."""
    try:
        if gid is not None:
            os.chown(path, -1, gid, follow_symlinks=False)
    except OSError as error:
        message = (
            f"the group of sockets cannot be set ({error.strerror}); name one in PLUGIN_UNIX_SOCKET_GROUP that the "
            "user of this process belongs to"
        )
        raise BridgeError(Code.PERMISSION_DENIED, message, reason="SOCKET_GROUP") from error
    try:
        path.chmod(mode)
    except OSError as error:
        raise _bad_directory(path.parent, f"keeps no modes ({error.strerror})") from error


def _remove(made: list[Path], maker: int) -> None:
    if os.getpid() != maker:
        return  # a fork of the process that uses them
    while made:
        path = made.pop()
        try:
            if stat.S_ISDIR(path.lstat().st_mode):
                for left in path.iterdir():
                    left.unlink()
                path.rmdir()
            else:
                path.unlink()
        except OSError:
            pass  # it was never bound, or its server has removed it; or somebody has put a directory into ours


def _gid(group: str) -> int:
    if group.isascii() and group.isdigit():
        return int(group)
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        message = (
            "PLUGIN_UNIX_SOCKET_GROUP names no group of this machine; give one that `getent group` has, or a number"
        )
        raise BridgeError(Code.INVALID_ARGUMENT, message, reason="SOCKET_GROUP") from None


def _unique(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(_UNIQUE_BYTES)}"


def _check_length(directory: Path, path: Path) -> None:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        problem = f"is too long: the path of a socket in it would have more than {MAX_SOCKET_PATH} bytes"
        raise _bad_directory(directory, problem)


def _bad_directory(directory: Path, problem: str) -> BridgeError:
    message = (
        f"{directory} {problem}; name another directory in PLUGIN_UNIX_SOCKET_DIR, or in TMPDIR if that is not set"
    )
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="SOCKET_DIRECTORY")
