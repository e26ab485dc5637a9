"""Who wants to know of changes, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge.stores.base import Signal, Wake

__all__ = ["Listeners"]


class Listeners:
    """The listeners of a store, by session. Belongs to one event loop."""

    __slots__ = ("_by_session",)

    def __init__(self) -> None:
        self._by_session: dict[str, list[Wake]] = {}

    @asynccontextmanager
    async def subscribe(self, session_id: str, wake: Wake) -> AsyncIterator[None]:
        """Keeps a listener as long as the block runs."""
        listeners = self._by_session.setdefault(session_id, [])
        listeners.append(wake)
        try:
            yield
        finally:
            listeners.remove(wake)
            if not listeners:
                del self._by_session[session_id]

    def tell(self, session_id: str, signal: Signal) -> None:
        """Tells those who listen to a session."""
        listeners = self._by_session.get(session_id)
        if listeners is not None:
            for wake in tuple(listeners):  # a copy: a listener may leave while it is told
                wake(signal)

    def tell_all(self, signal: Signal) -> None:
        """Tells everybody."""
        for session_id in tuple(self._by_session):
            self.tell(session_id, signal)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._by_session
