"""Brokering without multiplexing: each service listens on a socket of its own, of which the other side is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.engines.base import ServerOptions
from bridge.goplugin.addresses import check_address
from bridge.goplugin.brokering.addresses import Addresses
from bridge.goplugin.brokering.conversation import Conversation
from bridge.goplugin.brokering.failures import broker_closed, no_address, no_answer, no_connection, used_twice
from bridge.goplugin.brokering.service import Register, serving
from bridge.goplugin.brokering.wire import ConnInfo, Knock
from bridge.goplugin.transport.route import TIMEOUT, Route

if TYPE_CHECKING:
    from bridge.goplugin.transport.identity import Tls
    from bridge.goplugin.transport.sockets import SocketPlace

__all__ = ["Sockets"]


class Sockets:
    """Dials sockets of the other side, and listens on those of this one: always on Unix sockets, as in Go where there
    are any.

    Args:
        conversation: with the other side.
        place: for sockets.
        tls: of connections both ways.
        options: of servers.
    """

    def __init__(self, conversation: Conversation, place: SocketPlace, tls: Tls | None, options: ServerOptions) -> None:
        self._conversation, self._place, self._tls, self._options = conversation, place, tls, options
        self._addresses = Addresses()
        self._dialing: dict[int, asyncio.Future[ConnInfo | None]] = {}
        """What dials wait for; ``None``: the other side is gone."""
        self._accepting: set[int] = set()

    def heard(self, info: ConnInfo) -> None:
        """The other side has offered a service, or believes that there is multiplexing."""
        if info.is_knock:
            refusal = Knock(ack=True, error="this side does not multiplex")
            self._conversation.reply([ConnInfo(info.service_id, knock=refusal)])
        elif self._addresses.came(info, _now()) and not (waiting := self._dialing[info.service_id]).done():
            waiting.set_result(info)

    def gone(self) -> None:
        """There is no other side at the moment."""
        self._addresses.clear()
        for waiting in self._dialing.values():
            if not waiting.done():
                waiting.set_result(None)

    @asynccontextmanager
    async def route(self, service_id: int, timeout: float) -> AsyncGenerator[Route, None]:
        """The way to a service of the other side, as long as the context lasts. Raises ``BridgeError``."""
        info = await self._offer(service_id, timeout)
        check_address(info.network, info.address)
        if self._tls is None:
            yield Route.to_address(info.network, info.address, no_answer(service_id))
        else:
            from bridge.goplugin.transport.outlet import to_socket  # without TLS nobody waits for its import

            connect = to_socket(info.network, info.address, self._tls)
            async with Route.through(connect, no_answer(service_id), no_answer(service_id), self._place) as route:
                yield route

    async def _offer(self, service_id: int, timeout: float) -> ConnInfo:
        offer = self._addresses.expect(service_id, _now())
        if offer is not None:
            return offer
        waiting: asyncio.Future[ConnInfo | None] = asyncio.get_running_loop().create_future()
        self._dialing[service_id] = waiting
        try:
            async with asyncio.timeout(timeout):
                offer = await waiting
        except TimeoutError:
            raise no_address(service_id) from None
        finally:
            if self._dialing.get(service_id) is waiting:  # since its answer came, another may have begun
                self._addresses.forget(service_id)
                del self._dialing[service_id]
        if offer is None:
            raise broker_closed()
        return offer

    @asynccontextmanager
    async def service(self, service_id: int, register: Register) -> AsyncGenerator[None, None]:
        """Serves, as long as the context lasts. Raises ``BridgeError``."""
        if service_id in self._accepting:
            raise used_twice(service_id)
        self._accepting.add(service_id)
        try:
            async with self._listening(register) as path:
                await self._tell(ConnInfo(service_id, "unix", str(path)))
                yield
        finally:
            self._accepting.remove(service_id)

    async def _tell(self, offer: ConnInfo) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._conversation.send(offer)
        except TimeoutError:
            raise no_connection() from None

    @asynccontextmanager
    async def _listening(self, register: Register) -> AsyncGenerator[Path, None]:
        path = self._place.new_socket()
        if self._tls is None:
            async with serving(self._place, path, register, self._options):
                yield path
            return
        from bridge.goplugin.transport.inlet import Inlet

        private = self._place.new_private_socket()
        async with (
            serving(self._place, private, register, self._options),
            aclosing(Inlet(private, self._tls.server)) as inlet,
        ):
            await inlet.listen_unix(path, self._place)
            yield path


def _now() -> float:
    return asyncio.get_running_loop().time()
