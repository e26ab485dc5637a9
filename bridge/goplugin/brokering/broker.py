"""More connections between a host and its plugin, in either direction (go-plugin's GRPCBroker).

One side accepts by an id, and tells the other side that id in some call of its own. The other side dials the id.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bridge import engines
from bridge.engines.base import ChannelOptions, DuplexChannel, Method, ServerOptions
from bridge.goplugin.brokering.conversation import Conversation
from bridge.goplugin.brokering.failures import MAX_ID, broker_closed, check_id
from bridge.goplugin.brokering.service import Register
from bridge.goplugin.brokering.sockets import Sockets
from bridge.goplugin.transport.route import TIMEOUT, Route

if TYPE_CHECKING:
    from bridge.goplugin.brokering.blocking import BlockingBroker
    from bridge.goplugin.brokering.streams import Streams
    from bridge.goplugin.transport.identity import Tls
    from bridge.goplugin.transport.mux import Multiplexer
    from bridge.goplugin.transport.sockets import SocketPlace

__all__ = ["Broker"]

T = TypeVar("T")

_CHANNEL = ChannelOptions(max_message_bytes=2**31 - 1, keepalive=0)
"""As Go dials; its servers close connections that are probed often."""


class Broker:
    """One side's broker. It is made in a running event loop, and belongs to that.

    Args:
        place: where sockets are made.
        options: of servers that are started here; those of the main one, without reflection.
        tls: of all connections, the same as of the main one.
        multiplexer: where all connections are streams of one.
    """

    def __init__(
        self,
        place: SocketPlace,
        *,
        options: ServerOptions,
        tls: Tls | None = None,
        multiplexer: Multiplexer | None = None,
        channel_options: ChannelOptions = _CHANNEL,
    ) -> None:
        self._ids = itertools.count()
        self._loop = asyncio.get_running_loop()
        self.channel_options = channel_options
        """Of what is dialed."""
        options = msgspec.structs.replace(options, reflection=False, tls=None)
        self._conversation = Conversation(lambda info: self._ways.heard(info), lambda: self._ways.gone())
        self._ways: Sockets | Streams
        if multiplexer is None:
            self._ways = Sockets(self._conversation, place, tls, options)
        else:
            from bridge.goplugin.brokering.streams import Streams  # who does not multiplex starts faster without

            self._ways = Streams(self._conversation, multiplexer, place, tls, options)
        self._open: set[AsyncExitStack] = set()
        """What was dialed and is served."""

    def next_id(self) -> int:
        """An id that this side has not used. The other side counts by itself: an id means something only together with
        who accepts by it."""
        return next(self._ids) % MAX_ID + 1  # also called in threads

    @asynccontextmanager
    async def dial(self, service_id: int, *, timeout: float = TIMEOUT) -> AsyncGenerator[Any, None]:
        """Connects to services that the other side has accepted, or accepts within ``timeout`` seconds.

        It gives a ``grpc.aio.Channel`` for generated stubs, which is closed at the end. Raises ``BridgeError``, reason
        ``BROKER_TIMEOUT``, ``KNOCK_TIMEOUT``, ``KNOCK_REFUSED``, ``KNOCK_ANSWER``, ``PLUGIN_ADDRESS``,
        ``BROKER_ID``, ``BROKER_ID_IN_USE`` or ``BROKER_CLOSED``, and as its connection does.
        """
        async with self._while_open(service_id) as stack:
            route = await self._enter(stack, self._ways.route(service_id, timeout))
            channel = engines.connect(route.target, self.channel_options)
            stack.push_async_callback(channel.aclose)
            stack.callback(route.fail, broker_closed())
            await route.connected(channel.ready(), timeout)
            yield channel.for_stubs

    @asynccontextmanager
    async def route(self, service_id: int, timeout: float) -> AsyncGenerator[Route, None]:
        """The way of a dial, for who connects by other means."""
        async with self._while_open(service_id) as stack:
            route = await self._enter(stack, self._ways.route(service_id, timeout))
            stack.callback(route.fail, broker_closed())
            yield route

    @asynccontextmanager
    async def accept_and_serve(self, service_id: int, register: Register) -> AsyncGenerator[None, None]:
        """Serves what ``register`` puts on a server to the other side, which dials the id, until the end of the
        context. What still runs then gets a second to end.

        ``register`` is called with ``Services``: ``lambda server: add_KVServicer_to_server(KV(), server)``. Raises
        ``BridgeError``, reason ``BROKER_ID``, ``BROKER_ID_IN_USE``, ``BROKER_TIMEOUT`` or ``BROKER_CLOSED``, and what
        ``register`` raises.
        """
        async with self._while_open(service_id) as stack:
            await self._enter(stack, self._ways.service(service_id, register))
            yield

    @property
    def blocking(self) -> BlockingBroker:
        """The same for servicers that run in threads, with ``with``."""
        from bridge.goplugin.brokering.blocking import BlockingBroker

        return BlockingBroker(self, self._loop)

    def methods(self) -> list[Method]:
        """What a plugin serves on the main connection, ``plugin.GRPCBroker``."""
        return self._conversation.methods()

    async def run(self, channel: DuplexChannel) -> None:
        """What a host does on the main connection; returns when that has ended, or the broker is closed.

        Multiplexed, the connection has to be there before: the stream for it waits while a dial knocks.
        """
        await self._conversation.run(channel)

    async def aclose(self) -> None:
        """Ends everything that was dialed and is served."""
        self._conversation.close()
        self._ways.gone()
        await asyncio.gather(*(stack.aclose() for stack in self._open))

    @asynccontextmanager
    async def _while_open(self, service_id: int) -> AsyncGenerator[AsyncExitStack, None]:
        """What is put on the stack ends with the context, or when the broker is closed."""
        check_id(service_id)
        if self._conversation.closed:
            raise broker_closed()
        async with AsyncExitStack() as stack:
            self._open.add(stack)
            stack.callback(self._open.discard, stack)
            yield stack

    async def _enter(self, stack: AsyncExitStack, context: AbstractAsyncContextManager[T]) -> T:
        """Enters a context that ends with the stack. Raises ``BROKER_CLOSED`` where the stack has ended meanwhile."""
        entered = await stack.enter_async_context(context)
        if self._conversation.closed:
            raise broker_closed()
        return entered
