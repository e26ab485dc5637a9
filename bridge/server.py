"""The composition root: a configuration becomes parts, and the parts start, drain and stop in order."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bridge import engines
from bridge._version import __version__
from bridge.client_config import ClientConfig
from bridge.codec import DEFAULT_LIMITS
from bridge.config import ServerConfig
from bridge.credentials import AuthorizedChannel
from bridge.dispatcher import CallLimits, Dispatcher
from bridge.engines.base import Authenticate, Channel, ChannelOptions, Method, ServerEngine, ServerOptions, ServerTls
from bridge.errors import BridgeError, Code
from bridge.executors.base import Executor
from bridge.executors.inline import InlineExecutor
from bridge.executors.thread import ThreadExecutor
from bridge.frontends import catalog
from bridge.frontends.grpc import BRIDGE, HOST, ToolFrontend
from bridge.frontends.health import Health
from bridge.frontends.host_service import host_methods
from bridge.host import Host
from bridge.hosts.grpc import GrpcHost
from bridge.hosts.limits import HostLimits
from bridge.hosts.observed import ObservedHost
from bridge.hosts.sessions import SessionHost
from bridge.invocation import ErrorPolicy
from bridge.listeners import (
    TcpAddress,
    UnixAddress,
    is_loopback,
    parse_address,
    prepare_unix,
    probe_tcp,
    require_secure,
)
from bridge.registry import Registry
from bridge.security import TokenFile, authenticator, load_tls, write_atomically, write_client_config
from bridge.stores import make_store
from bridge.telemetry.setup import Telemetry, configure
from bridge.tool import IN_PROCESSES
from bridge.v1.bridge_pb2 import GetServerInfoResponse, Limits

if TYPE_CHECKING:
    from bridge.executors.process import ProcessExecutor

__all__ = ["Server", "run_server"]

log = logging.getLogger("bridge.server")

SWEEP_INTERVAL = 1.0
"""Seconds between two looks for sessions and variables that have expired: so late a watch may hear of it."""

HERE = ("inline", "thread")
"""Ways to run a tool in the server's own process."""

Role = Literal["bridge", "host"]


class Server(msgspec.Struct):
    """A server that answers."""

    addresses: list[str]
    """Where, as clients write it."""
    health: Health
    dispatcher: Dispatcher
    host: Host
    registry: Registry
    config: ServerConfig
    clean: bool = True
    """After it has stopped: whether every tool had ended."""


@asynccontextmanager
async def run_server(
    config: ServerConfig, adapters: Sequence[type], role: Role = "bridge", *, own_process: bool = False
) -> AsyncIterator[Server]:
    """Runs a server as long as the block runs; leaving it drains.

    Args:
        config: settled configuration.
        adapters: adapter classes: the bridge's tools, or, for a host, the host's own.
        role: ``"bridge"`` runs tools and has sessions of its own unless ``config.host`` names another host;
            ``"host"`` keeps sessions and variables for bridges.
        own_process: whether the process is there for this server only, so that its logging is the server's to set up.

    Raises ``BridgeError`` before anything answers if the adapters, the configuration or an address is wrong.
    """
    _check_protobuf()
    registry = Registry(adapters, config.isolation)
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
        parts = _Parts(config, registry, telemetry, role, audit)
        stack.push_async_callback(parts.aclose)
        if isinstance(parts.host, SessionHost):
            await parts.host.open()
        await parts.start_workers()
        await stack.enter_async_context(registry.open(HERE))

        server = Server(bound, parts.health, parts.dispatcher, parts.host, registry, config)
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


class _Parts:
    """The path of a call, put together."""

    def __init__(self, config: ServerConfig, registry: Registry, telemetry: Telemetry, role: Role, audit: bool) -> None:
        self._config, self._registry, self._role = config, registry, role
        self._is_stopping = False
        metrics = telemetry.metrics
        self._executors: dict[str, Executor] = {
            "inline": InlineExecutor(),
            "thread": ThreadExecutor(config.threads, config.queue_size, metrics.queue_wait if metrics else None),
        }
        self._workers = _worker_executor(config, registry, metrics.queue_wait if metrics else None, self._on_workers)
        if self._workers is not None:
            self._executors |= dict.fromkeys(IN_PROCESSES, self._workers)
        self.dispatcher = Dispatcher(
            registry,
            self._executors,
            CallLimits(
                config.max_concurrent_calls, config.max_in_flight_bytes, config.default_timeout, config.max_timeout
            ),
            interceptors=telemetry.interceptors((tool.name for tool in registry.tools), audit=audit),
            errors=ErrorPolicy(config.redact_errors, config.debug),
            on_execution=metrics.execution if metrics else None,
        )
        self.host = self._make_host()
        watched = telemetry.metrics is not None or telemetry.tracer is not None
        names = self._names = BRIDGE if role == "bridge" else HOST
        self.health = Health([BRIDGE.service, HOST.service] if self._is_host() else [names.service])
        self._frontend = ToolFrontend(
            self.dispatcher,
            ObservedHost(self.host, metrics.callback if metrics else None) if watched else self.host,
            names,
            max_message_bytes=config.max_message_bytes,
            on_response=metrics.response_size if metrics else None,
        )

    async def start_workers(self) -> None:
        """Starts the first worker processes, if there are tools for them."""
        if self._workers is not None:
            await self._workers.start()

    def stop(self) -> None:
        """Tells that no new calls are welcome."""
        self._is_stopping = True
        self.health.set(False)

    def _on_workers(self, are_well: bool) -> None:
        # A server that has other tools goes on with those.
        if not self._is_stopping and all(tool.isolation in IN_PROCESSES for tool in self._registry.tools):
            self.health.set(are_well, self._names.service)

    def _is_host(self) -> bool:
        return isinstance(self.host, SessionHost)

    def _make_host(self) -> Host:
        config = self._config
        if config.host:
            return GrpcHost(_dial(config))
        limits = HostLimits(
            max_sessions=config.max_sessions,
            max_variables=config.max_variables,
            max_variable_bytes=config.max_variable_bytes,
            max_session_bytes=config.max_session_bytes,
            history_entries=config.history_entries,
            history_bytes=config.history_bytes,
            max_watches=config.max_watches,
            default_ttl=config.session_ttl,
            max_ttl=max(config.session_ttl, HostLimits().max_ttl),
        )
        return SessionHost(
            make_store(config.store),
            limits=limits,
            tools=self.dispatcher if self._role == "host" else None,
            trusted_principals=config.trusted_principals,
            auto_open=config.sessions == "auto-open",
            lists_anonymous=all(is_loopback(parse_address(address)) for address in config.listen),
        )

    def methods(self, reflection: bool) -> list[Method]:
        methods = [*self._frontend.methods(), *self.health.methods()]
        if isinstance(self.host, SessionHost):
            methods += host_methods(self.host, max_message_bytes=self._config.max_message_bytes)
        tools = self._registry.tools
        if self._role == "host":
            return [*methods, *catalog.host_catalog(tools)]
        return [*methods, *catalog.server_catalog(tools, self._info(reflection))]

    def _info(self, reflection: bool) -> GetServerInfoResponse:
        config = self._config
        info = GetServerInfoResponse(
            name="tool-bridge",
            version=__version__,
            protocols=["bridge.v1"],
            features=[name for name, on in (("host", self._is_host()), ("reflection", reflection)) if on],
            adapters=[adapter.name for adapter in self._registry.adapters],
            limits=Limits(
                max_message_bytes=config.max_message_bytes,
                max_metadata_bytes=config.max_metadata_bytes,
                max_concurrent_calls=config.max_concurrent_calls,
                max_depth=DEFAULT_LIMITS.max_depth,
                max_call_duration=catalog.duration(config.max_timeout),
                max_in_flight_bytes=config.max_in_flight_bytes,
            ),
        )
        info.started_at.FromNanoseconds(time.time_ns())
        return info

    async def aclose(self) -> None:
        for executor in dict.fromkeys(self._executors.values()):
            await executor.aclose()
        await self.host.aclose()


def _worker_executor(
    config: ServerConfig,
    registry: Registry,
    on_wait: Callable[[str, float], None] | None,
    on_health: Callable[[bool], None],
) -> ProcessExecutor | None:
    """The executor of tools in processes; ``None``, and nothing imported for it, if there are none."""
    isolations = {tool.isolation for tool in registry.tools} & IN_PROCESSES
    if not isolations:
        return None
    from bridge.executors.process import PoolLimits, ProcessExecutor, Settings  # most servers need none of it

    return ProcessExecutor(
        [adapter.cls for adapter in registry.using(IN_PROCESSES)],
        sorted(isolations),
        PoolLimits(
            workers=config.workers,
            queue_size=config.queue_size,
            max_calls=config.worker_max_calls,
            ttl=config.worker_ttl,
            max_rss=config.worker_max_rss,
        ),
        grace=config.worker_grace,
        settings=Settings(config.redact_errors, config.debug, config.max_message_bytes, config.log_level),
        on_wait=on_wait,
        on_health=on_health,
    )


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


def _dial(config: ServerConfig) -> Channel:
    """A connection to the host, by its address or by a ``client.json`` with certificates and a token."""
    if not config.host.endswith(".json"):
        return engines.connect(config.host, engine=config.engine)
    host = ClientConfig.load(config.host)
    channel = engines.connect(host.target, ChannelOptions(tls=host.tls()), engine=config.engine)
    return channel if host.token_file is None else AuthorizedChannel(channel, host.token_file)


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
