"""The plugin that a host's settings ask for: its process, and what it has said of itself."""

from __future__ import annotations

import msgspec

from bridge.errors import BridgeError, Code
from bridge.goplugin.handshake import Handshake
from bridge.goplugin.host.listener import check_listener, find_listener
from bridge.goplugin.host.plugin_logs import PluginLogs
from bridge.goplugin.host.settings import HostSettings
from bridge.goplugin.plugin import PluginSet, plugin_sets
from bridge.goplugin.process.launch import words_of
from bridge.goplugin.process.launch_environment import launch_environment
from bridge.goplugin.process.leftovers import remove_leftovers
from bridge.goplugin.process.process import PluginProcess
from bridge.goplugin.process.reattached_process import ReattachedProcess
from bridge.goplugin.process.watched_process import WatchedProcess
from bridge.goplugin.reattach import ReattachConfig
from bridge.goplugin.transport.identity import Identity, Tls, make_identity, mutual_tls

__all__ = ["FoundPlugin", "find_plugin"]

PluginSets = dict[int, PluginSet]


class FoundPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that runs. Nobody is connected to it yet."""

    process: WatchedProcess
    handshake: Handshake
    tls: Tls | None
    """How connections to it are secured."""
    plugins: PluginSet
    """Those of the version that was negotiated."""


async def find_plugin(settings: HostSettings) -> FoundPlugin:
    """Starts it, or looks for the one that runs. Whatever fails, nothing is left of it.

    Raises ``BridgeError`` as ``plugin_sets``, ``PluginProcess.start``, ``Handshake.parse`` and ``mutual_tls``, or
    ``ReattachedProcess.attach``, ``find_listener`` and ``check_listener``; FAILED_PRECONDITION, reason ``NO_AUTO_MTLS``
    or ``UNEXPECTED_TLS``, if the plugin wants something else than we do.
    """
    sets = plugin_sets(settings.handshake.protocol_version, settings.plugins, settings.versioned_plugins)
    if settings.reattach is None:
        return await _launch(settings, sets)
    return await _attach(settings, sets, settings.reattach)


async def _launch(settings: HostSettings, sets: PluginSets) -> FoundPlugin:
    words = words_of(settings.cmd)
    identity = make_identity() if settings.wants_auto_mtls else None
    process = await PluginProcess.start(
        words,
        env=_environment(settings, sets, identity),
        cwd=settings.cwd,
        start_timeout=settings.start_timeout,
        logger=settings.logger,
        secure=settings.secure,
        on_stderr=PluginLogs(settings.logger, words[0]).line,
        inherit_stdin=settings.inherit_stdin,
        exit_with_host=settings.exit_with_host,
    )
    try:
        handshake = Handshake.parse(process.line, offered=sets, multiplex=settings.multiplex)
        tls = settings.tls if identity is None else mutual_tls(identity, _certificate(handshake), peer_is="plugin")
        if tls is None and handshake.server_certificate:
            raise _uninvited_certificate()
        return _found(process, handshake, tls, sets)
    except BaseException:
        try:
            await process.aclose()
        finally:
            _, _, network, address, *_ = (*process.line.split("|"), "", "", "", "")
            if network == "unix":
                remove_leftovers(address)
        raise


async def _attach(settings: HostSettings, sets: PluginSets, reattach: ReattachConfig) -> FoundPlugin:
    known = Handshake(
        # 0: a host in Go that hands its plugin on may not say which version it was.
        protocol_version=reattach.protocol_version or settings.handshake.protocol_version,
        network=reattach.network,
        address=reattach.address,
        protocol=reattach.protocol,
    )
    handshake = Handshake.parse(known.line(), offered=sets)
    process = ReattachedProcess.attach(reattach.pid, logger=settings.logger)
    try:
        check_listener(await find_listener(handshake.network, handshake.address), process.pid)
        return _found(process, handshake, settings.tls, sets)
    except BaseException:
        await process.aclose()
        raise


def _found(process: WatchedProcess, handshake: Handshake, tls: Tls | None, sets: PluginSets) -> FoundPlugin:
    return FoundPlugin(process=process, handshake=handshake, tls=tls, plugins=sets[handshake.protocol_version])


def _environment(settings: HostSettings, sets: PluginSets, identity: Identity | None) -> dict[str, str]:
    return launch_environment(
        settings.handshake,
        sets,
        extra=settings.env,
        skip_host_env=settings.skip_host_env,
        min_port=settings.min_port,
        max_port=settings.max_port,
        client_certificate=b"" if identity is None else identity.certificate,
        multiplex=settings.multiplex,
        socket_dir=settings.socket_dir,
        socket_group=settings.socket_group,
    )


def _certificate(handshake: Handshake) -> bytes:
    if not handshake.server_certificate:
        message = (
            "the plugin has sent no certificate, so it cannot do AutoMTLS: start it with auto_mtls=False, and what it "
            "sends and gets is neither encrypted nor from somebody known"
        )
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="NO_AUTO_MTLS")
    return handshake.server_certificate


def _uninvited_certificate() -> BridgeError:
    message = "the plugin speaks TLS although it was not asked to; start it with auto_mtls=True, or give `tls`"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="UNEXPECTED_TLS")
