"""Who listens to which session, told by Redis: what any host commits wakes the listeners of all.

There is one connection for all listeners of a store. A session's channel is subscribed to while somebody listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bridge.stores.base import Signal, Wake
from bridge.stores.listeners import Listeners
from bridge.stores.redis.failures import Refusal, refused
from bridge.stores.redis.link import Lane, Link, seen

__all__ = ["Channels"]

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
"""Seconds between two tries to come back to listeners after the connection broke."""


_SIGNALS = {signal.value.encode(): signal for signal in Signal}


class Channels:
    """The listeners of a store.

    Args:
        link: a way to Redis that nobody else uses: a connection that subscribes can do little else.
        shown: where it leads to, for errors.
        prefix: what the channels' names begin with; a session's id follows.
    """

    def __init__(self, link: Link, shown: str, prefix: str) -> None:
        self._link = link
        self._shown = shown
        self._prefix = prefix
        self._listeners = Listeners()
        self._lane: Lane | None = None
        self._subscribed: dict[str, asyncio.Future[Any]] = {}
        """By session, done when Redis says that the lane has subscribed to it."""
        self._cut_off: set[str] = set()
        """Sessions whose listeners the lane was lost to."""
        self._return: asyncio.Task[None] | None = None
        self._is_closed = False

    @asynccontextmanager
    async def subscribe(self, session_id: str, wake: Wake) -> AsyncIterator[None]:
        """Keeps a listener as long as the block runs, which begins when Redis says that it is subscribed. Raises
        UNAVAILABLE."""
        try:
            async with self._listeners.subscribe(session_id, wake):
                await self._subscribe(session_id)
                yield
        finally:
            if session_id not in self._listeners:
                subscribed = self._subscribed.pop(session_id, None)
                if subscribed is not None and self._lane is not None:
                    self._lane.post(("UNSUBSCRIBE", self._prefix + session_id))

    async def aclose(self) -> None:
        """Tells nobody anything any more."""
        self._is_closed = True
        if self._return is not None:
            self._return.cancel()
            await asyncio.gather(self._return, return_exceptions=True)
        await self._link.aclose()

    async def _subscribe(self, session_id: str) -> None:
        lane = await self._link.lane()
        if lane is not self._lane:
            self._cut_off.update(self._subscribed)
            self._subscribed.clear()
            self._lane = lane
            lane.on_message = self._tell
            lane.task.add_done_callback(self._lost)
        subscribed = self._subscribed.get(session_id)
        if subscribed is None:
            subscribed = self._subscribed[session_id] = lane.ask(("SUBSCRIBE", self._prefix + session_id))
            subscribed.add_done_callback(seen)
        try:
            await asyncio.shield(subscribed)
        except Refusal as refusal:
            self._subscribed.pop(session_id, None)
            raise refused(self._shown, refusal) from None

    def _tell(self, message: list[Any]) -> None:
        kind, channel, content = message
        if kind == b"message":
            session_id = channel[len(self._prefix.encode()) :].decode()
            self._listeners.tell(session_id, _SIGNALS.get(content, Signal.CHANGED))

    def _lost(self, _: asyncio.Task[None]) -> None:
        if self._lane is not None and self._lane.is_broken:
            self._cut_off.update(self._subscribed)
            self._subscribed.clear()
        if self._cut_off and not self._is_closed and (self._return is None or self._return.done()):
            self._return = asyncio.get_running_loop().create_task(self._come_back())

    async def _come_back(self) -> None:
        """Subscribes again for those who were cut off, and wakes them: nobody knows what they missed."""
        pause = _FIRST_PAUSE
        while self._cut_off:
            sessions = [session_id for session_id in self._cut_off if session_id in self._listeners]
            self._cut_off.clear()
            results = await asyncio.gather(*map(self._subscribe, sessions), return_exceptions=True)
            for session_id, result in zip(sessions, results, strict=True):
                if result is None:
                    self._listeners.tell(session_id, Signal.CHANGED)
                else:
                    self._cut_off.add(session_id)
            if self._cut_off:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
