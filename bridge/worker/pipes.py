"""What a process is given to talk to us, and to print to."""

from __future__ import annotations

import os
import socket

__all__ = ["open_pipes"]


def open_pipes(kind: int) -> tuple[socket.socket, socket.socket, int, int]:
    """Two sockets of a pair, and the read end and the write end of a pipe. Raises ``OSError`` if there is no room."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    try:
        return ours, theirs, *os.pipe()
    except OSError:
        ours.close()
        theirs.close()
        raise
