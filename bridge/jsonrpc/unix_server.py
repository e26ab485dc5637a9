"""Listening for JSON-RPC connections on a Unix socket.

Who may connect, and that no live server is robbed of its socket, is told in ``bridge.listeners``; on top of it the
kernel names the user of each connection, and others than ours are cut off. If the socket is removed while the server
runs, another is bound in its place; if that is impossible, nobody will ever find the server, and it is told.

An open connection counts as use, also if nothing is said on it: sessions of a client that only waits must not go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.jsonrpc.connection import Connection
from bridge.listeners import UnixListener, prepare_unix
from bridge.security import write_atomically

__all__ = ["UnixServer", "listen_unix"]

log = logging.getLogger("bridge.jsonrpc")

MAX_CONNECTIONS = 256
"""Connections at a time. Each may have a whole message half received."""
BACKLOG = 128
"""Connections that the kernel keeps until they are accepted."""
LOOK_INTERVAL = 1.0
"""Seconds between two looks whether the socket is still there."""
PAUSE = 1.0
"""Seconds without accepting when the process has no descriptors left."""
END_TIMEOUT = 1.0
"""Seconds that requests have to end after they were cancelled."""

_PEER = struct.Struct("3i")
"""SO_PEERCRED (unix(7)): process, user, group."""


def _nothing() -> None:
    pass


@asynccontextmanager
async def listen_unix(
    path: Path,
    make: Callable[[], Connection],
    *,
    idle_timeout: float | None = None,
    on_idle: Callable[[], None] = _nothing,
    on_lost: Callable[[], None] = _nothing,
    pid_file: bool = True,
    max_connections: int = MAX_CONNECTIONS,
) -> AsyncIterator[UnixServer]:
    """Serves a socket as long as the block runs; then connections are closed and their requests cancelled.

    Args:
        path: of the socket; its folder is made, if missing.
        make: makes what an accepted socket is connected with.
        idle_timeout: seconds without any connection after which ``on_idle`` is called, again and again; ``None``:
            never.
        on_idle: should end the server.
        on_lost: should end the server; called once, if its socket was removed and cannot be bound again.
        pid_file: whether ``<path>.pid`` holds the number of this process as long as connections are accepted.
        max_connections: at a time; others are told so and closed.

    Raises:
        BridgeError: as ``prepare_unix`` does; FAILED_PRECONDITION, reason ``FILE_NOT_WRITTEN``, for the pid file.
    """
    with prepare_unix(path) as listener:
        server = UnixServer(listener, make, max_connections, idle_timeout, on_idle)
        try:
            server.start(pid_file, on_lost)
            yield server
        finally:
            await server.drain(0.0)


class UnixServer:
    """A server that accepts connections. Made by ``listen_unix``."""

    def __init__(
        self,
        listener: UnixListener,
        make: Callable[[], Connection],
        max_connections: int,
        idle_timeout: float | None,
        on_idle: Callable[[], None],
    ) -> None:
        self.connections: set[Connection] = set()
        """Those whose requests have not all ended."""
        self._listener, self._make, self._max = listener, make, max_connections
        self._idle_timeout, self._on_idle = idle_timeout, on_idle
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._pid_file: Path | None = None
        self._connecting: set[asyncio.Task[object]] = set()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """``unix:/path``."""
        return self._listener.address

    def start(self, pid_file: bool, on_lost: Callable[[], None]) -> None:
        """Binds, and accepts from then on. As ``listen_unix`` says."""
        self._bind()
        if pid_file:
            pid_path = self._listener.path.with_name(self._listener.path.name + ".pid")
            write_atomically(pid_path, f"{os.getpid()}\n")
            self._pid_file = pid_path
        self._look_timer = self._loop.call_later(LOOK_INTERVAL, self._look, on_lost)
        self._watch_idleness()

    def stop_accepting(self) -> None:
        """Gives up the socket, for others to take. Connections go on. May be called again."""
        for timer in (self._look_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._idle_timeout = None
        self._unbind()
        if self._pid_file is not None:
            self._pid_file.unlink(missing_ok=True)
            self._pid_file = None
        self._listener.close()

    async def drain(self, grace: float) -> bool:
        """Stops accepting, and closes each connection when nothing runs on it, or after ``grace`` seconds.

        What is asked meanwhile is for the handlers to refuse. Returns whether nothing was cut off; requests that do not
        end by being cancelled are left behind. May be called again.
        """
        self.stop_accepting()
        were_idle = await asyncio.gather(*(connection.drain(grace) for connection in self.connections))
        if self.connections:
            await asyncio.wait([connection.ended for connection in self.connections], timeout=END_TIMEOUT)
        for connection in self.connections:
            connection.abort()  # it does not take what was said
        return all(were_idle)

    # -- the socket ----------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with self._listener.binding():
                server.bind(str(self._listener.path))
            server.listen(BACKLOG)
        except OSError as error:
            server.close()
            message = f"{self.address} cannot be bound ({error.strerror}); look at its folder"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="SOCKET_PERMISSIONS") from error
        except BridgeError:
            server.close()
            raise
        self._socket = server
        self._loop.add_reader(server, self._accept)

    def _unbind(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _look(self, on_lost: Callable[[], None]) -> None:
        if not self._listener.is_there():
            self._unbind()
            try:
                self._bind()
            except BridgeError as error:
                log.error("the socket was removed, so nobody can connect any more: %s", error.message)
                on_lost()
                return
            log.warning("the socket %s was removed, and is bound again", self.address)
        self._look_timer = self._loop.call_later(LOOK_INTERVAL, self._look, on_lost)

    # -- its connections -----------------------------------------------------------------------------------------

    def _accept(self) -> None:
        """Takes all who wait."""
        for _ in range(BACKLOG):
            if self._socket is None:
                return
            try:
                accepted, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:  # ECONNABORTED is not of Unix sockets; what is left is a lack of something
                log.error("no connection can be accepted for %g s: %s", PAUSE, error.strerror)
                self._loop.remove_reader(self._socket)
                self._loop.call_later(PAUSE, self._accept_again)
                return
            if _is_of_our_user(accepted):
                self._connect(accepted)
            else:
                accepted.close()

    def _accept_again(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._accept)

    def _connect(self, accepted: socket.socket) -> None:
        connection = self._make()
        if len(self.connections) >= self._max:
            connection.refuse(_too_many(self._max))
        self.connections.add(connection)
        connection.ended.add_done_callback(lambda _: self._ended(connection))
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: connection, accepted))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _ended(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._watch_idleness()

    def _watch_idleness(self) -> None:
        if self._idle_timeout is not None and not self.connections:
            self._idle_timer = self._loop.call_later(self._idle_timeout, self._is_idle)

    def _is_idle(self) -> None:
        self._accept()  # somebody may have come a moment ago
        if not self.connections:
            self._watch_idleness()
            self._on_idle()


def _is_of_our_user(accepted: socket.socket) -> bool:
    pid, user, _ = _PEER.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    if user == os.geteuid():
        return True
    log.warning("a connection of process %d of user %d is refused: only our own user may connect", pid, user)
    return False


def _too_many(limit: int) -> BridgeError:
    message = f"{limit} connections are open; close one, or try again"
    return BridgeError(
        Code.RESOURCE_EXHAUSTED, message, reason="TOO_MANY_CONNECTIONS", details=ErrorDetails(retry_after=1.0)
    )
