"""The gRPC side of a server: its engine, the addresses it serves, and who may call."""

from __future__ import annotations

from contextlib import AsyncExitStack

from bridge import engines
from bridge.config import ServerConfig
from bridge.engines.base import Authenticate, ServerEngine, ServerOptions, ServerTls
from bridge.errors import BridgeError, Code
from bridge.frontends.health import Health
from bridge.grpc_parts import GrpcParts
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
from bridge.security import TokenFile, authenticator, load_tls

__all__ = ["GrpcServer"]


class GrpcServer:
    """Has taken the addresses of a configuration, and answers at them when it is started.

    Args:
        config: the server's.
        stack: lets go of them.

    Raises ``BridgeError`` if the credentials or an address is wrong.
    """

    def __init__(self, config: ServerConfig, stack: AsyncExitStack) -> None:
        _check_protobuf()
        tls, tokens = _credentials(config)
        addresses = [parse_address(text) for text in config.listen]
        authenticate = authenticator(tokens, tls)
        self.authenticates = authenticate is not None
        """Whether clients have to say who they are."""
        require_secure(addresses, tls=tls is not None, auth=self.authenticates, insecure=config.insecure)
        reflection = config.reflection == "on" or (config.reflection == "auto" and all(map(is_loopback, addresses)))
        self._config, self._reflection = config, reflection
        self._engine = engines.serve(_engine_options(config, tls, authenticate, reflection), engine=config.engine)
        stack.push_async_callback(self._engine.aclose, 0.5)
        self._bound = [_listen(self._engine, address, stack) for address in addresses]
        self._parts: GrpcParts

    def attach(self, parts: Parts, role: Role) -> Health:
        """Makes the methods; the health it returns follows ``parts``."""
        self._parts = GrpcParts(self._config, parts, role)
        return self._parts.health

    async def start(self) -> list[str]:
        """Answers from here on; the addresses, as clients write them."""
        await self._engine.start(self._parts.methods(self._reflection))
        self._parts.health.set(True)
        return self._bound

    def on_store(self, is_well: bool) -> None:
        """Takes note of whether sessions are kept."""
        self._parts.on_store(is_well)


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
