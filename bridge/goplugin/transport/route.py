"""The way from a dial to a server of the other side."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from bridge.errors import BridgeError
from bridge.goplugin.addresses import host_and_port

if TYPE_CHECKING:
    from bridge.goplugin.transport.outlet import Connect
    from bridge.goplugin.transport.sockets import SocketPlace

__all__ = ["TIMEOUT", "Route"]

TIMEOUT = 5.0
"""Seconds that each side waits for the other, as in Go."""


class Route:
    """Where to connect to, and what has become of that.

    Args:
        target: for ``engines.connect``.
        silent: the error if there is no answer in time.
    """

    def __init__(self, target: str, silent: BridgeError) -> None:
        self.target = target
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Has why the connection did not come about: what the first attempt has raised, where this process makes it."""
        self._silent = silent

    @classmethod
    def to_address(cls, network: str, address: str, silent: BridgeError) -> Self:
        """Where gRPC connects by itself; an address that ``check_address`` allows, but none of an abstract socket."""
        if network == "unix":
            return cls(f"unix:{quote(os.fsencode(address))}", silent)  # gRPC reads it as an URI
        host, port = host_and_port(address)
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", silent)

    @classmethod
    @asynccontextmanager
    async def through(
        cls, connect: Connect, unconnected: BridgeError, silent: BridgeError, place: SocketPlace
    ) -> AsyncGenerator[Self, None]:
        """Where this process connects, as long as the context lasts.

        Args:
            connect: makes a connection.
            unconnected: the error if it has not done so in time.
            silent: the error if it has, and there is no answer.
            place: for the private socket that gRPC connects to.
        """
        from bridge.goplugin.transport.outlet import Outlet  # of no use to a plugin that connects nowhere by itself

        route = cls("", unconnected)
        outlet = Outlet(route._noting(connect, silent), place)
        try:
            route.target = await outlet.open()
            yield route
        finally:
            await outlet.aclose()

    async def connected(self, ready: Awaitable[object], timeout: float) -> None:
        """Waits until ``ready`` returns, which is to connect. Raises ``BridgeError``: why it cannot."""
        waiting = asyncio.ensure_future(ready)
        either: list[asyncio.Future[Any]] = [waiting, self._failed]
        try:
            await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            elif waiting.done():
                waiting.result()
            else:
                raise self._silent
        finally:
            waiting.cancel()

    def fail(self, error: BridgeError | OSError) -> None:
        """Whoever waits for the connection waits no more. The first reason counts."""
        if not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # whether anybody looks at it or not

    def _noting(self, connect: Connect, silent: BridgeError) -> Connect:
        async def noting(protocol_factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.Transport:
            try:
                transport = await connect(protocol_factory)
            except (BridgeError, OSError) as error:
                self.fail(error)
                raise
            self._silent = silent
            return transport

        return noting
