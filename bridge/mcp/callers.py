"""Who sent a request, by the transport it came on."""

from __future__ import annotations

from typing import Any

import msgspec
from mcp.server.context import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

__all__ = ["Caller", "Line", "caller_of"]

_SESSION_HEADER = "mcp-session-id"


class Line(msgspec.Struct, frozen=True):
    """A message that came over stdio."""

    size: int
    """Bytes of it."""


class Caller(msgspec.Struct, frozen=True):
    """Where a request comes from."""

    peer: str
    """For logs."""
    principal: str
    """Who the client proved to be; empty without authentication."""
    size: int
    """Bytes of the request."""
    session: str | None
    """What tells its MCP session from others; ``None`` where there are none: HTTP since revision 2026-07-28."""


def caller_of(ctx: ServerRequestContext[Any, Any]) -> Caller:
    """The caller of a request."""
    request = ctx.request
    if request is None or isinstance(request, Line):
        return Caller("stdio", "", 0 if request is None else request.size, "")
    user = request.scope.get("user")
    client = request.client
    length = request.headers.get("content-length", "")
    return Caller(
        f"{client.host}:{client.port}" if client else "http",
        user.username if user is not None else "",
        int(length) if length.isdecimal() else 0,
        None if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS else request.headers.get(_SESSION_HEADER),
    )
