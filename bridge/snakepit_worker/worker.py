"""A worker that serves: the server, the BEAM it calls back, and its readiness."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from bridge import engines
from bridge.config import ServerConfig
from bridge.engines.base import ChannelOptions
from bridge.errors import BridgeError
from bridge.host import Host, NoHost
from bridge.hosts.snakepit import SnakepitHost
from bridge.parts import other_host
from bridge.security import write_atomically
from bridge.server import Server, run_server
from bridge.snakepit_worker.addresses import addresses
from bridge.snakepit_worker.arguments import WorkerOptions
from bridge.snakepit_worker.heartbeat import Heartbeats
from bridge.snakepit_worker.listener import wait_for_listener
from bridge.snakepit_worker.settings import foreign_variables

if TYPE_CHECKING:
    from bridge.manifest import Manifest

__all__ = ["Worker"]

LISTEN_TRIES = 20
"""Ports that are tried if somebody else is always faster."""

log = logging.getLogger("bridge.snakepit")


class Worker:
    """One worker of a pool.

    Args:
        options: what the pool has said.
        config: what ``server_config`` has made of that.
        adapters: what to serve,
        plugins: and those that live in other interpreters.
    """

    def __init__(
        self, options: WorkerOptions, config: ServerConfig, adapters: Sequence[type], plugins: Sequence[Manifest]
    ) -> None:
        self._options, self._config = options, config
        self._adapters, self._plugins = adapters, plugins

    async def start(self, stack: AsyncExitStack, on_lost: Callable[[], None]) -> Server:
        """Returns when the worker is ready and the pool knows.

        Args:
            stack: stops it.
            on_lost: called when the BEAM answers no heartbeats any more.

        Raises ``BridgeError`` if the tools, an address or the ready file is wrong, or the BEAM does not answer.
        """
        host = self._host()
        beam = host if isinstance(host, SnakepitHost) else None
        waiting = asyncio.ensure_future(self._wait_for(beam))
        stack.callback(waiting.cancel)
        await asyncio.sleep(0)  # the first Ping is on its way while the server starts
        server = await self._listen(stack, host)
        await waiting
        if self._options.ignored:
            log.warning("flags that nobody knows here are ignored: %s", ", ".join(self._options.ignored))
        if foreign := foreign_variables(os.environ):
            log.warning("variables that are no settings are ignored: %s", ", ".join(foreign))
        if beam is not None and server.pool_sessions is not None:
            heartbeats = Heartbeats(beam.heartbeat_session, self._options.heartbeat, on_lost)
            stack.push_async_callback(heartbeats.aclose)
            server.pool_sessions.watch(heartbeats.begin, heartbeats.end)
        if self._options.ready_file is not None:
            write_atomically(self._options.ready_file, server.addresses[0].rpartition(":")[2])
        return server

    def _host(self) -> Host | None:
        """What tools call back to; ``None``: what the configuration says."""
        if self._options.elixir_address:
            options = ChannelOptions(max_message_bytes=self._config.max_message_bytes)
            channel = engines.connect(self._options.elixir_address, options, engine=self._config.engine)
            return SnakepitHost(channel, other_host(self._config) if self._config.host else None)
        if self._config.host:
            return None
        return NoHost("this worker was launched without --elixir-address and without --host")

    async def _wait_for(self, beam: SnakepitHost | None) -> None:
        if beam is not None:
            await wait_for_listener(beam.ping, self._options.elixir_address, self._options.connect_tries)

    async def _listen(self, stack: AsyncExitStack, host: Host | None) -> Server:
        for left in reversed(range(1 if self._options.port else LISTEN_TRIES)):
            config = dataclasses.replace(self._config, listen=addresses(self._options.port))
            server = run_server(config, self._adapters, plugins=self._plugins, host=host, own_process=True)
            try:
                return await stack.enter_async_context(server)
            except BridgeError as error:
                # A port that was free a moment ago is somebody else's, another worker's of the pool maybe.
                if error.reason != "ADDRESS_IN_USE" or not left:
                    raise
        raise AssertionError  # for type checkers
