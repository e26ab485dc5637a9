"""What settings may be, as their texts: each function gives what is wrong, or ``None``."""

from __future__ import annotations

import re

from bridge.errors import BridgeError
from bridge.listeners import parse_address

__all__ = ["address", "addresses", "cluster", "optional_address", "optional_socket", "specs", "target", "tracing"]


def address(text: str) -> str | None:
    try:
        parse_address(text)
    except BridgeError as error:
        return error.message
    return None


def optional_address(text: str) -> str | None:
    return address(text) if text else None


def optional_socket(text: str) -> str | None:
    if text and not text.startswith("unix:"):
        return "only Unix sockets speak JSON-RPC: unix:/path"
    return optional_address(text)


def target(text: str) -> str | None:
    """Where a client connects to: gRPC's name resolution may be asked for by its scheme."""
    return None if text.endswith(".json") else optional_address(text.removeprefix("dns:///"))


def cluster(text: str) -> str | None:
    if text in ("auto", "local"):
        return None
    rest = text.removeprefix("ray://")
    return "allowed: auto, local, host:port, ray://host:port" if rest.startswith("unix:") else address(rest)


def addresses(texts: tuple[str, ...]) -> str | None:
    if len(set(texts)) < len(texts):
        return "an address is there twice"
    return next((problem for text in texts if (problem := address(text))), None)


def specs(texts: tuple[str, ...]) -> str | None:
    return "an adapter is an empty text" if not all(texts) else None


def tracing(text: str) -> str | None:
    if text in ("auto", "off") or re.match(r"https?://[^\s/]+", text):
        return None
    return "allowed: auto, off, or the endpoint of an OTLP collector (http://host:4317)"
