"""The host inside the process: what a server uses unless it is told of another one, and what tests use."""

from __future__ import annotations

from typing import Any

from bridge.hosts.sessions import SessionHost
from bridge.stores.memory import MemoryStore

__all__ = ["InMemoryHost"]


class InMemoryHost(SessionHost):
    """Sessions and variables in this process; they are gone when it ends.

    Args:
        options: as ``SessionHost``'s, but for the store.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(MemoryStore(), **options)
