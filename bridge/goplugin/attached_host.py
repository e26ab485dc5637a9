"""The host that a plugin's tools call back to, when it is on the other side of the broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing

from bridge.engines.base import DuplexChannel, Method, ServerCall
from bridge.errors import BridgeError, Code
from bridge.host import Host
from bridge.hosts.grpc import GrpcHost
from bridge.tool_messages import parse_request
from bridge.v1 import plugin_pb2

__all__ = ["AttachedHost", "Dial"]

Dial = Callable[[int], AbstractAsyncContextManager[DuplexChannel]]
"""Connects to what the other side serves under an id of the broker."""

_OPEN_SESSION = "/bridge.v1.HostService/OpenSession"


class AttachedHost:
    """Keeps the connection to the host that was attached last.

    Args:
        dial: makes such a connection. Raises ``BridgeError``.
        use: told the host that tools are to call back to from then on.
    """

    def __init__(self, dial: Dial, use: Callable[[Host], None]) -> None:
        self._dial, self._use = dial, use
        self._turn = asyncio.Lock()
        self._channel: _HostChannel | None = None

    def methods(self) -> list[Method]:
        """``PluginService``, for an engine."""
        return [Method("/bridge.v1.PluginService/AttachHost", unary=self._attach)]

    def keep_sessions_apart(self, methods: Sequence[Method]) -> list[Method]:
        """The methods of a server, of which OpenSession is refused while a host is attached: tools would not find the
        session."""
        return [
            Method(method.path, unary=self._opening(method.unary))
            if method.path == _OPEN_SESSION and method.unary is not None
            else method
            for method in methods
        ]

    async def aclose(self) -> None:
        """Lets go of the host."""
        async with self._turn:
            if self._channel is not None:
                await self._channel.end(_over("this plugin is ending"))

    async def _attach(self, rpc: ServerCall, data: bytes) -> bytes:
        request = parse_request(plugin_pb2.AttachHostRequest.FromString, data)
        async with self._turn, AsyncExitStack() as stack:
            connected = await stack.enter_async_context(self._dial(request.broker_id))
            former, self._channel = self._channel, _HostChannel(connected, stack.pop_all())
            self._use(GrpcHost(self._channel))
            if former is not None:
                await former.end(_over("another one has been attached since the call began; call the tool again"))
        return plugin_pb2.AttachHostResponse().SerializeToString()

    def _opening(
        self, open_session: Callable[[ServerCall, bytes], Awaitable[bytes]]
    ) -> Callable[[ServerCall, bytes], Awaitable[bytes]]:
        async def answer(rpc: ServerCall, data: bytes) -> bytes:
            if self._channel is not None:
                message = "a host is attached to this plugin, and keeps the sessions: open one there"
                raise BridgeError(Code.FAILED_PRECONDITION, message, reason="HOST_ATTACHED")
            return await open_session(rpc, data)

        return answer


def _over(why: str) -> BridgeError:
    return BridgeError(Code.UNAVAILABLE, f"the host cannot be asked any more: {why}", reason="HOST_UNAVAILABLE")


class _HostChannel:
    """The channel to an attached host: one connection. When that is lost the host is gone, and nobody waits for another
    one to be made. A ``Channel``.

    Args:
        channel: connected.
        connection: closes it.
    """

    def __init__(self, channel: DuplexChannel, connection: AsyncExitStack) -> None:
        self._channel, self._connection = channel, connection
        self._ended: BridgeError | None = None

    async def end(self, why: BridgeError) -> None:
        """Closes the connection. Who waits for an answer, or asks later, is told why."""
        self._ended = self._ended or why
        await self._connection.aclose()

    async def unary(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> bytes:
        await self._check()
        try:
            return await self._channel.unary(path, request, headers=headers, timeout=timeout)
        except BridgeError:
            await self._check()
            raise

    async def stream(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        await self._check()
        try:
            async with aclosing(self._channel.stream(path, request, headers=headers, timeout=timeout)) as messages:
                async for message in messages:
                    yield message
        except BridgeError:
            await self._check()
            raise

    async def ready(self) -> None:
        await self._check()

    async def aclose(self) -> None:
        """Nothing: the connection ends when the host does, or another one is attached."""

    async def _check(self) -> None:
        if self._ended is None and not self._channel.is_connected:
            await self.end(_over("the one that was attached is gone; attach one by bridge.v1.PluginService/AttachHost"))
        if self._ended is not None:
            # One object for all would collect the tracebacks of all.
            raise BridgeError(self._ended.code, self._ended.message, reason=self._ended.reason)
