"""Without multiplexing: where the services of the other side answer, and who waits to hear of it. No I/O, no clock."""

from __future__ import annotations

from typing import Final

from bridge.goplugin.brokering.failures import used_twice
from bridge.goplugin.brokering.wire import ConnInfo

__all__ = ["Addresses"]

_KEPT: Final = 5.0
"""Seconds, as in Go."""


class Addresses:
    """Each address serves one dial: one that waits for it, or one that comes within five seconds. As in Go, a second
    one for an id is not taken while the first is kept.

    Args:
        limit: addresses that are kept for dials to come; more are not taken. Go has no limit.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._waiting: set[int] = set()
        self._kept: dict[int, tuple[float, ConnInfo]] = {}
        """With the times until which they are, the first first."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._kept)

    def expect(self, service_id: int, now: float) -> ConnInfo | None:
        """A dial begins. Returns the address if it is there, else the dial waits, until ``came`` or ``forget``.

        Raises ``BridgeError`` ALREADY_EXISTS if another one waits for this id.
        """
        self._drop_old(now)
        if service_id in self._waiting:
            raise used_twice(service_id)
        if (kept := self._kept.pop(service_id, None)) is not None:
            return kept[1]
        self._waiting.add(service_id)
        return None

    def forget(self, service_id: int) -> None:
        """The dial waits no more."""
        self._waiting.discard(service_id)

    def came(self, info: ConnInfo, now: float) -> bool:
        """The other side has said where a service answers. Returns whether a dial has waited for it."""
        self._drop_old(now)
        if info.service_id in self._waiting:
            self._waiting.remove(info.service_id)
            return True
        if len(self._kept) < self._limit:
            self._kept.setdefault(info.service_id, (now + _KEPT, info))
        return False

    def clear(self) -> None:
        """The other side is gone, and with it what it has offered. Who waits, waits on."""
        self._kept.clear()

    def _drop_old(self, now: float) -> None:
        while self._kept:
            service_id = next(iter(self._kept))
            if self._kept[service_id][0] > now:
                return
            del self._kept[service_id]
