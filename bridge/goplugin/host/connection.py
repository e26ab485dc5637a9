"""A plugin that runs, as its host is connected to it: from its start to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any, Self

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from bridge import engines
from bridge.engines.base import ChannelOptions, DuplexChannel, ServerOptions
from bridge.errors import BridgeError, Code
from bridge.goplugin.brokering.broker import Broker
from bridge.goplugin.host.found_plugin import FoundPlugin, find_plugin
from bridge.goplugin.host.listener import find_listener
from bridge.goplugin.host.settings import HostSettings
from bridge.goplugin.host.stdio_sync import sync_stdio
from bridge.goplugin.host.to_its_end import to_its_end
from bridge.goplugin.plugin import Plugin
from bridge.goplugin.process.leftovers import remove_leftovers
from bridge.goplugin.transport.mux import Multiplexer
from bridge.goplugin.transport.outlet import to_socket
from bridge.goplugin.transport.route import Route
from bridge.goplugin.transport.sockets import SocketPlace

__all__ = ["PluginConnection"]

_HEALTH = "/grpc.health.v1.Health/Check"
_SHUTDOWN = "/plugin.GRPCController/Shutdown"
_SERVICE = "plugin"
"""What go-plugin's plugins are called by health."""
_EXIT_WITHIN = 1.0
"""Seconds that a plugin has to end after its connection has broken, so that it can be told how it ended."""
_CALLS_FAIL_WITHIN = 1.0
"""Seconds that calls have to fail by themselves after the plugin has ended; those that wait to connect do not."""
MAX_STREAMS = 10_000
MAX_METADATA_BYTES = 64 * 1024
"""Of calls that the plugin makes through the broker."""


class PluginConnection:
    """A process, and the channel to it. ``open`` makes it; ``aclose`` ends both."""

    def __init__(self, settings: HostSettings, found: FoundPlugin) -> None:
        self.handshake = found.handshake
        """What the plugin has said of itself."""
        self.process = found.process
        self.target: str
        """Where ``channel`` leads to, for another one."""
        self.channel: DuplexChannel
        self.broker: Broker
        self.channel_options = ChannelOptions(max_message_bytes=settings.max_message_bytes, keepalive=0)
        """Of channels to the plugin. Plugins in Go close connections that are probed often."""
        self._plugins, self._tls = found.plugins, found.tls
        self._settings = settings
        self._log: logging.Logger = settings.logger
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, settings: HostSettings) -> Self:
        """Starts a plugin, or finds one that runs, and connects. Whatever fails, nothing is left of it.

        Raises ``BridgeError`` as ``find_plugin`` and ``TlsTransport.handshake``; DEADLINE_EXCEEDED, reason
        ``PLUGIN_START_TIMEOUT``, if it does not answer; UNAVAILABLE, reason ``NOT_CONNECTED``, if it does not listen,
        or ``PLUGIN_EXITED``.
        """
        deadline = asyncio.get_running_loop().time() + settings.start_timeout
        opened = cls(settings, await find_plugin(settings))
        try:
            await opened._connect(deadline)
        except BaseException:
            await to_its_end(opened._give_up())
            raise
        return opened

    async def _connect(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._open_channel()
        except TimeoutError:
            raise self._timed_out() from None
        except BridgeError as error:
            raise await self.explained(error) from None
        self._begin(self.broker.run(self.channel))
        self._begin(sync_stdio(self.channel, self._settings.sync_stdout, self._settings.sync_stderr, self._log))

    async def _open_channel(self) -> None:
        settings, stack = self._settings, self._stack
        socket_dir = Path(settings.socket_dir) if settings.socket_dir else None
        place = stack.enter_context(SocketPlace(socket_dir, settings.socket_group))
        multiplexer = await self._multiplexer()
        route = await self._route(multiplexer, place)
        self.target = route.target
        self.channel = engines.connect(route.target, self.channel_options)
        stack.push_async_callback(self._close_channel)
        await self._ready(route)
        options = ServerOptions(
            max_message_bytes=settings.max_message_bytes,
            max_metadata_bytes=MAX_METADATA_BYTES,
            max_concurrent_streams=MAX_STREAMS,
        )
        self.broker = Broker(
            place, options=options, tls=self._tls, multiplexer=multiplexer, channel_options=self.channel_options
        )
        stack.push_async_callback(self.broker.aclose)

    async def _multiplexer(self) -> Multiplexer | None:
        if not self._settings.multiplex:
            return None
        multiplexer = await self._stack.enter_async_context(aclosing(Multiplexer()))
        await multiplexer.connect(self.handshake.network, self.handshake.address)
        return multiplexer

    async def _route(self, multiplexer: Multiplexer | None, place: SocketPlace) -> Route:
        """The way to the plugin's server."""
        handshake = self.handshake
        silent = self._timed_out()
        if multiplexer is not None:
            connect = multiplexer.to_main(self._tls)
        elif self._tls is not None or handshake.address.startswith("@"):  # an abstract socket, which is not for gRPC
            connect = to_socket(handshake.network, handshake.address, self._tls)
        else:
            if self._settings.reattach is None:  # else that was done
                # gRPC would try again and again where nobody listens.
                await find_listener(handshake.network, handshake.address)
            return Route.to_address(handshake.network, handshake.address, silent)
        return await self._stack.enter_async_context(Route.through(connect, silent, silent, place))

    async def _ready(self, route: Route) -> None:
        """Waits until it is connected, or the plugin has ended."""
        connecting = asyncio.ensure_future(route.connected(self.channel.ready(), self._settings.start_timeout))
        ended = asyncio.ensure_future(self.process.exited())
        try:
            await asyncio.wait((connecting, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise self.gone()
            await connecting
        finally:
            for task in (connecting, ended):
                task.cancel()
            await asyncio.gather(connecting, ended, return_exceptions=True)

    def dispense(self, name: str, channel: Any, broker: Any) -> Any:
        """What a plugin of the negotiated version gives for a channel and a broker. Raises ``BridgeError`` NOT_FOUND,
        reason ``PLUGIN_UNKNOWN``; and as the plugin's ``client``."""
        plugin: Plugin | None = self._plugins.get(name)
        if plugin is None:
            known = ", ".join(sorted(self._plugins)) or "none"
            message = f"unknown plugin type: {name!r} is not among those of this version ({known})"
            raise BridgeError(Code.NOT_FOUND, message, reason="PLUGIN_UNKNOWN")
        return plugin.client(channel, broker)

    async def ping(self, timeout: float) -> None:
        """Asks the plugin for its health. Raises ``BridgeError``: UNAVAILABLE, reason ``NOT_SERVING``, if it says that
        it is not well; ``PLUGIN_EXITED`` with how it ended."""
        request = HealthCheckRequest(service=_SERVICE).SerializeToString()
        try:
            answer = HealthCheckResponse.FromString(await self.channel.unary(_HEALTH, request, timeout=timeout))
        except BridgeError as error:
            raise await self.explained(error) from None
        if answer.status != HealthCheckResponse.SERVING:
            status = HealthCheckResponse.ServingStatus.Name(answer.status)
            message = f"the plugin says that it is {status}; see its log, or start it again"
            raise BridgeError(Code.UNAVAILABLE, message, reason="NOT_SERVING")

    async def explained(self, error: BridgeError) -> BridgeError:
        """The reason behind an error of a call: the plugin's end, if that is what it was."""
        if error.code is Code.UNAVAILABLE:
            # A connection breaks some moments before the kernel says how its process ended.
            await self.process.ends_within(_EXIT_WITHIN)
        return error if self.process.exit is None else self.gone()

    @property
    def is_for_tests(self) -> bool:
        """Whether the plugin is in test mode, and not to be ended."""
        reattach = self._settings.reattach
        return reattach is not None and reattach.test

    def gone(self) -> BridgeError:
        """The error of who needs a plugin that has ended."""
        return BridgeError(Code.UNAVAILABLE, self.process.describe_exit(), reason="PLUGIN_EXITED")

    async def aclose(self) -> bool:
        """Asks the plugin to end, and ends it if it does not; whether it was not needed. Of a plugin in test mode it
        only lets go. Nothing is left of a plugin that we have started; a cancel ends it by force."""
        try:
            return True if self.is_for_tests else await self._end()
        finally:
            await to_its_end(self._give_up())

    async def _end(self) -> bool:
        now = asyncio.get_running_loop().time
        end = now() + self._settings.grace
        await self.broker.aclose()
        if self.process.exit is None:
            await self._shut_down(max(0.0, end - now()))
        if self._tasks:  # which take what the plugin has still to say; it may want to be left before it ends
            await asyncio.wait(self._tasks, timeout=max(0.0, end - now()) / 2)
        await self._let_go()
        return await self.process.wait_or_kill(max(0.0, end - now()))

    async def _shut_down(self, timeout: float) -> None:
        try:
            await self.channel.unary(_SHUTDOWN, b"", timeout=timeout)
        except BridgeError as error:
            # UNAVAILABLE is how a plugin in Go answers that has obeyed.
            if error.code is not Code.UNAVAILABLE:
                self._log.debug("the plugin was asked to end: %s", error)

    async def _give_up(self) -> None:
        """Lets go of everything, of the process by force if it is ours."""
        try:
            await self._let_go()
        finally:
            await self.process.aclose()
            if self.handshake.network == "unix" and self.process.exit is not None:
                remove_leftovers(self.handshake.address)

    async def _let_go(self) -> None:
        """Ends the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._stack.aclose()

    async def _close_channel(self) -> None:
        if self.process.exit is not None:
            # Its calls are about to fail, with UNAVAILABLE. Closing raises CancelledError in tasks that nobody cancels.
            await self.channel.for_stubs.close(_CALLS_FAIL_WITHIN)
        await self.channel.aclose()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _timed_out(self) -> BridgeError:
        message = (
            "timeout while waiting for plugin to start: it has said where it listens, and does not answer there within "
            f"{self._settings.start_timeout:g} s; {self.process.describe_exit()}"
        )
        return BridgeError(Code.DEADLINE_EXCEEDED, message, reason="PLUGIN_START_TIMEOUT")
