"""How a server is reached: what all ways have in common, and the one to a socket where it listens."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path
from typing import Protocol

from bridge.errors import BridgeError, Code, ErrorDetails, invalid_argument
from bridge.jsonrpc.connection import Connection
from bridge.listeners import JSONRPC_SOCKET, UnixAddress, default_socket, parse_address

__all__ = ["SocketWay", "Way", "dial", "join", "socket_path"]

_BUSY_FOR = 0.05
"""Seconds after which it is worth asking again a server that accepts nobody at the moment."""
_CREDENTIALS = struct.Struct("3i")
"""``struct ucred``: process, user, group (unix(7), SO_PEERCRED)."""


class Way(Protocol):
    """How a server is reached, as often as it takes."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    async def open(self, connection: Connection) -> None:
        """Connects. Raises ``BridgeError``: UNAVAILABLE if it is worth trying again."""

    async def epitaph(self) -> str:
        """What is known of the end of the last connection; may be empty."""

    async def close(self) -> None:
        """Ends what the connections, which are closed, needed."""


class SocketWay:
    """The way to a server that somebody else runs.

    Args:
        address: ``unix:/path``, or ``unix:`` for the socket of the user's own.
    """

    def __init__(self, address: str) -> None:
        self._path = socket_path(address)

    @property
    def name(self) -> str:
        """The address in full."""
        return f"unix:{self._path}"

    async def open(self, connection: Connection) -> None:
        """Connects; errors as ``dial``."""
        await join(dial(self._path), connection)

    async def epitaph(self) -> str:
        """Nothing: who runs the server knows more."""
        return ""

    async def close(self) -> None:
        """Nothing is left to end."""


def socket_path(address: str) -> Path:
    """The path of an address. Raises ``BridgeError`` INVALID_ARGUMENT, reason ``ADDRESS``, if it is of no socket."""
    if address == "unix:":
        return default_socket(os.environ, JSONRPC_SOCKET)
    found = parse_address(address)
    if not isinstance(found, UnixAddress):
        raise invalid_argument("address", "JSON-RPC is spoken at Unix sockets: unix:/path", reason="ADDRESS")
    return found.path


def dial(path: Path) -> socket.socket:
    """A connected socket. Does not wait: Unix sockets connect at once or not at all.

    Raises:
        BridgeError: UNAVAILABLE, reason ``NO_SERVER`` (nobody listens) or ``SERVER_BUSY`` (it accepts nobody at the
            moment); PERMISSION_DENIED, reason ``ADDRESS``, if the path or the server is another user's;
            INVALID_ARGUMENT, reason ``ADDRESS``, for what can be no socket.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(str(path))
        _check_owner(sock, path)
    except OSError as error:
        sock.close()
        raise _not_reached(path, error) from error
    except BaseException:
        sock.close()
        raise
    return sock


async def join(sock: socket.socket, connection: Connection) -> None:
    """Lets a connection talk by a connected socket."""
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=sock)
    except BaseException:
        sock.close()
        raise


def _check_owner(sock: socket.socket, path: Path) -> None:
    """What is said to another user's server might be meant for ours: anybody can listen in a folder like ``/tmp``."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    if user not in (os.geteuid(), 0):
        message = f"unix:{path} is served by user {user}: use a socket of your own, or of root"
        raise BridgeError(Code.PERMISSION_DENIED, message, reason="ADDRESS")


def _not_reached(path: Path, error: OSError) -> BridgeError:
    name = f"unix:{path}"
    if isinstance(error, BlockingIOError):
        message = f"the server at {name} accepts no connection at the moment; try again"
        return BridgeError(Code.UNAVAILABLE, message, reason="SERVER_BUSY", details=ErrorDetails(retry_after=_BUSY_FOR))
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError, ConnectionResetError)):
        message = f"nobody listens at {name}: start the server there (bridge serve ADAPTER --jsonrpc {name})"
        return BridgeError(Code.UNAVAILABLE, message, reason="NO_SERVER")
    if isinstance(error, PermissionError):
        message = f"this user may not connect to {name}; the server has to be started by the same user"
        return BridgeError(Code.PERMISSION_DENIED, message, reason="ADDRESS")
    return invalid_argument("address", f"{name} is no socket to connect to ({error.strerror})", reason="ADDRESS")
