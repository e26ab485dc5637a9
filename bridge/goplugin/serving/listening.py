"""Where a plugin listens, and what stands between its socket and its gRPC server."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING

from bridge.engines.base import ServerEngine
from bridge.goplugin.transport.sockets import SocketPlace, choose_port

if TYPE_CHECKING:
    from bridge.goplugin.transport.identity import Tls
    from bridge.goplugin.transport.mux import Multiplexer

__all__ = ["listen_directly", "listen_in_front"]

Ports = tuple[int, int]
"""First and last port of a range; both 0: any port."""


def listen_directly(engine: ServerEngine, place: SocketPlace, network: str, ports: Ports) -> str:
    """Has the server listen itself; returns the address, as the handshake has it. Raises ``BridgeError``."""
    if network == "tcp":
        with choose_port(*ports) as found:
            host, port = found.getsockname()
        return engine.listen(f"{host}:{port}")  # which nobody else has taken in this instant, most likely
    path = place.new_socket()
    with place.binding(path):
        engine.listen(f"unix:{path}")
    return str(path)


async def listen_in_front(
    engine: ServerEngine,
    place: SocketPlace,
    network: str,
    ports: Ports,
    *,
    tls: Tls | None,
    multiplex: bool,
    stack: AsyncExitStack,
) -> tuple[str, Multiplexer | None]:
    """Has the server listen on a private socket, in front of which connections come out of TLS, or out of one
    connection that they share. Returns the address, as the handshake has it. Raises ``BridgeError``.

    Args:
        engine: the server.
        place: for its sockets.
        network: ``unix`` or ``tcp``.
        ports: range of ports for the latter.
        tls: for the connections; ``None``: plain.
        multiplex: whether they share one.
        stack: lets go of what listens, before the server ends.
    """
    from bridge.goplugin.transport.inlet import Inlet  # plugins without TLS start faster when they do not load it

    private = place.new_private_socket()
    with place.binding(private):
        engine.listen(f"unix:{private}")
    inlet = await stack.enter_async_context(aclosing(Inlet(private, None if tls is None else tls.server)))
    front: Inlet | Multiplexer = inlet
    multiplexer = None
    if multiplex:
        from bridge.goplugin.transport.mux import Multiplexer

        front = multiplexer = await stack.enter_async_context(aclosing(Multiplexer(inlet)))
    if network == "tcp":
        listening = choose_port(*ports)
        front.listen(listening)
        return "{}:{}".format(*listening.getsockname()), multiplexer
    path = place.new_socket()
    front.listen(place.listen(path))
    return str(path), multiplexer
