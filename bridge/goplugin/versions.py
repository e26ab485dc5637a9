"""Versions of an application's protocol: which one a plugin and its host speak.

The host says in ``PLUGIN_PROTOCOL_VERSIONS`` what it speaks; the plugin chooses, and says so in its handshake line
(go-plugin's server.go and client.go).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from bridge.errors import BridgeError, Code, invalid_argument
from bridge.goplugin.go_values import atoi, quote

__all__ = ["check_version", "negotiate", "offer", "parse_offered"]

log = logging.getLogger("bridge.goplugin")


def offer(versions: Iterable[int]) -> str:
    """The value of ``PLUGIN_PROTOCOL_VERSIONS`` for a plugin's environment: ascending, with commas between."""
    return ",".join(str(version) for version in sorted(set(versions)))


def parse_offered(text: str | None) -> tuple[list[int], list[str]]:
    """What a host offers, and the items that are no numbers, each in the order of the text. Nothing, where the host
    says nothing."""
    versions: list[int] = []
    bad: list[str] = []
    for item in text.split(",") if text else ():
        try:
            versions.append(atoi(item))
        except ValueError:
            bad.append(item)
    return versions, bad


def negotiate(served: Collection[int], offered: str | None) -> int:
    """The version a plugin speaks: the highest that both sides know; else the lowest it serves, and then it is the
    host that reports what does not fit. Items of the offer that are no numbers are logged, and do not count.

    Args:
        served: the plugin's versions.
        offered: the host's ``PLUGIN_PROTOCOL_VERSIONS``; ``None`` or empty: a host older than that variable.

    Raises ``BridgeError`` INVALID_ARGUMENT if the plugin serves none.
    """
    if not served:
        raise invalid_argument("plugins", "serve at least one version")
    versions, bad = parse_offered(offered)
    if bad:
        log.warning(
            "the host offers protocol versions that are no numbers: %s; they are not counted",
            ", ".join(quote(item) for item in bad),
        )
    return max(set(served).intersection(versions), default=min(served))


def check_version(version: int, offered: Collection[int]) -> None:
    """The host's look at the plugin's choice.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``APP_VERSION``, if it is none of those ``offered``.
    """
    if version in offered:
        return
    known = " ".join(str(known) for known in sorted(offered))
    raise BridgeError(
        Code.FAILED_PRECONDITION,
        f"incompatible API version with plugin. Plugin version: {version}, Client versions: [{known}]; "
        "use a plugin and a host that have a version in common",
        reason="APP_VERSION",
    )
