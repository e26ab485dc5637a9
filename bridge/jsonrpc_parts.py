"""What a server has besides when it speaks JSON-RPC: who answers on its connections, and where they are accepted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bridge.config import ServerConfig
from bridge.frontends.jsonrpc.calls import ToolCalls
from bridge.frontends.jsonrpc.frontend import JsonRpcFrontend
from bridge.frontends.jsonrpc.sessions import Sessions
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.unix_server import UnixServer, listen_unix
from bridge.listeners import UnixAddress, parse_address
from bridge.parts import Parts
from bridge.protocols.framings import FRAMINGS
from bridge.protocols.limits import ProtocolLimits

__all__ = ["JsonRpcParts"]

ANSWER_TIME = 0.5
"""Seconds after the last tool has ended in which its answer is sent."""


class JsonRpcParts:
    """The JSON-RPC frontend of a server.

    Args:
        config: the server's.
        parts: what it leads to.
        stop: asks for the end of the server; ``None``: clients cannot.
    """

    def __init__(self, config: ServerConfig, parts: Parts, stop: Callable[[], None] | None = None) -> None:
        self._config, self._parts, self._stop = config, parts, stop
        self._limits = ProtocolLimits(max_frame_bytes=config.max_message_bytes)
        self._sessions = Sessions(parts.host)
        calls = ToolCalls(
            parts.dispatcher,
            max_message_bytes=config.max_message_bytes,
            max_timeout=config.max_timeout,
            on_response=parts.on_response,
        )
        self._frontend = JsonRpcFrontend(
            calls, parts.dispatcher, self._sessions, parts.seen_host, observed=parts.observed, stop=stop
        )
        parts.on_reload.append(self._frontend.tools_changed)

    def connection(self) -> Connection:
        """What a client is connected with."""
        return Connection(FRAMINGS[self._config.framing](self._limits), self._frontend.client(), self._limits)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[UnixServer]:
        """Serves the socket of the configuration as long as the block runs.

        It is given up as soon as the server stops, so that the next one can take it; connections are closed at the end.
        """
        address = parse_address(self._config.jsonrpc)
        assert isinstance(address, UnixAddress)  # noqa: S101 - the configuration has made sure
        stop = self._stop or _nothing
        idle = None if self._stop is None else self._config.idle_timeout or None

        def on_idle() -> None:
            server.stop_accepting()  # before anybody comes who would find it stopping
            stop()

        async with listen_unix(
            address.path, self.connection, idle_timeout=idle, on_idle=on_idle, on_lost=stop
        ) as server:
            self._parts.on_stop.append(server.stop_accepting)
            try:
                yield server
            finally:
                await server.drain(ANSWER_TIME)
                await self.settled()

    async def settled(self) -> None:
        """Returns when what clients have left behind is gone; to be awaited when no connection is left."""
        await self._sessions.settled()


def _nothing() -> None:
    pass
