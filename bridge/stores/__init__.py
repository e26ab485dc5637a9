"""Stores by their addresses: ``memory``, ``sqlite:PATH``, ``redis://HOST:PORT/DB``."""

from __future__ import annotations

import re

from bridge.errors import BridgeError, Code
from bridge.stores.base import Store

__all__ = ["check_store_url", "make_store", "without_password"]

# SQLite's name for a database in memory would be the name of a file here.
_SQLITE = re.compile(
    r"sqlite:(?://)?(?!:memory:)(?P<path>[^?]+)(?:\?synchronous=(?P<synchronous>normal|full))?", re.DOTALL
)
_REDIS = re.compile(r"(?:rediss?|unix)://\S+")
# All up to the last @, as a password that is not written as %XX may hold anything, and may be all there is.
_PASSWORD = re.compile(r"(?<=://).*(?=@)|(?<=[?&]password=)[^&]+", re.DOTALL | re.IGNORECASE)

_FORMS = "memory, sqlite:PATH (sqlite:PATH?synchronous=full to survive a loss of power), or redis://HOST:PORT/DB"


def without_password(url: str) -> str:
    """An address as it may be shown."""
    return url if url.startswith("sqlite:") else _PASSWORD.sub("***", url)


def check_store_url(url: str) -> str | None:
    """What is wrong with a store's address; ``None``: nothing."""
    if url == "memory" or _SQLITE.fullmatch(url) or _REDIS.fullmatch(url):
        return None
    return f"a store is {_FORMS}"


def make_store(url: str) -> Store:
    """The store an address means, not open yet.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``CONFIG``.
    """
    # What is not used is not imported: a host in memory needs neither a database nor a client for one.
    if url == "memory":
        from bridge.stores.memory import MemoryStore

        return MemoryStore()
    if sqlite := _SQLITE.fullmatch(url):
        from bridge.stores.sqlite import SqliteStore

        return SqliteStore(sqlite["path"], synchronous=sqlite["synchronous"] or "normal")
    if _REDIS.fullmatch(url):
        from bridge.stores.redis import RedisStore

        return RedisStore(url)
    raise BridgeError(
        Code.INVALID_ARGUMENT, f"store {without_password(url)[:200]!r}: {check_store_url(url)}", reason="CONFIG"
    )
