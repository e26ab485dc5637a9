"""The one connection of a client, made again when it was lost and is needed."""

from __future__ import annotations

import asyncio
import itertools
from random import random

from bridge.errors import BridgeError, Code
from bridge_client.backoff import Backoff
from bridge_client.jsonrpc.link import Hears, Link
from bridge_client.jsonrpc.ways import Way

__all__ = ["Line"]

_END_TIMEOUT = 1.0
"""Seconds that a connection has to end when the client is closed."""


class Line:
    """Keeps a connection.

    Args:
        way: leads to the server.
        hears: what is done with what comes.
        backoff: of trying again; ``None``: what is lost stays lost.
        patience: seconds for which it is tried again before those who wait are told.
    """

    def __init__(self, way: Way, hears: Hears, backoff: Backoff | None, patience: float) -> None:
        self.way = way
        self._hears, self._backoff, self._patience = hears, backoff, patience
        self._link: Link | None = None
        self._opening: asyncio.Task[Link] | None = None
        self.is_closed = False
        """Whether no connection will be made any more."""

    @property
    def link(self) -> Link | None:
        """The connection, if there is one that works."""
        link = self._link
        return link if link is not None and link.connection.is_open else None

    async def open(self) -> None:
        """Connects for the first time: tries it once."""
        self._link = await self._open()

    async def get(self) -> Link:
        """The connection; one is made if there is none.

        Raises ``BridgeError``: UNAVAILABLE if that fails for as long as it is tried, or was not wanted (reason
        ``CONNECTION_LOST``); FAILED_PRECONDITION, reason ``CLIENT_CLOSED``.
        """
        if (link := self.link) is not None:
            return link
        if self.is_closed:
            raise _closed()
        if self._backoff is None:
            raise await self.lost()
        if self._opening is None:
            self._opening = asyncio.create_task(self._reopen(self._backoff))
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        try:
            return await asyncio.shield(opening)  # others wait for it, too, so nobody's cancel ends it
        except asyncio.CancelledError:
            if opening.cancelled():
                raise _closed() from None
            raise

    async def lost(self, link: Link | None = None) -> BridgeError:
        """What is told to those who waited for an answer when the connection ended.

        Args:
            link: which one; by default the last.
        """
        link = link or self._link
        said = "" if link is None else link.connection.complaint
        why = [f"the server said: {said}" if said else "", await self.way.epitaph()]
        message = ": ".join(filter(None, [f"the connection to {self.way.name} is gone", "; ".join(filter(None, why))]))
        return BridgeError(Code.UNAVAILABLE, message, reason="CONNECTION_LOST")

    async def close(self) -> None:
        """Ends the connection and what it needed. Repeating it is harmless."""
        self.is_closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        link, self._link = self._link, None
        if link is not None:
            link.connection.close()
        await self.way.close()
        if link is not None:
            ended = link.connection.ended
            if not (await asyncio.wait((ended,), timeout=_END_TIMEOUT))[0]:
                link.connection.abort()

    def _opened(self, opening: asyncio.Task[Link]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._link = opening.result()

    async def _open(self) -> Link:
        link = Link(self._hears)
        try:
            await self.way.open(link.connection)
            await link.greet()
        except BaseException:
            link.connection.abort()
            await self.way.close()
            raise
        return link

    async def _reopen(self, backoff: Backoff) -> Link:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        for attempt in itertools.count(1):
            try:
                return await self._open()
            except BridgeError as error:
                wait = backoff.delay(attempt, random())  # noqa: S311 - no secret
                if error.code is not Code.UNAVAILABLE or loop.time() + wait > end:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError


def _closed() -> BridgeError:
    message = "the client is closed: make another one"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="CLIENT_CLOSED")
