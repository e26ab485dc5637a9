"""The stream in which two brokers talk to each other."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final

from bridge.engines.base import DuplexChannel, Method, ServerCall
from bridge.errors import BridgeError, Code
from bridge.goplugin.brokering.failures import broker_closed
from bridge.goplugin.brokering.wire import START_STREAM, ConnInfo

__all__ = ["Conversation"]

log = logging.getLogger("bridge.goplugin.broker")

_UNSENT: Final = 256
"""Messages that wait to be sent, above which no more are read: some of those that come cause answers."""

_LAST_WRITE: Final = 0.5
"""Seconds in which the other side has to take the message that is being sent at the end of a stream."""


class _Link:
    """One stream: what is to be sent in it."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._more, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self.closed = asyncio.Event()
        self.replaced = False

    def put(self, message: bytes) -> None:
        """Sends a message, some time."""
        self._messages.append(message)
        self._more.set()
        if len(self._messages) > _UNSENT:
            self._room.clear()

    async def room(self) -> None:
        """Returns when not too many wait to be sent."""
        await self._room.wait()

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """What is to be sent, until the end."""
        while not self.closed.is_set():
            while self._messages:
                yield self._messages.popleft()
                if len(self._messages) <= _UNSENT:
                    self._room.set()
            self._more.clear()
            await self._more.wait()

    def close(self) -> None:
        """Ends the stream."""
        self.closed.set()
        self._more.set()


class Conversation:
    """Keeps a stream to the other side's broker. A plugin may be left by one host and found by the next, who then is
    the one it talks to; a host has one plugin, and only one stream.

    Args:
        hear: called with each message.
        gone: called when the other side is not there any more.
    """

    def __init__(self, hear: Callable[[ConnInfo], None], gone: Callable[[], None]) -> None:
        self._hear, self._gone = hear, gone
        self._link: _Link | None = None
        self._arrived = asyncio.Event()
        """Set while there is a link, and for ever after the end."""
        self.closed = False
        """Whether there will be no more streams."""

    def methods(self) -> list[Method]:
        """The plugin's side: the host opens the stream."""
        return [Method(START_STREAM, duplex=self._answer, public=True)]

    async def _answer(self, call: ServerCall, requests: AsyncIterator[bytes]) -> None:
        if self.closed:
            raise broker_closed()
        link = self._connect()
        try:
            await _first_to_end(link.closed.wait(), self._send_all(link, call), self._listen(link, requests))
        finally:
            self._disconnect(link)
        if link.replaced:
            message = "broker closed: another host has taken over; disconnect, or reattach"
            raise BridgeError(Code.ABORTED, message, reason="BROKER_TAKEN_OVER")

    async def run(self, channel: DuplexChannel) -> None:
        """The host's side: opens the stream, and returns when it is over. There is none after it.

        The other side may be without a broker, and then all else still works: failures only go to the log.
        """
        if self.closed:
            return
        # Headers are not waited for: in Go they come with the first message, and there may never be one.
        link = self._connect()
        try:
            async with aclosing(channel.duplex(START_STREAM, link.messages())) as answers:
                await _first_to_end(link.closed.wait(), self._listen(link, answers))
        except BridgeError as error:
            log.debug("the broker's stream has ended: %s", error)
        finally:
            self.close()

    async def send(self, info: ConnInfo) -> None:
        """Sends a message; waits for a stream. Bound it by ``asyncio.timeout``. Raises ``BridgeError`` UNAVAILABLE
        ``BROKER_CLOSED`` at the end."""
        while self._link is None:
            if self.closed:
                raise broker_closed()
            await self._arrived.wait()
        self._link.put(info.encode())

    def reply(self, infos: list[ConnInfo]) -> None:
        """Sends messages, if the other side is still there."""
        for info in infos:
            if self._link is not None:
                self._link.put(info.encode())

    def close(self) -> None:
        """Ends the stream; there will be no other."""
        self.closed = True
        if self._link is not None:
            self._disconnect(self._link)
        self._arrived.set()

    def _connect(self) -> _Link:
        if self._link is not None:
            self._link.replaced = True
            self._disconnect(self._link)
        link = self._link = _Link()
        self._arrived.set()
        return link

    def _disconnect(self, link: _Link) -> None:
        link.close()
        if self._link is link:
            self._link = None
            self._arrived.clear()
            self._gone()

    async def _listen(self, link: _Link, messages: AsyncIterator[bytes]) -> None:
        async for message in messages:
            if link.closed.is_set():
                return
            self._hear(ConnInfo.decode(message))
            await link.room()

    async def _send_all(self, link: _Link, call: ServerCall) -> None:
        async with aclosing(link.messages()) as messages:
            async for message in messages:
                await _whole(call.write(message))


async def _whole(write: Coroutine[Any, Any, None]) -> None:
    """Sends a message, and is cancelled when that has ended: gRPC takes no status while it sends one."""
    writing = asyncio.create_task(write)
    try:
        await asyncio.shield(writing)
    finally:
        await asyncio.wait((writing,), timeout=_LAST_WRITE)
        writing.cancel()  # nothing, most often
        await asyncio.gather(writing, return_exceptions=True)


async def _first_to_end(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Runs all until the first has ended. Raises what that does."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
