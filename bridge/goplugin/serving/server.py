"""The plugin's side: a server that a host has started, from the cookie to the end."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from bridge import engines
from bridge.engines.base import ServerEngine, ServerOptions
from bridge.engines.services import Services
from bridge.engines.token_bucket import RateLimit
from bridge.errors import BridgeError, Code
from bridge.frontends.health import Health
from bridge.goplugin import messages
from bridge.goplugin.brokering.broker import Broker
from bridge.goplugin.go_values import parse_bool
from bridge.goplugin.handshake import Handshake, HandshakeConfig, check_cookie
from bridge.goplugin.hclog import HclogHandler
from bridge.goplugin.log_levels import level_number
from bridge.goplugin.output.stdio import Stdio
from bridge.goplugin.plugin import Plugin, PluginSet, plugin_sets
from bridge.goplugin.reattach import ReattachConfig
from bridge.goplugin.serving.controller import controller_methods
from bridge.goplugin.serving.lifetime import LIMIT, EndRules, Lifetime
from bridge.goplugin.serving.listening import listen_directly, listen_in_front
from bridge.goplugin.serving.open_connections import has_connections
from bridge.goplugin.serving.settings import HostWishes, ServeSettings, settle
from bridge.goplugin.transport.sockets import SocketPlace
from bridge.goplugin.versions import negotiate

if TYPE_CHECKING:
    from bridge.goplugin.transport.identity import Tls

__all__ = ["PluginServer", "plugin_server"]

SERVICE = "plugin"
"""What go-plugin's hosts ask health for."""
MAX_METADATA_BYTES = 64 * 1024
"""Of the headers of a call."""
MAX_STREAMS = 10_000
"""Calls at a time. A plugin has one host, whose calls it does not refuse; Go has no limit."""
CLOSE_TIME = 0.2
"""Seconds of the grace period that are for the answers and the output of the last calls."""

log = logging.getLogger("bridge.goplugin")


class PluginServer:
    """A plugin that is served. ``plugin_server`` makes it."""

    def __init__(self, handshake: Handshake, lifetime: Lifetime, broker: Broker, *, test: bool) -> None:
        self.handshake = handshake
        """What its host was told."""
        self.broker = broker
        """For more connections to the host."""
        self._lifetime, self._test = lifetime, test

    @property
    def reattach(self) -> ReattachConfig:
        """What another host needs to connect to it; not possible with AutoMTLS."""
        return ReattachConfig(
            network=self.handshake.network,
            address=self.handshake.address,
            protocol_version=self.handshake.protocol_version,
            pid=os.getpid(),
            test=self._test,
        )

    async def wait(self) -> str:
        """Returns when the plugin has to end, and why: ``shutdown``, ``sigterm``, ``sighup``, ``shutdown_file``,
        ``host_gone``, ``disconnected``, or what ``stop`` was given."""
        return await self._lifetime.wait()

    def stop(self, why: str = "stopped") -> None:
        """Has ``wait`` return."""
        self._lifetime.request(why)


@asynccontextmanager
async def plugin_server(
    *,
    handshake: HandshakeConfig,
    plugins: PluginSet | None = None,
    versioned_plugins: Mapping[int, PluginSet] | None = None,
    tls: Tls | None = None,
    test: bool = False,
    environ: Mapping[str, str] = os.environ,
    **settings: Any,
) -> AsyncIterator[PluginServer]:
    """Serves plugins as long as the block runs, usually ``await server.wait()``. What ``serve`` does, for who has an
    event loop.

    Stdout and stderr of the process are captured for the host meanwhile, SIGINT is ignored, and SIGTERM and SIGHUP
    make ``wait`` return. At the end running calls get the grace period, and what was printed goes to the host.

    Args:
        handshake: what the plugin and its hosts have agreed on.
        plugins: by name, where there is one version of them, that of ``handshake``.
        versioned_plugins: by version of the application's protocol, and name.
        tls: of one's own, see ``static_tls``; AutoMTLS is then not done, even if the host asks for it.
        test: for tests and debuggers: there is no host. The cookie is not looked at, no line is on stdout, signals
            and output are left alone, and a host finds the plugin by ``PluginServer.reattach``.
        environ: the environment, where the host says what it wants.
        settings: as in ``ServeSettings``; what is not given is taken from the environment.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``NOT_A_PLUGIN``, if no host has started the process;
    INVALID_ARGUMENT, ``PLUGIN_SETTING``; ``BAD_CERTIFICATE``; and as the plugins do.
    """
    if not test and (advice := check_cookie(handshake, environ)) is not None:
        raise BridgeError(Code.FAILED_PRECONDITION, advice.strip(), reason="NOT_A_PLUGIN")
    sets = plugin_sets(handshake.protocol_version, plugins, versioned_plugins)
    config, wishes = settle(environ, settings), HostWishes.read(environ)
    version = negotiate(sets, wishes.protocol_versions)
    async with AsyncExitStack() as stack:
        place = stack.enter_context(SocketPlace.from_environment(environ))
        serving = _Serving(config, wishes, place, test=test)
        # Capturing is the first that happens: what is printed while the rest starts is for the host, too.
        await serving.start_stdio(stack)
        yield await serving.serve(version, sets[version], tls, stack)


class _Serving:
    """The parts of a served plugin, as they come and go."""

    def __init__(self, config: ServeSettings, wishes: HostWishes, place: SocketPlace, *, test: bool) -> None:
        self._config, self._wishes, self._place, self._test = config, wishes, place, test
        self._address, self._is_told = ("", ""), False
        self._lifetime: Lifetime
        self._stdio = Stdio(capture=not test, connected=lambda: self._lifetime.connected())

    async def start_stdio(self, stack: AsyncExitStack) -> None:
        """Captures what is printed, shows the host what is logged, and watches for the end."""
        stdio = self._stdio
        stdio.start()
        stack.callback(stdio.close)
        stack.push_async_callback(self._end_stdio)
        if not self._test:
            stack.enter_context(_logging_to(stdio.log_out, level_number(self._config.log_level)))
        config = self._config
        self._lifetime = Lifetime(
            EndRules(
                exit_with_host=config.exit_with_host,
                linger=config.linger,
                disconnect_timeout=config.disconnect_timeout,
                shutdown_file=config.shutdown_file,
                limit=max(LIMIT, config.grace + LIMIT - ServeSettings().grace),
            ),
            test=self._test,
            log_out=-1 if self._test else stdio.log_out,
            cleanup=self._place.close,
            is_connected=lambda: has_connections(*self._address),
        )
        self._lifetime.start()
        stack.callback(self._lifetime.close)

    async def serve(self, version: int, plugins: PluginSet, own_tls: Tls | None, stack: AsyncExitStack) -> PluginServer:
        """Listens, answers, and tells the host."""
        config, wishes = self._config, self._wishes
        tls, certificate = (own_tls, b"") if own_tls or not wishes.client_cert else _auto_mtls(wishes.client_cert)
        options = _options(config)
        engine = engines.serve(options)
        stack.push_async_callback(engine.aclose, CLOSE_TIME)
        # As Go's plugins have it: what is no boolean is no wish.
        multiplex, ports = parse_bool(wishes.multiplex_grpc) is True, (wishes.min_port, wishes.max_port)
        if tls is None and not multiplex:
            address, multiplexer = listen_directly(engine, self._place, config.network, ports), None
        else:
            address, multiplexer = await listen_in_front(
                engine, self._place, config.network, ports, tls=tls, multiplex=multiplex, stack=stack
            )
        self._address = (config.network, address)
        broker = Broker(self._place, options=options, tls=tls, multiplexer=multiplexer)
        stack.push_async_callback(broker.aclose)
        services = await _registered(plugins, broker, stack)
        health = Health([SERVICE])
        methods = [
            *health.methods(),
            *controller_methods(self._shut_down),
            *self._stdio.methods(),
            *broker.methods(),
        ]
        await engine.start(methods, services)
        stack.push_async_callback(self._drain, engine, health)
        health.set(True)
        line = Handshake(
            protocol_version=version,
            network=config.network,
            address=address,
            server_certificate=certificate,
            multiplexing=True if wishes.multiplex_grpc else None,  # whether it could be had, as Go's plugins say
        )
        if not self._test:
            _tell(self._stdio.handshake_out, line)
            self._is_told = True
        return PluginServer(line, self._lifetime, broker, test=self._test)

    async def _end_stdio(self) -> None:
        if not self._is_told:
            self._stdio.give_up()
        await self._stdio.stop(0.0)

    async def _shut_down(self) -> None:
        """As the host wishes, who gets what was printed before it hangs up."""
        await self._stdio.flush()
        self._lifetime.request("shutdown")

    async def _drain(self, engine: ServerEngine, health: Health) -> None:
        """Lets running calls end, and what they print arrive, while the host is still connected."""
        health.set(False)
        await engine.drain(max(0.0, self._config.grace - CLOSE_TIME))
        await self._stdio.stop(CLOSE_TIME)


def _auto_mtls(peer: str) -> tuple[Tls, bytes]:
    """TLS with the host, and the certificate that it is told."""
    from bridge.goplugin.transport.identity import make_identity, mutual_tls  # plain plugins start faster without

    identity = make_identity()
    try:
        return mutual_tls(identity, peer.encode("utf-8", "surrogateescape"), peer_is="host"), identity.der
    except BridgeError as error:
        if error.reason != "BAD_CERTIFICATE":
            raise
        raise BridgeError(error.code, f"PLUGIN_CLIENT_CERT: {error.message}", reason=error.reason) from error


def _options(config: ServeSettings) -> ServerOptions:
    limit = RateLimit(config.rate_limit, config.rate_burst) if config.rate_limit else None
    return ServerOptions(
        max_message_bytes=config.max_message_bytes,
        max_metadata_bytes=MAX_METADATA_BYTES,
        max_concurrent_streams=MAX_STREAMS,
        reflection=config.reflection,
        reflection_pools=(messages.DESCRIPTOR.pool,),
        rate_limit=limit,
    )


async def _registered(plugins: PluginSet, broker: Broker, stack: AsyncExitStack) -> Services:
    """What the plugins serve; they are open from here on."""
    services = Services()
    members: dict[int, Plugin] = {id(plugin): plugin for plugin in plugins.values()}  # one may have several names
    for plugin in members.values():
        await plugin.open(broker)
        stack.push_async_callback(plugin.aclose)
        plugin.register(services, broker)
    return services


def _tell(out: int, line: Handshake) -> None:
    """Writes the line, of which a host reads nothing but the first that comes."""
    data = os.fsencode(line.line())
    while data:
        data = data[os.write(out, data) :]


@contextmanager
def _logging_to(fd: int, level: int) -> Iterator[None]:
    """Shows the host what is logged, at its level, in the form that it reads."""
    root = logging.getLogger()
    handler, before = HclogHandler(fd, level), root.level
    root.addHandler(handler)
    root.setLevel(min(before, level))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
