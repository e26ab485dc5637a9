"""Sessions and variables in a SQLite file."""

from bridge.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
