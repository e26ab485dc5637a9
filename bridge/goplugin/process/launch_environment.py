"""The environment that a plugin is started with (go-plugin's client.go)."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from bridge.errors import invalid_argument
from bridge.goplugin.handshake import HandshakeConfig
from bridge.goplugin.versions import offer

__all__ = ["MAX_PORT", "MIN_PORT", "launch_environment"]

MIN_PORT, MAX_PORT = 10000, 25000
"""Where plugins listen that listen on TCP, unless it is said otherwise; go-plugin's defaults."""

_PREFIX = "PLUGIN_"
_VERSIONS = "PLUGIN_PROTOCOL_VERSIONS"
_CERTIFICATE = "PLUGIN_CLIENT_CERT"
_MULTIPLEX = "PLUGIN_MULTIPLEX_GRPC"
_PROMISES = frozenset((_VERSIONS, _CERTIFICATE, _MULTIPLEX))
"""What a host says of itself; by the words of another one a plugin would speak TLS or yamux where this one does not."""


def launch_environment(
    handshake: HandshakeConfig,
    versions: Collection[int],
    *,
    extra: Mapping[str, str] | None = None,
    skip_host_env: bool = False,
    host_env: Mapping[str, str] | None = None,
    min_port: int = MIN_PORT,
    max_port: int = MAX_PORT,
    client_certificate: bytes = b"",
    multiplex: bool = False,
    socket_dir: str | os.PathLike[str] = "",
    socket_group: str | int = "",
) -> dict[str, str]:
    """All variables of a plugin's process.

    What this host has to say takes precedence over ``extra``, and that over what is inherited (in go-plugin it is the
    other way round with the latter two, and so a variable that the host has cannot be changed for a plugin).

    Args:
        handshake: the cookie.
        versions: of the application's protocol that the host speaks.
        extra: more variables.
        skip_host_env: whether nothing is inherited, not even ``PATH``.
        host_env: what is inherited; ``None``: this process's environment. If this process is a plugin itself, its own
            ``PLUGIN_`` variables are not inherited.
        min_port: first port for plugins that listen on TCP.
        max_port: the last one.
        client_certificate: PEM of this host's certificate, for AutoMTLS; empty: none.
        multiplex: whether everything goes over one connection.
        socket_dir: where the plugin makes its Unix sockets; empty: it chooses.
        socket_group: name or number of the group that may connect to them; empty: its own user only.

    Raises ``BridgeError`` INVALID_ARGUMENT for what cannot stand in an environment, and for ports that are none.
    """
    if not 0 <= min_port <= max_port <= 65535:
        raise invalid_argument("min_port", "is at least 0 and at most max_port, which is at most 65535")
    environ = {} if skip_host_env else _inherited(os.environ if host_env is None else host_env)
    environ.update(extra or {})
    environ.update(
        {
            handshake.magic_cookie_key: handshake.magic_cookie_value,
            "PLUGIN_MIN_PORT": str(min_port),
            "PLUGIN_MAX_PORT": str(max_port),
            _VERSIONS: offer(versions),
        }
    )
    wishes = {
        _CERTIFICATE: client_certificate.decode("ascii"),
        _MULTIPLEX: "true" if multiplex else "",
        "PLUGIN_UNIX_SOCKET_DIR": os.fspath(socket_dir),
        "PLUGIN_UNIX_SOCKET_GROUP": str(socket_group),
    }
    environ.update({name: value for name, value in wishes.items() if value})
    _check(environ)
    return environ


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    if _VERSIONS in environ:  # we were started as a plugin: those are about us
        return {name: value for name, value in environ.items() if not name.startswith(_PREFIX)}
    return {name: value for name, value in environ.items() if name not in _PROMISES}


def _check(environ: Mapping[str, str]) -> None:
    for name, value in environ.items():
        if not name or "=" in name or "\0" in name:
            raise invalid_argument("environment", "the name of a variable is not empty and has no '=' and no NUL in it")
        if "\0" in value:
            raise invalid_argument("environment", f"the value of {name} has a NUL in it")
