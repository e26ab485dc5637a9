"""Where a worker listens. A pool connects to ``localhost``, which is 127.0.0.1 or [::1]: so it is both, on one port."""

from __future__ import annotations

import socket

from bridge.errors import BridgeError, Code

__all__ = ["addresses"]

TRIES = 100
"""Ports that are tried until one is free for both."""


def addresses(port: int) -> tuple[str, ...]:
    """What to listen on: one port of 127.0.0.1 and, on a machine that has it, of [::1].

    Args:
        port: which one; 0: one that is free at the moment.

    Raises ``BridgeError`` RESOURCE_EXHAUSTED, reason ``ADDRESS_IN_USE``, if none is.
    """
    families = {"127.0.0.1": socket.AF_INET}
    if _is_free("::1", socket.AF_INET6, 0):
        families["[::1]"] = socket.AF_INET6
    port = port or _free_port("[::1]" in families)
    return tuple(f"{host}:{port}" for host in families)


def _free_port(both: bool) -> int:
    for _ in range(TRIES):
        with socket.socket() as first:
            try:
                first.bind(("127.0.0.1", 0))
            except OSError:
                break
            port: int = first.getsockname()[1]
            if not both or _is_free("::1", socket.AF_INET6, port):
                return port
    message = "there is no free port on 127.0.0.1 and [::1]: look for what has opened so many"
    raise BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="ADDRESS_IN_USE")


def _is_free(host: str, family: int, port: int) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.bind((host, port))
    except OSError:
        return False
    return True
