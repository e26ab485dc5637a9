"""Brokering with multiplexing: each connection to a service is a stream, before which one side knocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from bridge.engines.base import ServerOptions
from bridge.goplugin.brokering.conversation import Conversation
from bridge.goplugin.brokering.doors import Doors
from bridge.goplugin.brokering.failures import broker_closed, knock_refused, no_answer, no_knock_answer, wrong_answer
from bridge.goplugin.brokering.knocks import Answer, Knocks
from bridge.goplugin.brokering.service import Register, serving
from bridge.goplugin.brokering.wire import ConnInfo
from bridge.goplugin.transport.inlet import Inlet
from bridge.goplugin.transport.mux import Multiplexer
from bridge.goplugin.transport.route import Route

if TYPE_CHECKING:
    from bridge.goplugin.transport.identity import Tls
    from bridge.goplugin.transport.sockets import SocketPlace

__all__ = ["Streams"]


class Streams:
    """Knocks at services of the other side, and opens the doors of those of this one.

    Args:
        conversation: with the other side.
        multiplexer: whose streams they are.
        place: for the private sockets of servers.
        tls: inside of streams both ways.
        options: of servers.
    """

    def __init__(
        self,
        conversation: Conversation,
        multiplexer: Multiplexer,
        place: SocketPlace,
        tls: Tls | None,
        options: ServerOptions,
    ) -> None:
        self._conversation, self._multiplexer = conversation, multiplexer
        self._place, self._tls, self._options = place, tls, options
        self._knocks, self._doors = Knocks(), Doors()
        self._answer: asyncio.Future[ConnInfo | None] | None = None
        """What the knock waits for, of which there is one at a time; ``None``: the other side is gone."""
        self._timer: asyncio.TimerHandle | None = None
        multiplexer.whose = self._stream_came

    def heard(self, info: ConnInfo) -> None:
        """The other side knocks, or answers a knock."""
        if info.is_knock:
            self._doors.knocked(info.service_id, _now())
            self._settle()
            return
        answer = self._knocks.answered(info)
        if answer is Answer.AWAITED and self._answer is not None and not self._answer.done():
            self._answer.set_result(info)
        elif answer is not Answer.UNKNOWN and info.is_welcome:
            self._multiplexer.give_stream()

    def gone(self) -> None:
        """There is no other side at the moment."""
        self._doors.clear()
        self._knocks.clear()
        self._settle()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    @asynccontextmanager
    async def route(self, service_id: int, timeout: float) -> AsyncGenerator[Route, None]:
        """The way to a service of the other side, as long as the context lasts; each connection knocks again."""
        connect = self._multiplexer.to_service(self._tls, lambda: self._knock(service_id, timeout))
        async with Route.through(connect, no_knock_answer(service_id), no_answer(service_id), self._place) as route:
            yield route

    async def _knock(self, service_id: int, timeout: float) -> None:
        """Returns when the other side awaits a stream for the service. Not to be called twice at a time."""
        answer: asyncio.Future[ConnInfo | None] = asyncio.get_running_loop().create_future()
        self._answer = answer
        try:
            async with asyncio.timeout(timeout):
                await self._conversation.send(self._knocks.knock(service_id))
                info = await answer
        except (TimeoutError, asyncio.CancelledError) as error:
            self._withdraw(answer)
            if isinstance(error, TimeoutError):
                raise no_knock_answer(service_id) from None
            raise
        finally:
            self._answer = None
        if info is None:
            raise broker_closed()
        if not info.is_welcome:
            error_text = info.knock.error if info.knock is not None else ""
            raise knock_refused(service_id, error_text) if error_text else wrong_answer(service_id)

    def _withdraw(self, answer: asyncio.Future[ConnInfo | None]) -> None:
        """A knock has lost its dial. If it is welcome, now or later, the other side has to get its stream."""
        self._knocks.give_up()
        info = answer.result() if answer.done() and not answer.cancelled() else None
        if info is not None and info.is_welcome:
            self._multiplexer.give_stream()

    @asynccontextmanager
    async def service(self, service_id: int, register: Register) -> AsyncGenerator[None, None]:
        """Serves, as long as the context lasts. Raises ``BridgeError``."""
        private = self._place.new_private_socket()
        tls = None if self._tls is None else self._tls.server
        async with serving(self._place, private, register, self._options), aclosing(Inlet(private, tls)) as inlet:
            self._doors.open(service_id, _now())
            self._multiplexer.inlets[service_id] = inlet
            self._settle()
            try:
                yield
            finally:
                self._doors.close(service_id)
                del self._multiplexer.inlets[service_id]

    def _stream_came(self) -> int | None:
        service_id = self._doors.stream_came(_now())
        self._settle()
        return service_id

    def _settle(self) -> None:
        """Sends what the doors have to say, and wakes them in time."""
        self._conversation.reply(self._doors.take())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := self._doors.deadline) is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._doors.tick(_now())
        self._settle()


def _now() -> float:
    return asyncio.get_running_loop().time()
