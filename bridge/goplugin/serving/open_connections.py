"""Whether anybody is connected to an address of this process, as the kernel tells (proc(5), proc_pid_fd(5)).

It is the kernel that is asked, as an event loop that is blocked does not notice who hangs up.
"""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

__all__ = ["has_connections"]

_CONNECTING = b"02"
"""State of a Unix socket that waits to be accepted."""
_ESTABLISHED = b"01"
_NO_INODE = b"0"
"""Of a TCP connection that waits to be accepted."""


def has_connections(network: str, address: str) -> bool:
    """Whether the other end of a connection to a listening socket of this process is open; no, if the kernel does not
    tell. May be called from any thread.

    Args:
        network: ``unix`` or ``tcp``.
        address: path of the socket, or ``host:port`` on IPv4.
    """
    try:
        waits = _waits_unix(os.fsencode(address)) if network == "unix" else _waits_tcp(_port(address))
        return waits or any(_is_connection(int(fd.name), network, address) for fd in Path("/proc/self/fd").iterdir())
    except OSError:
        return False


def _is_connection(fd: int, network: str, address: str) -> bool:
    """Whether a descriptor is one that was accepted there, and whose other end is open."""
    try:
        found = socket.socket(fileno=fd)
    except OSError:
        return False  # it is no socket, or closed by now
    try:
        return _is_open(found, network, address)
    except OSError:
        return False
    finally:
        found.detach()  # it is somebody else's


def _is_open(found: socket.socket, network: str, address: str) -> bool:
    family, where = (
        (socket.AF_UNIX, address)
        if network == "unix"
        else (socket.AF_INET, (address.rpartition(":")[0], _port(address)))
    )
    if found.family != family or found.getsockname() != where:
        return False
    if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False  # the one that listens
    poll = select.poll()
    poll.register(found, select.POLLRDHUP)
    return not poll.poll(0)


def _waits_unix(path: bytes) -> bool:
    # Num RefCount Protocol Flags Type St Inode Path
    rows = (line.split(None, 7) for line in Path("/proc/net/unix").read_bytes().splitlines())
    return any(len(row) == 8 and row[7] == path and row[5] == _CONNECTING for row in rows)


def _waits_tcp(port: int) -> bool:
    # sl local_address rem_address st queues timer retransmits uid timeout inode …
    rows = (line.split(None, 10) for line in Path("/proc/net/tcp").read_bytes().splitlines()[1:])
    end = b":%04X" % port
    return any(row[1].endswith(end) and row[3] == _ESTABLISHED and row[9] == _NO_INODE for row in rows)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
