"""Where a Redis server is: its URL, taken apart, and how to show it without its password."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import msgspec
from redis.asyncio.connection import AbstractConnection, Connection, UnixDomainSocketConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bridge.errors import BridgeError, Code

__all__ = ["Address"]

_FORM = (
    "write redis://[USER:PASSWORD@]HOST:PORT/DB, rediss:// for TLS, or unix:///PATH?db=DB; in a user or password write "
    "other characters than letters and digits as %XX"
)
_KEEPALIVE = {
    option: value
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if (option := getattr(socket, name, None)) is not None
}
"""Seconds and tries until a connection over which nothing comes, as it may be while nothing is published, is found to
be dead: half a minute."""


class Address(msgspec.Struct, frozen=True):
    """A Redis server."""

    shown: str
    """Its URL without user, password and options."""
    db: int
    """Number of its database."""
    connection_class: type[AbstractConnection]
    options: dict[str, Any]

    @classmethod
    def parse(cls, url: str) -> Address:
        """Takes a URL apart. Options of redis-py may follow it, such as ``?ssl_ca_certs=FILE``.

        Raises:
            BridgeError: FAILED_PRECONDITION, reason ``STORE_REFUSED``, without a part of the URL, since what was
                mistaken may be the password.
        """
        try:
            parsed = parse_url(url)
            options: dict[str, Any] = {name: value for name, value in parsed.items() if name != "connection_class"}
            parts = urlsplit(url)
            is_unix = parts.scheme == "unix"
            db = options.setdefault("db", 0)
            if not isinstance(db, int) or not (is_unix or parts.path.strip("/") in ("", str(db))):
                raise ValueError
            shown = f"unix://{parts.path}" if is_unix else f"{parts.scheme}://{_host(parts.hostname, parts.port)}/{db}"
            connection_class = parsed.get("connection_class", Connection)
            address = cls(shown, db, connection_class, {**options, **_ours(connection_class)})
            address.make_connection()
        except (ValueError, TypeError, AttributeError):
            message = f"this is not an address of a Redis server: {_FORM}"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="STORE_REFUSED") from None
        return address

    def make_connection(self) -> AbstractConnection:
        """A connection, not connected yet."""
        return self.connection_class(**self.options)

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def _host(host: str | None, port: int | None) -> str:
    host = host or "localhost"
    return f"[{host}]:{port or 6379}" if ":" in host else f"{host}:{port or 6379}"


def _ours(connection_class: type[AbstractConnection]) -> dict[str, Any]:
    """What is not for the URL to decide: time is watched, and what failed is repeated, above the connection."""
    options: dict[str, Any] = {
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
    }
    if not issubclass(connection_class, UnixDomainSocketConnection):
        options |= {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
    return options
