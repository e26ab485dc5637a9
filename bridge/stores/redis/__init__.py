"""Sessions and variables in Redis: several hosts share them, and they survive the hosts."""

from bridge.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
