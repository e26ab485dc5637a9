"""How grpcio connects: targets, settings and credentials of channels, for grpc.aio and for threads."""

from __future__ import annotations

import re
from typing import Any

import grpc
import grpc.aio

from bridge.engines.base import ChannelOptions, ClientTls
from bridge.errors import invalid_argument

__all__ = ["aio_channel", "blocking_channel"]

_TARGET = re.compile(r"(unix:(//)?/.+|unix:[^/].*|(dns:(///)?|ipv4:|ipv6:)?[^\s/]+:\d{1,5})", re.ASCII)


def aio_channel(target: str, options: ChannelOptions) -> Any:
    """A ``grpc.aio.Channel``. Raises ``BridgeError`` INVALID_ARGUMENT, reason ``BAD_TARGET``."""
    settings = _settings(target, options)
    if options.tls is None:
        return grpc.aio.insecure_channel(target, settings)
    return grpc.aio.secure_channel(target, _credentials(options.tls), settings)


def blocking_channel(target: str, options: ChannelOptions) -> Any:
    """A ``grpc.Channel``. Raises ``BridgeError`` INVALID_ARGUMENT, reason ``BAD_TARGET``."""
    settings = _settings(target, options)
    if options.tls is None:
        return grpc.insecure_channel(target, settings)
    return grpc.secure_channel(target, _credentials(options.tls), settings)


def _settings(target: str, options: ChannelOptions) -> list[tuple[str, Any]]:
    if not _TARGET.fullmatch(target):
        raise invalid_argument(
            "target", f"{target[:100]!r} is not an address; use host:port or unix:/path", reason="BAD_TARGET"
        )
    settings: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", options.max_message_bytes),
        # Retries are the client's: only it knows which tools may run twice.
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # Otherwise a new channel shares the connection of an older one to the same address, or its failure to make
        # one and the wait before the next attempt.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if target.startswith("unix:"):
        # Behind a socket there may be a process that is over, or a broker that must be asked for each connection: it is
        # made again when somebody calls, and not closed for being idle (by default after half an hour).
        settings += [("grpc.lb_policy_name", "pick_first"), ("grpc.client_idle_timeout_ms", 2**31 - 1)]
    else:
        settings.append(("grpc.lb_policy_name", "round_robin"))
    # grpc.min_reconnect_backoff_ms stays as it is, at 20 s: despite its name it is the time that an attempt to connect
    # may take, and TLS over a slow network, or a broker that has to be asked first, takes some.
    if options.keepalive:  # without these two, grpc core sends no probes
        settings.append(("grpc.keepalive_time_ms", int(options.keepalive * 1000)))
        settings.append(("grpc.keepalive_timeout_ms", 20_000))
    if _is_local(target):
        settings.append(("grpc.enable_http_proxy", 0))
    if options.tls is not None and options.tls.server_name is not None:
        settings.append(("grpc.ssl_target_name_override", options.tls.server_name))
    return settings


def _is_local(target: str) -> bool:
    return target.startswith(("unix:", "127.", "localhost:", "[::1]:", "ipv4:127."))


def _credentials(tls: ClientTls) -> Any:
    return grpc.ssl_channel_credentials(tls.ca, tls.private_key, tls.certificate)
