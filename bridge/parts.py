"""The parts of a server, put together: the path of a call, the host, the workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from bridge import engines
from bridge._version import __version__
from bridge.client_config import ClientConfig
from bridge.codec import DEFAULT_LIMITS
from bridge.config import ServerConfig
from bridge.credentials import AuthorizedChannel
from bridge.dispatcher import CallLimits, Dispatcher
from bridge.engines.base import Channel, ChannelOptions, Method
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
from bridge.listeners import is_loopback, parse_address
from bridge.registry import Registry
from bridge.stores import make_store
from bridge.telemetry.setup import Telemetry
from bridge.tool import ELSEWHERE
from bridge.tool_specs import duration
from bridge.v1.bridge_pb2 import GetServerInfoResponse, Limits

if TYPE_CHECKING:
    from bridge.manifest import Manifest
    from bridge.workplaces import Workplaces

__all__ = ["Parts", "Role"]

Role = Literal["bridge", "host"]


class Parts:
    """The path of a call, put together."""

    def __init__(
        self,
        config: ServerConfig,
        registry: Registry,
        plugins: Sequence[Manifest],
        telemetry: Telemetry,
        role: Role,
        audit: bool,
    ) -> None:
        self._config, self._registry, self._role = config, registry, role
        self._is_stopping = False
        metrics = telemetry.metrics
        self._executors: dict[str, Executor] = {
            "inline": InlineExecutor(),
            "thread": ThreadExecutor(config.threads, config.queue_size, metrics.queue_wait if metrics else None),
        }
        self._metrics = metrics
        self._workplaces = _workplaces(
            config, registry, plugins, metrics.queue_wait if metrics else None, self._on_workers
        )
        if self._workplaces is not None:
            self._executors |= self._workplaces.executors
        self.dispatcher = Dispatcher(
            registry,
            self._executors,
            CallLimits(
                config.max_concurrent_calls,
                config.max_in_flight_bytes,
                config.default_timeout,
                config.max_timeout,
                config.queue_size,
            ),
            interceptors=telemetry.interceptors((tool.name for tool in registry.tools), audit=audit),
            errors=ErrorPolicy(config.redact_errors, config.debug),
            on_execution=metrics.execution if metrics else None,
            on_wait=metrics.queue_wait if metrics else None,
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
        if self._workplaces is not None:
            await self._workplaces.start()
            self._count_tools()

    async def reload(self) -> None:
        """Exchanges the code of tools in worker processes."""
        if self._workplaces is None:
            message = "no tool runs in a worker process, and code in the server's own process cannot be exchanged"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="NOTHING_TO_RELOAD")
        await self._workplaces.reload()
        self._count_tools()

    def _count_tools(self) -> None:
        if self._metrics is not None:
            self._metrics.register_tools(tool.name for tool in self._registry.tools)

    def stop(self) -> None:
        """Tells that no new calls are welcome."""
        self._is_stopping = True
        self.health.set(False)

    def _on_workers(self) -> None:
        # A server that has other tools goes on with those.
        if not self._is_stopping and self._workplaces is not None:
            self.health.set(any(map(self._workplaces.is_well, self._registry.places)), self._names.service)

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
        if self._role == "host":
            return [*methods, *catalog.host_catalog(self._registry)]
        return [*methods, *catalog.server_catalog(self._registry, partial(self._info, reflection))]

    def _info(self, reflection: bool) -> GetServerInfoResponse:
        config = self._config
        info = GetServerInfoResponse(
            name="tool-bridge",
            version=__version__,
            protocols=["bridge.v1"],
            features=[name for name, on in (("host", self._is_host()), ("reflection", reflection)) if on],
            adapters=self._registry.owners,
            limits=Limits(
                max_message_bytes=config.max_message_bytes,
                max_metadata_bytes=config.max_metadata_bytes,
                max_concurrent_calls=config.max_concurrent_calls,
                max_depth=DEFAULT_LIMITS.max_depth,
                max_call_duration=duration(config.max_timeout),
                max_in_flight_bytes=config.max_in_flight_bytes,
            ),
        )
        info.started_at.FromNanoseconds(time.time_ns())
        return info

    async def aclose(self) -> None:
        for executor in dict.fromkeys(self._executors.values()):
            await executor.aclose()
        await self.host.aclose()


def _workplaces(
    config: ServerConfig,
    registry: Registry,
    plugins: Sequence[Manifest],
    on_wait: Callable[[str, float], None] | None,
    on_change: Callable[[], None],
) -> Workplaces | None:
    """What runs in other processes; ``None``, and nothing imported for it, if there is nothing."""
    if not plugins and not registry.using(ELSEWHERE):
        return None
    from bridge.workplaces import Workplaces  # most servers need none of it

    return Workplaces(config, registry, plugins, on_wait=on_wait, on_change=on_change)


def _dial(config: ServerConfig) -> Channel:
    """A connection to the host, by its address or by a ``client.json`` with certificates and a token."""
    if not config.host.endswith(".json"):
        return engines.connect(config.host, engine=config.engine)
    host = ClientConfig.load(config.host)
    channel = engines.connect(host.target, ChannelOptions(tls=host.tls()), engine=config.engine)
    return channel if host.token_file is None else AuthorizedChannel(channel, host.token_file)
