"""What a plugin is to those who write one, or use one from a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.errors import BridgeError, Code, invalid_argument

if TYPE_CHECKING:
    from bridge.engines.services import Services
    from bridge.goplugin.brokering.broker import Broker

__all__ = ["Plugin", "PluginSet", "ServicePlugin", "plugin_sets"]


class Plugin:
    """Both sides of one plugin: what it serves, and what a host sees of it (``GRPCPlugin`` of go-plugin).

    A class of one's own overrides ``register``, ``client`` or both. For a service that needs nothing else there is
    ``ServicePlugin``.
    """

    def register(self, server: Services, broker: Broker) -> None:
        """Puts the plugin's services on a server, in the plugin's process.

        Args:
            server: what generated code calls ``server``: ``add_KVServicer_to_server(KV(), server)``. Servicers may be
                coroutines or plain functions, which run in threads.
            broker: for more connections between the two processes.
        """
        raise BridgeError(Code.UNIMPLEMENTED, f"{type(self).__name__} has no `register`", reason="NO_PLUGIN_SIDE")

    def client(self, channel: Any, broker: Broker) -> Any:
        """What ``dispense`` gives in the host's process; for example ``KVStub(channel)``.

        Args:
            channel: ``grpc.aio.Channel`` to the plugin; ``grpc.Channel`` in a blocking host.
            broker: for more connections between the two processes.
        """
        raise BridgeError(Code.UNIMPLEMENTED, f"{type(self).__name__} has no `client`", reason="NO_HOST_SIDE")

    async def open(self, broker: Broker) -> None:
        """Called before ``register`` in the plugin's process, to get ready. What it raises ends the plugin, without
        ``aclose``."""

    async def aclose(self) -> None:
        """Called in the plugin's process when no call runs any more."""


class ServicePlugin(Plugin):
    """A gRPC service as a plugin.

    Args:
        add: generated, ``add_KVServicer_to_server``.
        servicer: what answers; a host does not need it.
        stub: generated, ``KVStub``; a plugin does not need it.
    """

    def __init__(
        self, add: Callable[[Any, Any], None], servicer: object = None, stub: Callable[[Any], Any] | None = None
    ) -> None:
        self._add, self._servicer, self._stub = add, servicer, stub

    def register(self, server: Services, broker: Broker) -> None:
        if self._servicer is None:
            super().register(server, broker)
        self._add(self._servicer, server)

    def client(self, channel: Any, broker: Broker) -> Any:
        return super().client(channel, broker) if self._stub is None else self._stub(channel)


PluginSet = Mapping[str, Plugin]
"""Plugins by the name they are dispensed by. The name is the host's own affair; it is never sent."""


def plugin_sets(
    protocol_version: int, plugins: PluginSet | None, versioned_plugins: Mapping[int, PluginSet] | None
) -> dict[int, PluginSet]:
    """The plugins by version of the application's protocol.

    Args:
        protocol_version: of ``plugins``; a set of ``versioned_plugins`` with that version takes precedence.
        plugins: where there is one version only.
        versioned_plugins: one set for each version.

    Raises ``BridgeError`` INVALID_ARGUMENT if there is none, or what is there is no plugin.
    """
    sets = {} if plugins is None else {protocol_version: plugins}
    sets.update(versioned_plugins or {})
    if not any(sets.values()):
        raise invalid_argument("plugins", "give at least one plugin, in `plugins` or `versioned_plugins`")
    for version, members in sets.items():
        _check(version, members)
    return sets


def _check(version: int, members: PluginSet) -> None:
    try:
        msgspec.convert((version, members), tuple[int, dict[str, Any]])
    except msgspec.ValidationError:
        raise invalid_argument("plugins", "are mappings of names to plugins, versions whole numbers") from None
    for name, member in members.items():
        if not isinstance(member, Plugin):
            raise invalid_argument("plugins", f"{name!r} is a {type(member).__name__}, not a bridge.goplugin.Plugin")
