"""Whether a Redis server is one to keep sessions in."""

from __future__ import annotations

import logging

from bridge.errors import BridgeError, Code

__all__ = ["check_server", "unsuitable"]

_log = logging.getLogger("bridge.stores")

_OLDEST = (6, 2)
"""ZADD with LT is of Redis 6.2."""


def unsuitable(message: str) -> BridgeError:
    """The store cannot be opened as things are: FAILED_PRECONDITION, reason ``STORE_REFUSED``."""
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="STORE_REFUSED")


def check_server(info: bytes, shown: str) -> int:
    """Reads what INFO says; returns the bytes that the server may use, 0 for all there are.

    Raises:
        BridgeError: see ``unsuitable``.
    """
    facts = dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)
    version = facts.get("redis_version", "0.0")
    if _numbers(version) < _OLDEST:
        raise unsuitable(f"Redis at {shown} is version {version}: the store needs 6.2 or later")
    if facts.get("cluster_enabled") == "1":
        raise unsuitable(f"Redis at {shown} is part of a cluster: the store needs a server of its own")
    if facts.get("role") == "slave":
        raise unsuitable(f"Redis at {shown} is a replica and takes no writes: give the address of the primary")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys"):
        _log.warning(
            "Redis at %s has maxmemory-policy %s: when its memory is full it throws away sessions or parts of them; "
            "set it to noeviction",
            shown,
            policy,
        )
    return int(facts.get("maxmemory", 0))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))
