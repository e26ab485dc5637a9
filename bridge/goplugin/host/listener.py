"""Who listens where a plugin is said to."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

from bridge.errors import BridgeError, Code
from bridge.goplugin.transport.outlet import to_socket

__all__ = ["check_listener", "find_listener"]

_CREDENTIALS = struct.Struct("3i")
"""``struct ucred`` of unix(7): process, user, group."""


async def find_listener(network: str, address: str) -> int | None:
    """Connects, and lets go at once. A plugin listens before it says where, so who is not there will not come.

    Args:
        network: ``unix`` or ``tcp``.
        address: path of a socket, or ``host:port``.

    Returns:
        The process that listens; ``None`` if the kernel does not tell: with TCP, or from outside of a container.

    Raises ``BridgeError`` as ``to_socket`` and connecting by it.
    """
    transport = await to_socket(network, address, None)(asyncio.Protocol)
    try:
        connected = transport.get_extra_info("socket")
        if network != "unix" or not hasattr(socket, "SO_PEERCRED"):
            return None
        pid, _, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return int(pid) or None
    finally:
        transport.abort()


def check_listener(found: int | None, expected: int) -> None:
    """Whether a process may be taken for the plugin: it listens, or somebody of its process group, as of a wrapper.

    What is killed by a number must be what was meant. Raises ``BridgeError`` NOT_FOUND, reason ``PLUGIN_NOT_RUNNING``.

    Args:
        found: who listens, as ``find_listener`` says.
        expected: the plugin's process, which runs.
    """
    if found in (None, expected):
        return
    try:
        if os.getpgid(found) == os.getpgid(expected):
            return
    except ProcessLookupError:
        pass
    message = (
        f"reattachment process not found: not process {expected} answers there, but {found}; take what the plugin that "
        "runs has given for reattaching"
    )
    raise BridgeError(Code.NOT_FOUND, message, reason="PLUGIN_NOT_RUNNING")
