"""Errors of calls, as MCP tells them.

What a model can do something about is a result with ``isError``, whose text it sees. A JSON-RPC error is for the
program around it: a tool that is not there, and bugs of ours.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

import mcp_types as types
import msgspec
from mcp.shared.exceptions import MCPError

from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.mcp.catalog import META
from bridge.protocols.rpc_errors import INTERNAL_ERROR, INVALID_PARAMS, numbered, to_rpc_error

__all__ = ["bug", "failed", "invalid_params"]

log = logging.getLogger("bridge.mcp")


def failed(error: BridgeError) -> types.CallToolResult:
    """A call that failed. What programs want to know is in ``_meta``, key ``tool-bridge/error``."""
    rpc = to_rpc_error(error)
    data: dict[str, Any] = msgspec.json.decode(rpc.data)
    text = f"{rpc.message}\n\n{data['debug']}" if "debug" in data else rpc.message
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True, _meta={META + "error": data})


def invalid_params(error: BridgeError) -> MCPError:
    """The request is wrong, not the call."""
    return _protocol_error(INVALID_PARAMS, error)


def bug(error: BaseException) -> MCPError:
    """A failure of our own code, which is logged; the client gets the id of the log line."""
    error_id = secrets.token_hex(8)
    log.error("a bug in tool-bridge (error id %s)", error_id, exc_info=error)
    message = f"the server failed in its own code; its log has the details under error id {error_id}"
    details = ErrorDetails(metadata={"error_id": error_id})
    return _protocol_error(INTERNAL_ERROR, BridgeError(Code.INTERNAL, message, reason="INTERNAL", details=details))


def _protocol_error(number: int, error: BridgeError) -> MCPError:
    rpc = numbered(number, error)
    return MCPError(rpc.code, rpc.message, msgspec.json.decode(rpc.data))
