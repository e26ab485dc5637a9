"""JSON-RPC over the stdin and stdout of this process.

They are taken before any code of users is imported: whatever that prints, from Python, C or a child process, goes to
stderr, and whatever it reads is empty.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.lossy_output import lossy_stream
from bridge.jsonrpc.pipe_transport import connect_pipes
from bridge.parent_watch import ParentWatch

__all__ = ["Stdio", "connect_stdio", "serve_stdio"]

EOF_GRACE = 0.2
"""Seconds in which what was asked before stdin ended is still answered: ``echo REQUEST | bridge stdio ADAPTER``."""
END_TIMEOUT = 0.5
"""Seconds that requests have to end after they were cancelled."""
ORPHAN_LIMIT = 5.0
"""Seconds after which a process without its host ends, whatever it is busy with."""
ORPHAN_EXIT = 1
"""The exit code then."""


class Stdio:
    """The stdin and stdout that this process was started with. Made by ``take``.

    Args:
        stdin: a descriptor.
        stdout: another one.
        host: tells of the end of the process on the other side.
    """

    def __init__(self, stdin: int, stdout: int, host: ParentWatch) -> None:
        self.stdin, self.stdout, self.host = stdin, stdout, host

    @classmethod
    def take(cls) -> Stdio:
        """Takes them, once, at the start of a process. Descriptor 0 is empty then, and 1 is stderr.

        From here on the process does not outlive its host by more than ``host.limit``. What Python prints never waits
        for a host that does not read stderr, as ``lossy_output`` says.

        Raises:
            BridgeError: FAILED_PRECONDITION, reason ``NO_STDIO``, if one of them is closed.
        """
        if not _is_open(2):  # first of all, so that nothing else gets its number
            _redirect(2, os.O_WRONLY)
        if not (_is_open(0) and _is_open(1)):
            message = "stdin or stdout is closed; start this from a program that talks to it through pipes"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="NO_STDIO")
        if sys.stdout is not None:
            sys.stdout.flush()
        stdin, stdout = _own(0, os.O_RDONLY), _own(1, os.O_WRONLY)
        _redirect(0, os.O_RDONLY)
        os.dup2(2, 1)
        sys.stdout, sys.stderr = lossy_stream(2), lossy_stream(2)
        watched = os.dup(stdin) if stat.S_ISFIFO(os.fstat(stdin).st_mode) or _is_socket(stdin) else None
        return cls(stdin, stdout, ParentWatch(watched, reads=False, limit=ORPHAN_LIMIT, end=_end))

    @property
    def is_one_socket(self) -> bool:
        """Whether both are the same socket, as sshd and inetd have it."""
        return _is_socket(self.stdin) and os.path.sameopenfile(self.stdin, self.stdout)


async def connect_stdio(make: Callable[[], Connection], stdio: Stdio) -> Connection:
    """A connection over stdin and stdout, which it closes at its end: when stdin ends, or when stdout is closed.

    Args:
        make: makes it.
        stdio: both.
    """
    connection = make()
    connection.eof_grace = EOF_GRACE
    loop = asyncio.get_running_loop()
    if stdio.is_one_socket:
        os.close(stdio.stdout)
        await loop.connect_accepted_socket(lambda: connection, socket.socket(fileno=stdio.stdin))
    else:
        await connect_pipes(connection, stdio.stdin, stdio.stdout)

    def on_gone() -> None:
        with suppress(RuntimeError):  # the loop is closed: it stops anyway
            loop.call_soon_threadsafe(connection.close)

    stdio.host.tell(on_gone)
    return connection


async def serve_stdio(make: Callable[[], Connection], stdio: Stdio) -> bool:
    """Serves stdin and stdout to their end, or until cancelled; returns whether all requests have ended.

    Args:
        make: makes the connection.
        stdio: both.
    """
    connection = await connect_stdio(make, stdio)
    try:
        await asyncio.wait([connection.lost])
    finally:
        connection.close()
    await asyncio.wait([connection.ended], timeout=END_TIMEOUT)
    return connection.ended.done()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _is_socket(fd: int) -> bool:
    return stat.S_ISSOCK(os.fstat(fd).st_mode)


def _own(fd: int, flags: int) -> int:
    """What a descriptor stands for, under another number that no child inherits.

    Opened once more, if that is possible, as the event loop will make it non-blocking, and whoever shares it, as stderr
    shares a terminal with stdin, would be surprised by that.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with suppress(OSError):  # it belongs to another user, or nobody reads it any more
            return os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY)
    return os.dup(fd)


def _redirect(fd: int, flags: int) -> None:
    nothing = os.open(os.devnull, flags)
    if nothing != fd:
        os.dup2(nothing, fd)
        os.close(nothing)


def _end() -> None:
    os._exit(ORPHAN_EXIT)
