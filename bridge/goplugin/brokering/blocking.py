"""The broker for servicers that run in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from bridge import engines
from bridge.errors import BridgeError, Code
from bridge.goplugin.brokering.failures import broker_closed
from bridge.goplugin.brokering.service import Register
from bridge.goplugin.transport.route import TIMEOUT, Route

if TYPE_CHECKING:
    from bridge.goplugin.brokering.broker import Broker

__all__ = ["BlockingBroker"]

T = TypeVar("T")


class BlockingBroker:
    """Does what ``Broker`` does for callers that may block. Its methods raise as that one's, and ``BridgeError``
    FAILED_PRECONDITION, reason ``BLOCKING_IN_LOOP``, in the event loop of the broker, which they would stop."""

    def __init__(self, broker: Broker, loop: asyncio.AbstractEventLoop) -> None:
        self._broker, self._loop = broker, loop

    def next_id(self) -> int:
        """An id that this side has not used."""
        return self._broker.next_id()

    @contextmanager
    def dial(self, service_id: int, *, timeout: float = TIMEOUT) -> Generator[Any, None, None]:
        """Connects as ``Broker.dial``. It gives a ``grpc.Channel``."""
        with self._within(self._broker.route(service_id, timeout)) as route:
            channel = engines.connect_blocking(route.target, self._broker.channel_options)
            try:
                self._run(_connected(route, channel, timeout))
                yield channel
            finally:
                channel.close()

    @contextmanager
    def accept_and_serve(self, service_id: int, register: Register) -> Generator[None, None, None]:
        """Serves as ``Broker.accept_and_serve``. ``register`` is called in the event loop."""
        with self._within(self._broker.accept_and_serve(service_id, register)):
            yield

    @contextmanager
    def _within(self, context: AbstractAsyncContextManager[T]) -> Generator[T, None, None]:
        entered = self._run(context.__aenter__())
        try:
            yield entered
        finally:
            self._run(context.__aexit__(None, None, None))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if _running_loop() is self._loop:
            work.close()
            message = "broker.blocking is for threads; use the broker itself in coroutines"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="BLOCKING_IN_LOOP")
        if self._loop.is_closed():
            work.close()
            raise broker_closed()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # of one that is done, nothing: the thread was interrupted


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _connected(route: Route, channel: Any, timeout: float) -> None:
    """Returns when the channel is connected."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()

    def changed(state: Any) -> None:  # in a thread of gRPC
        if state.name == "READY":
            loop.call_soon_threadsafe(ready.set)

    channel.subscribe(changed, try_to_connect=True)
    try:
        await route.connected(ready.wait(), timeout)
    finally:
        channel.unsubscribe(changed)
