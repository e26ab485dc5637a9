"""How a plugin and its host find each other: the magic cookie in the environment, one line on the plugin's stdout."""

from __future__ import annotations

import binascii
import re
from collections.abc import Collection, Mapping

import msgspec

from bridge.errors import BridgeError, Code, invalid_argument
from bridge.goplugin.addresses import check_address
from bridge.goplugin.go_values import atoi, parse_bool, quote, trim_space
from bridge.goplugin.versions import check_version

__all__ = ["CORE_VERSION", "MAX_LINE", "Handshake", "HandshakeConfig", "check_cookie"]

CORE_VERSION = 1
"""Of the handshake itself (``CoreProtocolVersion`` in go-plugin's server.go)."""
MAX_LINE = 64 * 1024 - 1
"""Bytes of a line without its end; Go's hosts (``bufio.Scanner``) read none that is longer."""

_MAX_NO_CERTIFICATE = 50
"""Bytes of a sixth segment that is no certificate: some plugins have had other things there."""
_MAX_SHOWN = 1000
"""Characters of what a plugin has printed in a message."""
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/\r\n]", re.ASCII)


class HandshakeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin and its hosts have agreed on, the same on both sides (``HandshakeConfig`` of go-plugin).

    The cookie is no secret. It keeps people from starting a plugin by hand, and hosts from starting what is none.

    Raises ``BridgeError`` INVALID_ARGUMENT if the key or the value of the cookie is empty, or the environment cannot
    hold it.
    """

    magic_cookie_key: str
    """Name of a variable of the environment."""
    magic_cookie_value: str
    """What it has to be."""
    protocol_version: int = 1
    """Of the application's protocol, for plugins that have one version only."""

    def __post_init__(self) -> None:
        for field in ("magic_cookie_key", "magic_cookie_value"):
            text = getattr(self, field)
            if not isinstance(text, str) or not text:
                raise invalid_argument(field, "set it: a text that the plugin and its hosts agree on", reason="COOKIE")
            if "\0" in text or (field == "magic_cookie_key" and "=" in text):
                raise invalid_argument(field, "has a character that the environment cannot hold", reason="COOKIE")
        if not isinstance(self.protocol_version, int) or self.protocol_version < 0:
            raise invalid_argument("protocol_version", "is a whole number from 0", reason="COOKIE")


def check_cookie(config: HandshakeConfig, environ: Mapping[str, str]) -> str | None:
    """What to tell whoever has started the plugin without a host, before an exit with 1; ``None``: a host it was."""
    if environ.get(config.magic_cookie_key, "") == config.magic_cookie_value:
        return None
    return (
        "This program is a plugin: other programs run it, and it does nothing by itself.\n"
        "Start the program that it is made for instead. That finds and runs its plugins.\n"
        f"(It would have set {config.magic_cookie_key} to what this plugin expects.)\n"
    )


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin says of itself in one line: ``1|1|unix|/tmp/plugin1|grpc|``, a certificate, and perhaps ``|true``.

    Paths of sockets are as ``os.fsdecode`` makes them, and so is the line.
    """

    protocol_version: int
    """Of the application's protocol."""
    network: str
    """``unix`` or ``tcp``."""
    address: str
    """Path of a socket, or ``host:port``."""
    protocol: str = "grpc"
    server_certificate: bytes = b""
    """DER; empty: no AutoMTLS. Whether it is a certificate is not known yet."""
    multiplexing: bool | None = None
    """Whether brokered connections share the socket; ``None``: the host does not know of that, or the plugin."""

    def line(self) -> str:
        """The line with its end. Raises ``BridgeError`` INVALID_ARGUMENT if it cannot hold the address."""
        certificate = binascii.b2a_base64(self.server_certificate, newline=False).decode().rstrip("=")
        segments = [str(CORE_VERSION), str(self.protocol_version), self.network, self.address, self.protocol]
        segments.append(certificate)
        if self.multiplexing is not None:
            segments.append("true" if self.multiplexing else "false")
        text = "|".join(segments)
        if text.count("|") != len(segments) - 1 or "\n" in text or _size(text) > MAX_LINE:
            raise invalid_argument(
                "address", "does not go into a handshake line: listen at a short one without `|` and line breaks"
            )
        return text + "\n"

    @classmethod
    def parse(cls, line: str, *, offered: Collection[int] | None = None, multiplex: bool = False) -> Handshake:
        """Reads a line as go-plugin's hosts do, in the same order (client.go): at least four segments; a short sixth
        and what follows the seventh are nothing.

        Args:
            line: with or without its end.
            offered: versions of the application's protocol that the host speaks; ``None``: not checked here.
            multiplex: the host wants it; else a seventh segment that is no boolean is nothing.

        Raises ``BridgeError`` FAILED_PRECONDITION, with Go's words in it; reason ``HANDSHAKE`` if this is no line of
        a plugin, ``CORE_VERSION``, ``APP_VERSION``, ``PLUGIN_ADDRESS``, ``PLUGIN_PROTOCOL``, ``BAD_CERTIFICATE`` or
        ``MUX_NOT_SUPPORTED`` if it does not fit.
        """
        text = trim_space(line)
        segments = text.split("|")
        if len(segments) < 4 or _size(line.removesuffix("\n")) > MAX_LINE:
            raise _unrecognized(text)
        _check_core(segments[0])
        version = _app_version(segments[1])
        if offered is not None:
            check_version(version, offered)
        network, address = segments[2:4]
        check_address(network, address)
        protocol = segments[4] if len(segments) > 4 else "netrpc"
        certificate = segments[5] if len(segments) > 5 else ""
        multiplexing = segments[6] if len(segments) > 6 else None
        if protocol != "grpc":
            raise _error(
                f"unsupported plugin protocol {quote(protocol)}. Supported: [grpc]; use a plugin that serves gRPC",
                "PLUGIN_PROTOCOL",
            )
        der = _certificate(certificate) if _size(certificate) > _MAX_NO_CERTIFICATE else b""
        if multiplex:
            _check_multiplexing(multiplexing)
        return cls(
            protocol_version=version,
            network=network,
            address=address,
            protocol=protocol,
            server_certificate=der,
            multiplexing=None if multiplexing is None else parse_bool(multiplexing),
        )


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))  # a byte that was no UTF-8 counts as one


def _error(message: str, reason: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, message, reason=reason)


def _unrecognized(text: str) -> BridgeError:
    shown = text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
    return _error(
        f"Unrecognized remote plugin message: {shown}\n"
        "A plugin's first line on stdout is its handshake line, and nothing comes before it. Is this program a plugin?",
        "HANDSHAKE",
    )


def _check_core(text: str) -> None:
    try:
        if atoi(text) == CORE_VERSION:
            return
    except ValueError as error:
        raise _error(f"error parsing core protocol version: {error}", "HANDSHAKE") from None
    raise _error(
        f"incompatible core API version with plugin. Plugin version: {text}, Core version: {CORE_VERSION}\n\n"
        "Only another build of the plugin helps; ask its author for one with a recent go-plugin.",
        "CORE_VERSION",
    )


def _app_version(text: str) -> int:
    try:
        return atoi(text)
    except ValueError as error:
        raise _error(f"Error parsing protocol version {quote(text)}: {error}", "HANDSHAKE") from None


def _certificate(text: str) -> bytes:
    bad = _NOT_BASE64.search(text)  # all before it is ASCII, so characters are bytes
    digits = text.replace("\r", "").replace("\n", "")
    if bad is None and len(digits) % 4 != 1:
        return binascii.a2b_base64(digits + "=" * (-len(digits) % 4))
    at = len(text) - 1 if bad is None else bad.start()
    raise _error(
        f"error parsing server cert: illegal base64 data at input byte {at}; a plugin sends it without padding",
        "BAD_CERTIFICATE",
    )


def _check_multiplexing(segment: str | None) -> None:
    unsupported = "client requested gRPC broker multiplexing but plugin does not support the feature"
    if segment is None:
        raise _error(
            f"{unsupported}; for Go plugins, you will need to update the github.com/hashicorp/go-plugin dependency and "
            "recompile. Without multiplexing the plugin may work",
            "MUX_NOT_SUPPORTED",
        )
    supported = parse_bool(segment)
    if supported is None:
        problem = f"error parsing {quote(segment)} as a boolean for gRPC broker multiplexing support"
        raise _error(problem, "MUX_NOT_SUPPORTED")
    if not supported:
        raise _error(f"{unsupported}; start it without multiplexing", "MUX_NOT_SUPPORTED")
