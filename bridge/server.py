"""The composition root: a configuration becomes parts, and the parts start, drain and stop in order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bridge._version import __version__
from bridge.config import ServerConfig
from bridge.dispatcher import Dispatcher
from bridge.errors import BridgeError, Code
from bridge.host import Host
from bridge.parts import Parts, Role
from bridge.registry import Registry
from bridge.security import write_atomically, write_client_config
from bridge.telemetry.setup import Telemetry, configure

if TYPE_CHECKING:
    from bridge.frontends.health import Health
    from bridge.grpc_server import GrpcServer
    from bridge.hosts.sessions import SessionHost
    from bridge.manifest import Manifest
    from bridge.snakepit.sessions import Sessions

__all__ = ["Server", "run_server"]

log = logging.getLogger("bridge.server")

SWEEP_INTERVAL = 1.0
"""Seconds between two looks for sessions and variables that have expired: so late a watch may hear of it."""

HERE = ("inline", "thread")
"""Ways to run a tool in the server's own process."""


class Server(msgspec.Struct):
    """A server that answers."""

    addresses: list[str]
    """Where it speaks gRPC, as clients write it."""
    jsonrpc_address: str
    """Where it speaks JSON-RPC; empty: nowhere."""
    health: Health | None
    """Of gRPC's services; ``None`` if it does not speak that."""
    dispatcher: Dispatcher
    host: Host
    registry: Registry
    config: ServerConfig
    parts: Parts
    """What ways in lead to, for those who bring their own."""
    reload: Callable[[], Awaitable[None]]
    """Exchanges the code of tools in worker processes, as ``Workplaces.reload`` says."""
    pool_sessions: Sessions | None = None
    """The sessions that a Snakepit pool has told of; ``None`` if that wire is not spoken."""
    clean: bool = True
    """After it has stopped: whether every tool had ended."""
    has_drained: bool = False

    async def drain(self, grace: float | None = None) -> bool:
        """Takes no new calls, and returns when the running ones have ended, or have not in time; the next time at once.

        Args:
            grace: seconds that they have; by default those of the configuration.

        Returns:
            Whether every tool had ended.
        """
        if not self.has_drained:
            self.has_drained = True
            self.parts.stop()
            if self.parts.session_host is not None:
                self.parts.session_host.end_watches(_stopping())
            self.clean = await self.parts.dispatcher.drain(self.config.grace if grace is None else grace)
        return self.clean


@asynccontextmanager
async def run_server(
    config: ServerConfig,
    adapters: Sequence[type],
    role: Role = "bridge",
    *,
    plugins: Sequence[Manifest] = (),
    host: Host | None = None,
    own_process: bool = False,
    listens: bool = True,
    stop: Callable[[], None] | None = None,
) -> AsyncIterator[Server]:
    """Runs a server as long as the block runs; leaving it drains.

    Args:
        config: settled configuration.
        adapters: adapter classes: the bridge's tools, or, for a host, the host's own.
        role: ``"bridge"`` runs tools and has sessions of its own unless ``config.host`` names another host;
            ``"host"`` keeps sessions and variables for bridges.
        plugins: manifests of adapters that live in other interpreters.
        host: what tools call back to, instead of the host that the configuration describes; closed at the end. Its
            sessions and variables are not served.
        own_process: whether the process is there for this server only, so that its logging is the server's to set up.
        listens: whether it serves the addresses of its configuration; if not, calls come by what is made of
            ``Server.parts``.
        stop: asks for the end of this block, as JSON-RPC clients may do, and a server that nobody uses;
            ``None``: they cannot.

    Raises ``BridgeError`` before anything answers if the adapters, the configuration or an address is wrong.
    """
    registry = Registry(adapters, config.isolation, everything_in_processes=config.reload)
    async with AsyncExitStack() as stack:
        telemetry = _telemetry(config, role, own_process)
        stack.push_async_callback(telemetry.aclose)
        # The engine goes last: until then a call is answered, if only by "draining".
        grpc = _grpc(config, stack) if listens and config.listen else None
        audit = config.audit == "on" or (config.audit == "auto" and grpc is not None and grpc.authenticates)
        parts = Parts(config, registry, plugins, telemetry, role, audit, host)
        stack.push_async_callback(parts.aclose)
        health = None if grpc is None else grpc.attach(parts, role)
        if parts.session_host is not None:
            await parts.session_host.open()
        await parts.start_workers()
        await stack.enter_async_context(registry.open(HERE))

        addresses = [] if grpc is None else await grpc.start()
        jsonrpc_address = await _jsonrpc(config, parts, stop, stack) if listens and config.jsonrpc else ""
        server = Server(
            addresses,
            jsonrpc_address,
            health,
            parts.dispatcher,
            parts.host,
            registry,
            config,
            parts,
            parts.reload,
            None if parts.snakepit is None else parts.snakepit.sessions,
        )
        if parts.session_host is not None:
            on_change = _nobody if grpc is None else grpc.on_store
            stack.push_async_callback(_cancelled, asyncio.create_task(_sweep(parts.session_host, on_change)))
        _announce(config, server)
        try:
            yield server
        finally:
            await server.drain()


def _telemetry(config: ServerConfig, role: Role, own_process: bool) -> Telemetry:
    return configure(
        tracing=config.tracing,
        metrics_address=config.metrics,
        log_format=config.log_format if own_process else "",
        log_level=config.log_level,
        service_name="tool-bridge" if role == "bridge" else "tool-bridge-host",
    )


async def _jsonrpc(config: ServerConfig, parts: Parts, stop: Callable[[], None] | None, stack: AsyncExitStack) -> str:
    """Begins to listen; where."""
    from bridge.jsonrpc_parts import JsonRpcParts  # most servers need none of it

    listener = await stack.enter_async_context(JsonRpcParts(config, parts, stop).listening())
    return listener.address


def _grpc(config: ServerConfig, stack: AsyncExitStack) -> GrpcServer:
    from bridge.grpc_server import GrpcServer  # a server can do without

    return GrpcServer(config, stack)


def _nobody(is_well: bool) -> None:
    pass


async def _sweep(host: SessionHost, on_change: Callable[[bool], None]) -> None:
    """Frees what is over, and so finds out whether the store answers; tells when that has changed."""
    was_well = True
    while True:
        await asyncio.sleep(SWEEP_INTERVAL)
        try:
            await host.sweep()
            is_well = True
        except BridgeError as error:
            is_well = False
            if was_well:
                log.error("sessions cannot be kept: %s", error.message)
        except Exception:  # a bug must not end the sweeping
            is_well = False
            log.exception("looking for what has expired failed")
        if is_well != was_well:
            if is_well:
                log.warning("sessions are kept again")
            on_change(is_well)
            was_well = is_well


def _stopping() -> BridgeError:
    message = "the host is stopping; resume the watch when it, or another one, is back"
    return BridgeError(Code.UNAVAILABLE, message, reason="SHUTDOWN")


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def _announce(config: ServerConfig, server: Server) -> None:
    """Tells the world: the files are written last, when calls are answered."""
    if config.write_client is not None:
        # What `bridge certs` lays beside the server's own files is meant for clients.
        ca = _beside(config.tls_cert, "ca.pem")
        certificate = _beside(config.tls_cert, "client.pem") if config.tls_client_ca else None
        write_client_config(
            config.write_client,
            target=_reachable(server.addresses[0]),
            ca=ca or config.tls_cert,
            token_file=_beside(config.tokens, "client.token") or config.tokens,
            certificate=certificate,
            private_key=_beside(config.tls_cert, "client.key") if certificate else None,
        )
    if config.ready_file is not None:
        ready: dict[str, Any] = {"addresses": server.addresses, "pid": os.getpid(), "version": __version__}
        if server.jsonrpc_address:
            ready["jsonrpc"] = server.jsonrpc_address
        write_atomically(config.ready_file, msgspec.json.encode(ready).decode() + "\n")


def _beside(file: Path | None, name: str) -> Path | None:
    sibling = None if file is None else file.parent / name
    return sibling if sibling is not None and sibling.is_file() else None


def _reachable(address: str) -> str:
    """An address a client on this machine can use for one that means "everywhere"."""
    host, colon, port = address.rpartition(":")
    return f"localhost:{port}" if colon and host in ("0.0.0.0", "[::]") else address  # noqa: S104 - read, not bound
