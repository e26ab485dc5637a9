"""How a host runs a plugin."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from bridge.errors import invalid_argument
from bridge.goplugin.handshake import HandshakeConfig
from bridge.goplugin.host.restart import RestartPolicy
from bridge.goplugin.plugin import PluginSet
from bridge.goplugin.process.checksum import SecureConfig
from bridge.goplugin.process.launch_environment import MAX_PORT, MIN_PORT
from bridge.goplugin.reattach import ReattachConfig
from bridge.goplugin.transport.identity import Tls

__all__ = ["HostSettings", "Sink"]


class Sink(Protocol):
    """Takes what a plugin prints: ``sys.stdout.buffer``, a file, ``io.BytesIO()``. If it has a method ``flush``, that
    is called after each ``write``: what a plugin prints is seen when it is printed."""

    def write(self, data: bytes, /) -> object:
        """Takes all of it. Called in the event loop, which it must not block for long."""


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of ``PluginClient`` (``ClientConfig`` of go-plugin).

    Raises ``BridgeError`` INVALID_ARGUMENT for what does not go together.
    """

    handshake: HandshakeConfig
    """What the plugin and this host have agreed on."""
    cmd: Sequence[str | os.PathLike[str]] = ()
    """The plugin's program and its arguments. There is no shell."""
    reattach: ReattachConfig | None = None
    """A plugin that runs, in place of ``cmd``."""
    plugins: PluginSet | None = None
    """By name, where the host speaks one version, that of ``handshake``."""
    versioned_plugins: Mapping[int, PluginSet] | None = None
    """By version of the application's protocol, and name."""

    auto_mtls: bool = True
    """Whether the two show each other certificates that are made for this run. Plugins in Go can do that; the library
    ``cryptography`` is needed. Not with ``reattach``."""
    tls: Tls | None = None
    """TLS with certificates of one's own, see ``static_tls``, in place of AutoMTLS."""
    multiplex: bool = False
    """Whether all connections of the broker share one socket. The plugin has to be able to; not with ``reattach``."""

    env: Mapping[str, str] = {}
    """More variables for the plugin."""
    skip_host_env: bool = False
    """Whether the plugin inherits nothing of this process's environment, not even ``PATH``."""
    cwd: str | os.PathLike[str] | None = None
    """The plugin's working directory; ``None``: this process's."""
    inherit_stdin: bool = True
    """Whether the plugin has this process's stdin; else /dev/null."""
    secure: SecureConfig | None = None
    """The checksum that the program must have."""
    min_port: int = MIN_PORT
    max_port: int = MAX_PORT
    """Ports for plugins that listen on TCP."""
    socket_dir: str | os.PathLike[str] = ""
    """Where the plugin, and this host for the broker, make Unix sockets; empty: in directories of their own."""
    socket_group: str = ""
    """Name or number of the group that may connect to those; empty: none."""
    exit_with_host: bool = True
    """Whether the plugin is killed when this process is gone, however it went (Linux)."""

    start_timeout: float = 60.0
    """Seconds until the plugin has to answer."""
    grace: float = 2.0
    """Seconds that the plugin has to end by itself when it is asked to, before it is killed."""
    restart: RestartPolicy | None = None
    """Whether and how soon the plugin is started again when it has ended unasked; ``None``: it is not."""
    managed: bool = False
    """Whether ``cleanup_clients`` ends the plugin."""
    max_message_bytes: int = 2**31 - 1
    """Most bytes of a message, in both directions."""

    sync_stdout: Sink | None = None
    """Gets what the plugin prints to its stdout; ``None``: nobody."""
    sync_stderr: Sink | None = None
    """The same for its stderr."""
    logger: logging.Logger = logging.getLogger("bridge.goplugin.host")
    """Gets what there is to say about the plugin; and, in a child of it that is named like the file of the plugin's
    program (``kv-plugin``; dots in it become ``_``), what the plugin logs."""

    def __post_init__(self) -> None:
        if bool(self.cmd) == (self.reattach is not None):
            raise invalid_argument("cmd", "give the plugin's command, or `reattach` for one that runs")
        if self.reattach is not None:
            if self.multiplex or self.secure is not None:
                what = "multiplex" if self.multiplex else "secure"
                raise invalid_argument(what, "does not go with `reattach`: the plugin has started without it")
            if self.restart is not None:
                raise invalid_argument("restart", "does not go with `reattach`: nobody knows how to start the plugin")
        if not self.start_timeout >= 0:
            raise invalid_argument("start_timeout", "is a number of seconds, 0 or more")
        if not 0 <= self.grace < math.inf:
            raise invalid_argument("grace", "is a number of seconds, 0 or more, and not for ever")

    @property
    def wants_auto_mtls(self) -> bool:
        """Whether certificates are made for the run."""
        return self.auto_mtls and self.tls is None and self.reattach is None
