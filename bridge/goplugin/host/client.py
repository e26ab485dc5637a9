"""A host's side of a plugin: start it, call it, end it."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from bridge.errors import BridgeError, Code
from bridge.goplugin.brokering.broker import Broker
from bridge.goplugin.host.connection import PluginConnection
from bridge.goplugin.host.restart import Restarts
from bridge.goplugin.host.settings import HostSettings
from bridge.goplugin.host.to_its_end import to_its_end
from bridge.goplugin.reattach import ReattachConfig
from bridge.runtime.death import Exit

__all__ = ["PING_TIMEOUT", "PluginClient", "cleanup_clients"]

PING_TIMEOUT = 5.0
"""Seconds that a plugin has to say that it is well."""

_managed: set[PluginClient] = set()
"""Those that ``cleanup_clients`` ends."""


class PluginClient:
    """Runs a plugin: ``async with PluginClient(cmd=[…], handshake=…, plugins=…) as client`` starts it, and ends it.

    It belongs to the event loop that has started it, and to this process, not to its forks;
    ``bridge.goplugin.sync.PluginClient`` is for code that blocks. Plugins may be written in any language that has
    go-plugin. All of its methods raise FAILED_PRECONDITION, reason ``OTHER_LOOP`` or ``FORKED``, elsewhere.

    Args:
        settings: as in ``HostSettings``.

    Raises ``BridgeError`` INVALID_ARGUMENT for what does not go together, ``TypeError`` for an argument that there is
    not.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = HostSettings(**settings)
        self._connection: PluginConnection | None = None
        self._ending: PluginConnection | None = None
        """The plugin that ``kill`` is ending."""
        self._changing: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        """Event loop, and its lock; see ``_lock``."""
        self._failure: BridgeError | None = None
        """Why there is no plugin, although one was started."""
        self._watching: asyncio.Task[None] | None = None
        self._settled: asyncio.Future[None]
        """Done when a plugin that has died runs again, or will not."""
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        """Process and event loop that it was started in."""
        self.on_restart: Callable[[PluginClient], object] = lambda client: None
        """Called when the plugin was started again: what was dispensed before leads nowhere, dispense it again. What it
        raises is logged."""

    def __repr__(self) -> str:
        state = "not started" if self._connection is None else f"pid {self.pid}"
        return f"<PluginClient {state}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_forked:
            return  # the plugin is that of the process that has started it
        try:
            if isinstance(error, Exception):
                # Calls of stubs fail with no more than "Socket closed".
                reason = await self.explained(error)
                if reason is not error:
                    error.add_note(str(reason))
        finally:
            await self.kill()

    async def start(self) -> None:
        """Starts the plugin, or connects to the one that runs. Does nothing if that was done, also if the plugin has
        ended since: then ``kill`` comes first.

        Raises ``BridgeError`` as ``PluginConnection.open``.
        """
        self._check_home()
        async with self._lock():
            if self._connection is None:
                self._home = os.getpid(), asyncio.get_running_loop()
                try:
                    await self._open()
                except BaseException:
                    self._home = None  # it may be tried again anywhere
                    raise
                self._failure = None
                self._settled = asyncio.get_running_loop().create_future()
                self._watching = asyncio.create_task(self._watch())
                if self._settings.managed:
                    _managed.add(self)

    async def kill(self) -> bool:
        """Ends the plugin: asks it to, and kills it and all that it has started after the grace period, or at a cancel.
        Does nothing if there is none.

        Returns:
            Whether it has ended by itself.
        """
        self._check_home()
        return await to_its_end(self._kill(), self._hurry)

    async def _kill(self) -> bool:
        self._failure = None  # who waits for a restart is told that there is no plugin
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait((watching,))
        async with self._lock():
            _managed.discard(self)
            connection, self._connection = self._connection, None
            self._home = self._failure = None
            if connection is None:
                return True
            self._ending = connection
            try:
                return await connection.aclose()
            finally:
                self._ending = None

    def _hurry(self) -> None:
        connection = self._ending
        if connection is not None and not connection.is_for_tests:
            connection.process.kill()

    async def dispense(self, name: str) -> Any:
        """What the plugin of that name gives, usually a stub. While the plugin is being started again it waits.

        Raises ``BridgeError`` NOT_FOUND, reason ``PLUGIN_UNKNOWN``; FAILED_PRECONDITION, ``PLUGIN_NOT_STARTED``;
        UNAVAILABLE, ``PLUGIN_EXITED``.
        """
        connection = await self.living()
        return connection.dispense(name, connection.channel.for_stubs, connection.broker)

    async def ping(self, timeout: float = PING_TIMEOUT) -> None:
        """Asks the plugin whether it is well. Raises ``BridgeError``."""
        await (await self.living()).ping(timeout)

    async def explained(self, error: Exception) -> Exception:
        """Why a call of a stub has failed: ``BridgeError`` UNAVAILABLE, reason ``PLUGIN_EXITED``, with exit code and
        last words, if the plugin has ended; else the error itself."""
        code = getattr(error, "code", None)
        if getattr(code() if callable(code) else code, "name", "") != Code.UNAVAILABLE.name:
            return error
        if self._connection is None:
            return self._failure or error
        reason = await self._connection.explained(BridgeError(Code.UNAVAILABLE, ""))
        return reason if reason.reason == "PLUGIN_EXITED" else error

    @property
    def channel(self) -> Any:
        """``grpc.aio.Channel`` to the plugin, for services that no ``Plugin`` stands for. Raises ``BridgeError``."""
        return self._current().channel.for_stubs

    @property
    def target(self) -> str:
        """Where this process reaches the plugin, as ``bridge_client.BridgeClient`` takes it; for what makes channels of
        its own. It does not outlive the plugin. Raises ``BridgeError``."""
        return self._current().target

    @property
    def broker(self) -> Broker:
        """For more connections between the two processes. Raises ``BridgeError``."""
        return self._current().broker

    @property
    def protocol_version(self) -> int:
        """Of the application's protocol, as it was negotiated. Raises ``BridgeError``."""
        return self._current().handshake.protocol_version

    @property
    def pid(self) -> int:
        """The plugin's process. Raises ``BridgeError``."""
        return self._current().process.pid

    @property
    def is_running(self) -> bool:
        """Whether there is a plugin that has not ended."""
        return self._connection is not None and self.exited is None

    @property
    def is_coming_back(self) -> bool:
        """Whether there is a plugin that has ended, and is being started again."""
        watched = self._watching is not None and not self._watching.done()
        return watched and self._settings.restart is not None and not self.is_running

    @property
    def exited(self) -> Exit | None:
        """How the plugin has ended; ``None`` while it runs, and before."""
        return None if self._connection is None else self._connection.process.exit

    @property
    def reattach_config(self) -> ReattachConfig:
        """What another host needs to connect to the plugin. Raises ``BridgeError`` FAILED_PRECONDITION, reason
        ``REATTACH``, with AutoMTLS: nobody else has the key; and with multiplexing: its one connection is taken."""
        connection = self._current()
        if self._settings.multiplex:
            message = "a plugin with multiplexing cannot be reattached: start it with multiplex=False"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="REATTACH")
        if self._settings.wants_auto_mtls:
            message = "a plugin with AutoMTLS cannot be reattached: start it with auto_mtls=False or `tls`"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="REATTACH")
        known, handshake = self._settings.reattach, connection.handshake
        return ReattachConfig(
            network=handshake.network,
            address=handshake.address,
            protocol_version=handshake.protocol_version,
            pid=connection.process.pid,
            test=known is not None and known.test,
        )

    async def _open(self) -> None:
        self._connection = await PluginConnection.open(self._settings)

    async def _watch(self) -> None:
        """Sees the plugin end that nobody has asked to, and starts it again if that is wanted."""
        policy, loop = self._settings.restart, asyncio.get_running_loop()
        restarts = None if policy is None else Restarts(policy)
        try:
            while self._connection is not None:
                if restarts is not None:
                    restarts.started(loop.time())
                await self._connection.process.exited()
                self._settings.logger.error("%s", self._connection.process.describe_exit())
                if restarts is None or not await self._restart(restarts):
                    return
                self._settled.set_result(None)
                self._settled = loop.create_future()
                self._tell_restart()
        finally:
            self._settled.set_result(None)

    def _tell_restart(self) -> None:
        try:
            self.on_restart(self)
        except Exception:
            self._settings.logger.exception("on_restart has failed")

    async def _restart(self, restarts: Restarts) -> bool:
        """Starts the plugin again, as often as it takes; whether it runs."""
        loop, log = asyncio.get_running_loop(), self._settings.logger
        async with self._lock():
            while (wait := restarts.died(loop.time(), random.random())) is not None:  # noqa: S311 - jitter
                await self._let_go()
                log.warning("the plugin is started again in %.1f s", wait)
                await asyncio.sleep(wait)
                try:
                    await self._open()
                except (BridgeError, OSError) as error:
                    log.error("the plugin could not be started again: %s", error)
                    failed = BridgeError(Code.UNAVAILABLE, f"the plugin could not be started again: {error}")
                    self._failure = error if isinstance(error, BridgeError) else failed
                else:
                    return True
            log.error("the plugin is not started again: it has died too often")
            return False

    async def _let_go(self) -> None:
        """Frees what belonged to the plugin that has ended."""
        if self._connection is not None:
            self._failure = self._connection.gone()
            connection, self._connection = self._connection, None
            await connection.aclose()

    async def living(self) -> PluginConnection:
        """The connection to the plugin, after a restart if there is one to come. Raises ``BridgeError`` as
        ``dispense``."""
        self._check_home()
        while self.is_coming_back:
            await asyncio.wait((self._settled,))
        connection = self._current()
        if connection.process.exit is not None:
            raise connection.gone()
        return connection

    def _lock(self) -> asyncio.Lock:
        """Held while the plugin is started, or ended. A lock belongs to the loop where somebody has waited for it; the
        next plugin of this client may belong to another one."""
        loop = asyncio.get_running_loop()
        if self._changing is None or self._changing[0] is not loop:
            self._changing = loop, asyncio.Lock()
        return self._changing[1]

    @property
    def _is_forked(self) -> bool:
        return self._home is not None and self._home[0] != os.getpid()

    def _check_home(self) -> None:
        """Raises ``BridgeError`` where the plugin cannot be used."""
        if self._is_forked:
            message = "the plugin was started before a fork, and belongs to the parent: start one in each process"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="FORKED")
        if self._home is not None and self._home[1] is not asyncio.get_running_loop():
            message = "the plugin was started in another event loop: use it there, or bridge.goplugin.sync.PluginClient"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="OTHER_LOOP")

    def _current(self) -> PluginConnection:
        if self._connection is None:
            if self._failure is not None:
                raise self._failure
            message = "the plugin was not started, or was ended: `async with client`, or `await client.start()`"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="PLUGIN_NOT_STARTED")
        return self._connection


async def cleanup_clients() -> None:
    """Ends the plugins of all clients with ``managed=True`` that were started in this event loop (``CleanupClients`` of
    go-plugin)."""
    home = os.getpid(), asyncio.get_running_loop()
    await asyncio.gather(*(client.kill() for client in list(_managed) if client._home == home))
