"""What a server has besides when it speaks gRPC: the methods of its engine, and its health."""

from __future__ import annotations

import time
from functools import partial

from bridge._version import __version__
from bridge.codec import DEFAULT_LIMITS
from bridge.config import ServerConfig
from bridge.engines.base import Method
from bridge.frontends import catalog
from bridge.frontends.grpc import BRIDGE, HOST, ToolFrontend
from bridge.frontends.health import Health
from bridge.host import Host
from bridge.parts import Parts, Role
from bridge.tool_specs import duration
from bridge.v1.bridge_pb2 import GetServerInfoResponse, Limits

__all__ = ["GrpcParts"]


class GrpcParts:
    """The gRPC frontends of a server.

    Args:
        config: the server's.
        parts: what they lead to.
        role: whose names the methods have.
    """

    def __init__(self, config: ServerConfig, parts: Parts, role: Role) -> None:
        self._config, self._parts, self._role = config, parts, role
        names = self._names = BRIDGE if role == "bridge" else HOST
        self.health = Health([BRIDGE.service, HOST.service] if parts.session_host else [names.service])
        self._frontend = ToolFrontend(
            parts.dispatcher,
            parts.seen_host,
            names,
            max_message_bytes=config.max_message_bytes,
            on_response=parts.on_response,
        )
        parts.on_workers = self._on_workers
        parts.on_stop.append(lambda: self.health.set(False))

    def on_store(self, is_well: bool) -> None:
        """Takes note of whether sessions are kept."""
        self.health.set(is_well, HOST.service)

    def call_back_to(self, host: Host) -> None:
        """Gives the calls that come from here on another host. Those that run keep theirs."""
        self._frontend.host = self._parts.observed(host)

    def methods(self, reflection: bool) -> list[Method]:
        """All methods for an engine; ``reflection`` as the engine has it."""
        return [*self.health.methods(), *self.tool_methods(reflection)]

    def tool_methods(self, reflection: bool) -> list[Method]:
        """The same without health, where somebody else tells of that."""
        parts, registry = self._parts, self._parts.registry
        methods = self._frontend.methods()
        if parts.snakepit is not None:
            methods += parts.snakepit.methods(
                parts.dispatcher, registry, parts.host, parts.session_host, parts.seen_host, parts.on_response
            )
        if parts.session_host is not None:
            from bridge.frontends.host_service import host_methods

            methods += host_methods(parts.session_host, max_message_bytes=self._config.max_message_bytes)
        if self._role == "host":
            return [*methods, *catalog.host_catalog(registry)]
        return [*methods, *catalog.server_catalog(registry, partial(self._info, reflection))]

    def _on_workers(self, are_well: bool) -> None:
        self.health.set(are_well, self._names.service)

    def _info(self, reflection: bool) -> GetServerInfoResponse:
        config, is_host = self._config, self._parts.session_host is not None
        info = GetServerInfoResponse(
            name="tool-bridge",
            version=__version__,
            protocols=["bridge.v1"],
            features=[name for name, on in (("host", is_host), ("reflection", reflection)) if on],
            adapters=self._parts.registry.owners,
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
