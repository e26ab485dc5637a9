"""The connections of an inlet or an outlet: accepted, joined each to another one, and ended."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from bridge.errors import BridgeError
from bridge.splice import Splice
from bridge.tls_failures import tls_failure

__all__ = ["MAX_CONNECTIONS", "Connections"]

log = logging.getLogger("bridge.goplugin")

MAX_CONNECTIONS: Final = 256
"""Accepted connections at a time, also those in their handshake. Others wait in the kernel."""
_PAUSE: Final = 0.5
"""Seconds without accepting when the process has no descriptors or memory left."""

Connecting = Callable[[], Awaitable[object]]


class Connections:
    """Made in a running event loop.

    Args:
        what: is connected, for the log.
        limit: accepted connections at a time.
    """

    def __init__(self, what: str, limit: int = MAX_CONNECTIONS) -> None:
        self.failure: BridgeError | None = None
        """Why the connection that was made last did not come about, or has broken; ``None`` if it has not."""
        self._what, self._limit = what, limit
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[_Listening] = []

    def __len__(self) -> int:
        """Connections that are not over."""
        return len(self._tasks)

    def listen(self, listening: socket.socket, accepted: Callable[[socket.socket], asyncio.Task[None]]) -> None:
        """Accepts from now on, up to the limit.

        Args:
            listening: taken over.
            accepted: is given each connection, and returns what has to end before it counts no more.
        """
        self._listening.append(_Listening(listening, accepted, self._limit))

    def carry(self, splice: Splice, connect_near: Connecting, connect_far: Connecting) -> asyncio.Task[None]:
        """Makes both connections and carries what comes, in the background. What goes wrong stands in the log."""
        task = self._loop.create_task(self._carry(splice, connect_near, connect_far))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Accepts no more, and cuts off what is connected. Returns when all is closed. May be called again."""
        for listening in self._listening:
            listening.close()
        self._listening.clear()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _carry(self, splice: Splice, connect_near: Connecting, connect_far: Connecting) -> None:
        async def connect() -> None:
            await connect_far()
            self.failure = None

        try:
            await splice.carry(connect_near, connect)
        except ConnectionError as error:
            # How connections end whose other side is killed, or only looks whether somebody listens.
            log.debug("%s: %s", self._what, error)
        except (BridgeError, OSError) as error:
            failure = tls_failure(error) if isinstance(error, ssl.SSLError) else error
            if isinstance(failure, BridgeError):
                self.failure = failure
            level = logging.DEBUG if _is_gone(failure) else logging.WARNING
            log.log(level, "%s: %s", self._what, failure.message if isinstance(failure, BridgeError) else failure)


def _is_gone(failure: Exception) -> bool:
    """Whether the other side is over: the log of who watches its process says why."""
    return isinstance(failure, BridgeError) and failure.reason in ("NOT_CONNECTED", "SESSION_CLOSED")


class _Listening:
    """A socket that is accepted from while there is room."""

    def __init__(
        self, listening: socket.socket, accepted: Callable[[socket.socket], asyncio.Task[None]], limit: int
    ) -> None:
        self._socket, self._accepted, self._limit = listening, accepted, limit
        self._loop = asyncio.get_running_loop()
        self._open: set[asyncio.Task[None]] = set()
        self._closed = False
        listening.setblocking(False)
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accepts no more."""
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        """Takes all who wait, if there is room."""
        while len(self._open) < self._limit:
            try:
                accepted, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                log.error("no connection can be accepted for %g s: %s", _PAUSE, error.strerror)
                self._loop.remove_reader(self._socket)
                self._loop.call_later(_PAUSE, self._resume)
                return
            task = self._accepted(accepted)
            self._open.add(task)
            task.add_done_callback(self._ended)
        self._loop.remove_reader(self._socket)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        self._resume()

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._socket, self._accept)
