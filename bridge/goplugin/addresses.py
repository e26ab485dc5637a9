"""Addresses of plugins, as handshake lines and brokers carry them: a network and a text."""

from __future__ import annotations

import re

from bridge.errors import BridgeError, Code
from bridge.goplugin.go_values import quote

__all__ = ["check_address", "host_and_port"]

_HOST_AND_PORT = re.compile(r"(?:([^][:]*)|\[([^][]*)\]):([0-9]{1,9})", re.ASCII)
_LOOPBACK = "localhost"


def check_address(network: str, address: str) -> None:
    """Whether something could be there; names of hosts are not looked up.

    Args:
        network: ``unix`` or ``tcp``.
        address: path of a socket (beginning with ``@``: in Linux' abstract namespace), or ``host:port``.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``PLUGIN_ADDRESS``.
    """
    if network == "tcp":
        host_and_port(address)
    elif network != "unix":
        # Go's words have the address where one would expect the network.
        raise _error(f"unknown address type: {address}: network {quote(network)} is neither unix nor tcp")
    elif not address or "\0" in address:
        raise _error(f"address {quote(address)}: is no path of a Unix socket")


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of a ``tcp`` address, the host without its brackets. Without a host it is this one, as in Go.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``PLUGIN_ADDRESS``, with the words of Go's ``net`` package where
    that has an error, too. It allows names of services and port 0, which nobody can connect to.
    """
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None:
        raise _error(f"address {address}: {_problem(address)}")
    bare, bracketed, port = found.groups()
    if not 0 < int(port) <= 0xFFFF:
        raise _error(f"address {address}: invalid port: it is a number from 1 to 65535")
    return bracketed or bare or _LOOPBACK, int(port)


def _problem(address: str) -> str:
    before, colon, port = address.rpartition(":")
    if not colon or (before.startswith("[") and "]" in port):
        return "missing port in address"
    if ":" in before and not before.startswith("["):
        return "too many colons in address"
    if "[" in address or "]" in address:
        return "unexpected bracket in address"
    return "unknown port"


def _error(problem: str) -> BridgeError:
    return BridgeError(
        Code.FAILED_PRECONDITION, f"{problem}; ask the plugin's author for one that listens", reason="PLUGIN_ADDRESS"
    )
