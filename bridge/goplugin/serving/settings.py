"""How a plugin serves: what its author and its operator decide, and what its host asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from bridge.errors import invalid_argument

__all__ = ["HostWishes", "ServeSettings", "settle"]

PREFIX = "PLUGIN_"
"""Begins the names of all variables about plugins, go-plugin's and ours."""

Seconds = Annotated[float, Meta(ge=0, le=86400)]
Port = Annotated[int, Meta(ge=0, le=65535)]

_PYTHONS_LEVELS = {"warning": "warn", "critical": "error"}
"""Where ``logging`` has another name than hclog."""

S = TypeVar("S", bound=msgspec.Struct)


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each can be an argument of ``serve``, or else a variable of the environment: ``PLUGIN_`` and its name in upper
    case."""

    network: Literal["unix", "tcp"] = "unix"
    """Where the plugin listens: on a Unix socket, or on a port of the loopback."""
    max_message_bytes: Annotated[int, Meta(ge=1024, le=2**31 - 1)] = 256 * 1024 * 1024
    """Most bytes of a message, in both directions. Go's plugins take 4 MiB, Terraform's providers 256."""
    grace: Seconds = 1.0
    """Seconds that running calls have when the plugin ends. go-plugin's hosts kill it two seconds after they asked."""
    rate_limit: Annotated[float, Meta(ge=0)] = 0.0
    """Requests a second that the plugin's services take; 0: no limit. Health and shutdown are never limited."""
    rate_burst: Annotated[int, Meta(ge=1)] = 200
    """Requests that may come at once under that limit."""
    shutdown_file: str = ""
    """The plugin ends when this file appears, and removes it; empty: none is looked for."""
    log_level: Literal["trace", "debug", "info", "warn", "error"] = "info"
    """The least level of Python's logging that the host gets to see. The variable may also have Python's names, in any
    case: other libraries for plugins read it too, and hosts hand on what they have set for themselves."""
    exit_with_host: bool = True
    """Whether the plugin ends by itself when its host is gone."""
    linger: Seconds = 1.0
    """Seconds after the host's death, or after a later host has disconnected, in which another one may connect."""
    disconnect_timeout: Seconds = 60.0
    """Seconds after which a plugin ends whose host has been connected, lives on and does not connect again; 0: it
    stays."""
    reflection: bool = True
    """Whether the plugin answers gRPC's server reflection."""


class HostWishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the host asks of a plugin by the environment (go-plugin's server.go and client.go)."""

    protocol_versions: str | None = None
    """Those the host speaks, with commas between; ``None``: it does not say."""
    client_cert: str = ""
    """PEM of the host's certificate. Not empty: AutoMTLS."""
    multiplex_grpc: str = ""
    """Not empty: the host knows of multiplexing; true: it wants it."""
    unix_socket_dir: str = ""
    unix_socket_group: str = ""
    min_port: Port = 0
    max_port: Port = 0

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> HostWishes:
        """From the environment. Raises ``BridgeError`` INVALID_ARGUMENT that names the variable."""
        wishes = _convert(_found(cls, environ), cls)
        if wishes.min_port > wishes.max_port:
            raise invalid_argument(
                PREFIX + "MIN_PORT", f"is larger than {PREFIX}MAX_PORT; swap them", reason="PLUGIN_SETTING"
            )
        return wishes


def settle(environ: Mapping[str, str], given: Mapping[str, Any]) -> ServeSettings:
    """The settings: what was given in code, else the environment, else the default.

    Raises ``BridgeError`` INVALID_ARGUMENT, reason ``PLUGIN_SETTING``, that names the argument or the variable.
    """
    found = _found(ServeSettings, environ)
    if level := found.get("log_level", "").lower():
        found["log_level"] = _PYTHONS_LEVELS.get(level, level)
    _convert(found, ServeSettings)  # by itself, for an error with the variable's name
    return _convert({**found, **given}, ServeSettings, prefix="")


def _found(kind: type[msgspec.Struct], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are set, by the names of fields; an empty one counts as not set."""
    names = {field: PREFIX + field.upper() for field in kind.__struct_fields__}
    return {field: environ[name] for field, name in names.items() if environ.get(name)}


def _convert(values: Mapping[str, Any], kind: type[S], prefix: str = PREFIX) -> S:
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        problem, _, field = str(error).partition(" - at `$.")
        name = field.rstrip("`")
        hint = get_type_hints(kind).get(name)
        if choices := get_args(hint):  # msgspec says what was given, and not what is right
            problem = f"is one of {', '.join(map(str, choices))}"
        elif hint in (int, float) and "got `str`" in problem:
            problem = "is a number" if hint is float else "is a whole number"
        raise invalid_argument(
            prefix + name.upper() if prefix else name or "settings", problem, reason="PLUGIN_SETTING"
        ) from None
