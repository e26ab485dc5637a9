"""The tool of the bench by the low-level server of MCP's SDK, over stdin and stdout."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "top": {"type": "integer"}},
    "required": ["text", "top"],
}
_ECHO = types.Tool(name="echo", description="Returns its arguments.", input_schema=_SCHEMA)


async def _list(ctx: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[_ECHO])


async def _call(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    value = params.arguments or {}
    text = json.dumps(value, separators=(",", ":"))
    return types.CallToolResult(content=[types.TextContent(text=text)], structured_content=value)


async def _serve() -> None:
    server: Server[Any] = Server("bench", on_list_tools=_list, on_call_tool=_call)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(_serve())
