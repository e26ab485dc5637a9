"""One connection between host and plugin, of which all others are streams.

In go-plugin's words: multiplexing. The host connects once, as the client of yamux. Its first stream carries the main
connection; each side opens more for services of the other's broker, after a knock that says for whom the next one is.
TLS runs in each stream, not around them.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

from bridge.errors import BridgeError
from bridge.goplugin.transport.connections import Connections
from bridge.goplugin.transport.outlet import Connect, to_socket, to_stream
from bridge.yamux.failures import SessionFailed, session_closed
from bridge.yamux.session import Session
from bridge.yamux.stream_transport import StreamTransport

if TYPE_CHECKING:
    from bridge.goplugin.transport.identity import Tls
    from bridge.goplugin.transport.inlet import Inlet

__all__ = ["Multiplexer"]

log = logging.getLogger("bridge.goplugin.mux")

P = TypeVar("P", bound=asyncio.BaseProtocol)

Knock = Callable[[], Awaitable[None]]
"""Returns when the other side gives the next stream to the service that is meant."""


class Multiplexer:
    """The session of host and plugin, and where its streams lead to. Made in a running event loop.

    A plugin takes one session at a time; who connects beside it waits until that is over. For the first it waits as
    long as it lives: Go's plugins end when no host has connected within five seconds, of which a host in a debugger has
    no use, and a plugin whose host is gone ends in other ways.

    Args:
        main: of a plugin, where streams go that nobody has knocked for. A host has nothing for them: they are reset.
    """

    def __init__(self, main: Inlet | None = None) -> None:
        self._main = main
        self.inlets: dict[int, Inlet] = {}
        """Where streams for services of this side's broker go."""
        self.whose: Callable[[], int | None] = lambda: None
        """Called for each stream that comes: for which service it is, if for one."""
        self._bound_for: WeakKeyDictionary[StreamTransport, int | None] = WeakKeyDictionary()
        """For whom streams are that came: that is settled when they do, as some are reset before they are accepted."""
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._dialing = asyncio.Lock()
        self._hosts = Connections("a host's connection has ended", limit=1)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def stream_count(self) -> int:
        """Streams that are not over, both ways."""
        return 0 if self._session is None else self._session.stream_count

    def listen(self, listening: socket.socket) -> None:
        """Of a plugin: waits for its host on a socket that listens already, and is taken over."""
        self._hosts.listen(listening, self._accepted)

    async def connect(self, network: str, address: str) -> None:
        """Of a host: connects to its plugin. Raises ``BridgeError``, reason ``PLUGIN_ADDRESS`` or ``NOT_CONNECTED``."""
        session = Session(client=True, opened=self._opened)
        await to_socket(network, address, None)(lambda: session)
        self._session = session
        self._spawn(self._lead_streams(session))

    def to_main(self, tls: Tls | None) -> Connect:
        """How a host makes the main connection."""
        return to_stream(cast("Session", _Streams(self, None)), tls, None)

    def to_service(self, tls: Tls | None, knock: Knock) -> Connect:
        """How a broker connects to a service of the other side. It knocks each time, one at a time."""
        return to_stream(cast("Session", _Streams(self, knock)), tls, None)

    async def open_stream(self, protocol_factory: Callable[[], P], knock: Knock | None) -> tuple[StreamTransport, P]:
        """Opens a stream, after a knock if it is for a service. Raises ``BridgeError``."""
        async with self._dialing:  # a stream for nobody in particular must not come in between, either
            if knock is None:
                return await self._live_session().open_stream(protocol_factory)
            await knock()
            try:
                return await self._live_session().open_stream(protocol_factory)
            except asyncio.CancelledError:
                self.give_stream()
                raise

    def give_stream(self) -> None:
        """Opens a stream that ends at once: the other side has been promised one for which there is no use."""
        self._spawn(self._open_in_vain())

    async def aclose(self) -> None:
        """Ends the session with all of its streams, and listens no more. Its socket's file is its maker's."""
        await self._hosts.aclose()
        session = self._session
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if session is not None:
            await session.wait_closed()

    def _accepted(self, accepted: socket.socket) -> asyncio.Task[None]:
        task = self._spawn(self._serve(accepted))
        task.add_done_callback(lambda _: accepted.close())  # also of one that was cancelled before it began
        return task

    async def _serve(self, accepted: socket.socket) -> None:
        session = Session(client=False, opened=self._opened)
        await self._loop.connect_accepted_socket(lambda: session, accepted)
        self._session = session
        await self._lead_streams(session)

    async def _lead_streams(self, session: Session) -> None:
        """Leads every stream that comes to where it belongs, as long as there are any."""
        try:
            async with session:
                while True:
                    service_id = self._bound_for[await session.next_stream()]
                    inlet = self._main if service_id is None else self.inlets.get(service_id)
                    if inlet is not None:
                        await inlet.accept_from(session)
                    else:
                        stream, _ = await session.accept_stream(asyncio.Protocol)
                        stream.abort()
        except SessionFailed as failure:
            log.debug("the connection of host and plugin is over: %s", failure)
        finally:
            self._session = None

    def _opened(self, stream: StreamTransport) -> None:
        self._bound_for[stream] = self.whose()

    async def _open_in_vain(self) -> None:
        try:
            stream, _ = await self._live_session().open_stream(asyncio.Protocol)
        except BridgeError:
            return
        stream.close()  # a reset could take it from the other side before that has accepted it

    def _live_session(self) -> Session:
        if self._session is None:
            raise session_closed()
        return self._session

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Streams:
    """Opens streams in the place of a session."""

    def __init__(self, multiplexer: Multiplexer, knock: Knock | None) -> None:
        self._multiplexer, self._knock = multiplexer, knock

    async def open_stream(self, protocol_factory: Callable[[], P]) -> tuple[StreamTransport, P]:
        return await self._multiplexer.open_stream(protocol_factory, self._knock)
