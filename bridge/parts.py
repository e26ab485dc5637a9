"""The parts of a server, put together: the path of a call, the host, the workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from bridge.config import ServerConfig
from bridge.dispatcher import CallLimits, Dispatcher
from bridge.errors import BridgeError, Code
from bridge.executors.base import Executor
from bridge.executors.inline import InlineExecutor
from bridge.executors.thread import ThreadExecutor
from bridge.host import Host
from bridge.hosts.observed import ObservedHost
from bridge.invocation import ErrorPolicy
from bridge.listeners import is_loopback, parse_address
from bridge.registry import Registry
from bridge.telemetry.setup import Telemetry
from bridge.tool import ELSEWHERE

if TYPE_CHECKING:
    from bridge.engines.base import Channel
    from bridge.hosts.sessions import SessionHost
    from bridge.manifest import Manifest
    from bridge.snakepit_parts import SnakepitParts
    from bridge.workplaces import Workplaces

__all__ = ["Parts", "Role", "other_host"]

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
        host: Host | None = None,
    ) -> None:
        self._config, self._role = config, role
        self.registry = registry
        self.on_workers: Callable[[bool], None] = _nobody
        """Told whether there are tools that can be called, when worker processes have come or gone."""
        self.on_stop: list[Callable[[], None]] = []
        """Told that no new calls are welcome."""
        self.on_reload: list[Callable[[], None]] = []
        """Told that tools may have changed."""
        self._is_stopping = False
        metrics = telemetry.metrics
        self._executors: dict[str, Executor] = {
            "inline": InlineExecutor(),
            "thread": ThreadExecutor(config.threads, config.queue_size, metrics.queue_wait if metrics else None),
        }
        self._metrics = metrics
        self.on_response = metrics.response_size if metrics else None
        """Told the tool and the bytes of each response; ``None``: nobody wants to know."""
        self.snakepit = _snakepit(config, role)
        """What Snakepit's wire needs; ``None`` if it is not spoken."""
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
            interceptors=(
                *telemetry.interceptors((tool.name for tool in registry.tools), audit=audit),
                *(self.snakepit.interceptors() if self.snakepit else ()),
            ),
            errors=ErrorPolicy(config.redact_errors, config.debug),
            on_execution=metrics.execution if metrics else None,
            on_wait=metrics.queue_wait if metrics else None,
        )
        self.session_host = None if host is not None or config.host else self._make_host()
        """The host, if its sessions and variables are kept, and served, here."""
        self.host = host or self.session_host or other_host(config)
        self._is_watched = telemetry.metrics is not None or telemetry.tracer is not None
        self.seen_host = self.observed(self.host)
        """The host as tools see it."""

    def observed(self, host: Host) -> Host:
        """A host that is traced and measured, if anybody looks at that."""
        if not self._is_watched:
            return host
        return ObservedHost(host, self._metrics.callback if self._metrics else None)

    async def start_workers(self) -> None:
        """Starts the first worker processes, if there are tools for them."""
        if self.snakepit is not None:
            self.snakepit.start()
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
        for tell in self.on_reload:
            tell()

    def _count_tools(self) -> None:
        if self._metrics is not None:
            self._metrics.register_tools(tool.name for tool in self.registry.tools)

    def stop(self) -> None:
        """Tells that no new calls are welcome."""
        self._is_stopping = True
        for tell in self.on_stop:
            tell()
        if self.snakepit is not None:
            self.snakepit.stop()

    def _on_workers(self) -> None:
        # A server that has other tools goes on with those.
        if not self._is_stopping and self._workplaces is not None:
            self.on_workers(any(map(self._workplaces.is_well, self.registry.places)))

    def _make_host(self) -> SessionHost:
        from bridge.hosts.limits import HostLimits  # whose host is elsewhere needs none of it
        from bridge.hosts.sessions import SessionHost
        from bridge.stores import make_store

        config = self._config
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
            chosen_ids=config.snakepit,
        )

    async def aclose(self) -> None:
        if self.snakepit is not None:
            self.snakepit.stop()
        for executor in dict.fromkeys(self._executors.values()):
            await executor.aclose()
        await self.host.aclose()


def _nobody(are_well: bool) -> None:
    pass


def _snakepit(config: ServerConfig, role: Role) -> SnakepitParts | None:
    if not config.snakepit:
        return None
    from bridge.snakepit_parts import SnakepitParts  # most servers need none of it

    return SnakepitParts(config, role)


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


def other_host(config: ServerConfig) -> Host:
    """The host that a configuration names, by its address or by a ``client.json`` with certificates and a token."""
    from bridge.hosts.grpc import GrpcHost  # who keeps sessions itself needs none of it

    return GrpcHost(_dial(config))


def _dial(config: ServerConfig) -> Channel:
    from bridge import engines
    from bridge.client_config import ClientConfig
    from bridge.credentials import AuthorizedChannel
    from bridge.engines.base import ChannelOptions

    if not config.host.endswith(".json"):
        return engines.connect(config.host, engine=config.engine)
    host = ClientConfig.load(config.host)
    channel = engines.connect(host.target, ChannelOptions(tls=host.tls()), engine=config.engine)
    return channel if host.token_file is None else AuthorizedChannel(channel, host.token_file)
