"""go-plugin (https://github.com/hashicorp/go-plugin) for Python: plugins for its hosts, and a host for its plugins.

A plugin is a process that its host starts. It says in one line on stdout where it listens, and serves gRPC there.
What is exported here is imported when it is first used, so that a plugin starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.engines.services import Services
    from bridge.goplugin.brokering.broker import Broker
    from bridge.goplugin.handshake import HandshakeConfig
    from bridge.goplugin.host.client import PluginClient, cleanup_clients
    from bridge.goplugin.host.pool import PluginPool
    from bridge.goplugin.host.restart import RestartPolicy
    from bridge.goplugin.output.stdio import protect_stdout
    from bridge.goplugin.plugin import Plugin, ServicePlugin
    from bridge.goplugin.process.checksum import SecureConfig
    from bridge.goplugin.reattach import ReattachConfig
    from bridge.goplugin.serving.main import serve
    from bridge.goplugin.serving.server import PluginServer, plugin_server
    from bridge.goplugin.transport.identity import Tls, static_tls

__all__ = [
    "Broker",
    "HandshakeConfig",
    "Plugin",
    "PluginClient",
    "PluginPool",
    "PluginServer",
    "ReattachConfig",
    "RestartPolicy",
    "SecureConfig",
    "ServicePlugin",
    "Services",
    "Tls",
    "cleanup_clients",
    "plugin_server",
    "protect_stdout",
    "serve",
    "static_tls",
]

_HOMES = {
    "Broker": "brokering.broker",
    "HandshakeConfig": "handshake",
    "Plugin": "plugin",
    "PluginClient": "host.client",
    "PluginPool": "host.pool",
    "PluginServer": "serving.server",
    "ReattachConfig": "reattach",
    "RestartPolicy": "host.restart",
    "SecureConfig": "process.checksum",
    "ServicePlugin": "plugin",
    "Tls": "transport.identity",
    "cleanup_clients": "host.client",
    "plugin_server": "serving.server",
    "protect_stdout": "output.stdio",
    "serve": "serving.main",
    "static_tls": "transport.identity",
}


def __getattr__(name: str) -> Any:
    if name == "Services":
        module = "bridge.engines.services"
    elif name in _HOMES:
        module = f"{__name__}.{_HOMES[name]}"
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
