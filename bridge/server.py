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

from bridge import engines
from bridge._version import __version__
from bridge.config import ServerConfig
from bridge.dispatcher import Dispatcher
from bridge.engines.base import Authenticate, ServerEngine, ServerOptions, ServerTls
from bridge.errors import BridgeError, Code
from bridge.frontends.grpc import HOST
from bridge.frontends.health import Health
from bridge.host import Host
from bridge.hosts.sessions import SessionHost
from bridge.listeners import (
    TcpAddress,
    UnixAddress,
    is_loopback,
    parse_address,
    prepare_unix,
    probe_tcp,
    require_secure,
)
from bridge.parts import Parts, Role
from bridge.registry import Registry
from bridge.security import TokenFile, authenticator, load_tls, write_atomically, write_client_config
from bridge.telemetry.setup import configure

if TYPE_CHECKING:
    from bridge.manifest import Manifest

__all__ = ["Server", "run_server"]

log = logging.getLogger("bridge.server")

SWEEP_INTERVAL = 1.0
"""Seconds between two looks for sessions and variables that have expired: so late a watch may hear of it."""

HERE = ("inline", "thread")
"""Ways to run a tool in the server's own process."""


class Server(msgspec.Struct):
    """A server that answers."""

    addresses: list[str]
    """Where, as clients write it."""
    health: Health
    dispatcher: Dispatcher
    host: Host
    registry: Registry
    config: ServerConfig
    reload: Callable[[], Awaitable[None]]
    """Exchanges the code of tools in worker processes, as ``Workplaces.reload`` says."""
    clean: bool = True
    """After it has stopped: whether every tool had ended."""


@asynccontextmanager
async def run_server(
    config: ServerConfig,
    adapters: Sequence[type],
    role: Role = "bridge",
    *,
    plugins: Sequence[Manifest] = (),
    own_process: bool = False,
) -> AsyncIterator[Server]:
    """Runs a server as long as the block runs; leaving it drains.

    Args:
        config: settled configuration.
        adapters: adapter classes: the bridge's tools, or, for a host, the host's own.
        role: ``"bridge"`` runs tools and has sessions of its own unless ``config.host`` names another host;
            ``"host"`` keeps sessions and variables for bridges.
        plugins: manifests of adapters that live in other interpreters.
        own_process: whether the process is there for this server only, so that its logging is the server's to set up.

    Raises ``BridgeError`` before anything answers if the adapters, the configuration or an address is wrong.
    """
    _check_protobuf()
    registry = Registry(adapters, config.isolation, everything_in_processes=config.reload)
    tls, tokens = _credentials(config)
    addresses = [parse_address(text) for text in config.listen]
    authenticate = authenticator(tokens, tls)
    require_secure(addresses, tls=tls is not None, auth=authenticate is not None, insecure=config.insecure)
    reflection = config.reflection == "on" or (config.reflection == "auto" and all(map(is_loopback, addresses)))

    async with AsyncExitStack() as stack:
        telemetry = configure(
            tracing=config.tracing,
            metrics_address=config.metrics,
            log_format=config.log_format if own_process else "",
            log_level=config.log_level,
            service_name="tool-bridge" if role == "bridge" else "tool-bridge-host",
        )
        stack.push_async_callback(telemetry.aclose)
        engine = engines.serve(_engine_options(config, tls, authenticate, reflection), engine=config.engine)
        # The engine goes last: until then a call is answered, if only by "draining".
        stack.push_async_callback(engine.aclose, 0.5)
        bound = [_listen(engine, address, stack) for address in addresses]
        audit = config.audit == "on" or (config.audit == "auto" and authenticate is not None)
        parts = Parts(config, registry, plugins, telemetry, role, audit)
        stack.push_async_callback(parts.aclose)
        if isinstance(parts.host, SessionHost):
            await parts.host.open()
        await parts.start_workers()
        await stack.enter_async_context(registry.open(HERE))

        server = Server(bound, parts.health, parts.dispatcher, parts.host, registry, config, parts.reload)
        await engine.start(parts.methods(reflection))
        parts.health.set(True)
        if isinstance(parts.host, SessionHost):
            stack.push_async_callback(_cancelled, asyncio.create_task(_sweep(parts.host, parts.health)))
        _announce(config, server)
        try:
            yield server
        finally:
            parts.stop()
            if isinstance(parts.host, SessionHost):
                parts.host.end_watches(_stopping())
            server.clean = await parts.dispatcher.drain(config.grace)


def _check_protobuf() -> None:
    from google.protobuf.internal import api_implementation  # the one place that tells

    if api_implementation.Type() == "python":
        # It parses some inputs in other ways than the rest of the world, and a hundred times slower.
        raise BridgeError(
            Code.FAILED_PRECONDITION,
            "protobuf runs on its pure-Python backend: unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION, or reinstall "
            "protobuf for this platform",
            reason="PROTOBUF_BACKEND",
        )


def _engine_options(
    config: ServerConfig, tls: ServerTls | None, authenticate: Authenticate | None, reflection: bool
) -> ServerOptions:
    return ServerOptions(
        max_message_bytes=config.max_message_bytes,
        max_metadata_bytes=config.max_metadata_bytes,
        # A last wall above our own admission, wide enough for control methods beside as many calls as are allowed.
        max_concurrent_streams=max(256, 2 * config.max_concurrent_calls),
        tls=tls,
        authenticate=authenticate,
        reflection=reflection,
    )


def _credentials(config: ServerConfig) -> tuple[ServerTls | None, TokenFile | None]:
    tls = None
    if config.tls_cert is not None and config.tls_key is not None:
        tls = load_tls(config.tls_cert, config.tls_key, config.tls_client_ca)
    return tls, None if config.tokens is None else TokenFile(config.tokens)


def _listen(engine: ServerEngine, address: TcpAddress | UnixAddress, stack: AsyncExitStack) -> str:
    if isinstance(address, UnixAddress):
        listener = stack.enter_context(prepare_unix(address.path))
        with listener.binding():
            return engine.listen(listener.address)
    probe_tcp(address.host, address.port)
    return engine.listen(str(address))


async def _sweep(host: SessionHost, health: Health) -> None:
    """Frees what is over, and so finds out whether the store answers."""
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
            health.set(is_well, HOST.service)
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
        ready = {"addresses": server.addresses, "pid": os.getpid(), "version": __version__}
        write_atomically(config.ready_file, msgspec.json.encode(ready).decode() + "\n")


def _beside(file: Path | None, name: str) -> Path | None:
    sibling = None if file is None else file.parent / name
    return sibling if sibling is not None and sibling.is_file() else None


def _reachable(address: str) -> str:
    """An address a client on this machine can use for one that means "everywhere"."""
    host, colon, port = address.rpartition(":")
    return f"localhost:{port}" if colon and host in ("0.0.0.0", "[::]") else address  # noqa: S104 - read, not bound
