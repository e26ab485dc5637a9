"""The host inside the process: what a server uses unless it is told of another one, and what tests use."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from bridge.hosts.limits import HostLimits
from bridge.hosts.sessions import SessionHost
from bridge.hosts.tools import ToolRunner
from bridge.stores.memory import MemoryStore

__all__ = ["InMemoryHost"]


class InMemoryHost(SessionHost):
    """Sessions and variables in this process; they are gone when it ends.

    Args:
        tools: runs the host's own tools; ``None``: it has none.
        limits: what is kept at most.
        clock: seconds since the epoch.
        trusted_principals: who may use sessions of any owner.
    """

    def __init__(
        self,
        *,
        tools: ToolRunner | None = None,
        limits: HostLimits | None = None,
        clock: Callable[[], float] = time.time,
        trusted_principals: Collection[str] = (),
    ) -> None:
        super().__init__(MemoryStore(), tools=tools, limits=limits, clock=clock, trusted_principals=trusted_principals)
