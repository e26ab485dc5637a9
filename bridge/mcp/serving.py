"""An MCP server on the parts of a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from bridge.mcp.large_results import LargeResults
from bridge.mcp.results_folder import remove_leftovers
from bridge.mcp.server import McpServer
from bridge.mcp.sessions import Sessions
from bridge.server import Server

__all__ = ["McpOptions", "mcp_server"]


class McpOptions(msgspec.Struct, frozen=True):
    """What is special to MCP."""

    session: str
    """Session of the host that calls are in which name none; empty: as ``bridge.mcp.sessions`` says."""
    max_inline_bytes: int
    """Size from which a result is linked to; 0: none is."""
    is_local: bool
    """Whether clients can open files of this process: over stdio."""


@contextmanager
def mcp_server(server: Server, options: McpOptions) -> Iterator[McpServer]:
    """An MCP server for a transport.

    Args:
        server: whose tools; it need not listen to anything.
        options: what is special to MCP.
    """
    config, parts = server.config, server.parts
    remove_leftovers()
    large = LargeResults(config.max_in_flight_bytes, local=options.is_local)
    mcp = McpServer(
        parts.dispatcher,
        parts.seen_host,
        Sessions(parts.session_host, default=options.session),
        large,
        max_inline_bytes=options.max_inline_bytes,
        max_message_bytes=config.max_message_bytes,
    )
    parts.on_reload.append(mcp.on_reload)
    try:
        yield mcp
    finally:
        large.close()
