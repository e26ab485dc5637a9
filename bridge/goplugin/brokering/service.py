"""A server for the services that one accepted id stands for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from bridge import engines
from bridge.engines.base import ServerOptions
from bridge.engines.services import Services

if TYPE_CHECKING:
    from bridge.goplugin.transport.sockets import SocketPlace

__all__ = ["Register", "serving"]

Register = Callable[[Services], None]
"""Puts services on a server: ``lambda server: add_KVServicer_to_server(KV(), server)``."""

_GRACE: Final = 1.0
"""Seconds that calls have which run at the end. Go waits for them for ever."""


@asynccontextmanager
async def serving(
    place: SocketPlace, path: Path, register: Register, options: ServerOptions
) -> AsyncGenerator[None, None]:
    """Serves on a Unix socket, whose path is of ``place``, as long as the context lasts."""
    services = Services()
    register(services)
    server = engines.serve(options)
    try:
        with place.binding(path):
            server.listen(f"unix:{quote(str(path))}")
        await server.start((), services)
        yield
    finally:
        await server.aclose(_GRACE)
        place.discard(path)
