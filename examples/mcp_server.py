"""An MCP-like server by hand: ``python examples/mcp_server.py``. ``bridge mcp`` serves adapters as the real thing."""

from __future__ import annotations

from typing import Any

from bridge.jsonrpc import Context, Server

NUMBERS = {"type": "object", "properties": {name: {"type": "number"} for name in "ab"}, "required": ["a", "b"]}
TOOLS = {"add": ("Adds two numbers.", NUMBERS, lambda a, b: a + b)}

server = Server(drops_cancelled=True)


@server.method("initialize")
async def initialize(params: Any) -> Any:
    about = {"name": "by hand", "version": "1"}
    return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": about}


@server.method("ping")
async def ping(params: Any = None) -> Any:
    return {}


@server.method("tools/list")
async def list_tools(params: Any = None) -> Any:
    tools = [{"name": name, "description": text, "inputSchema": schema} for name, (text, schema, _) in TOOLS.items()]
    return {"tools": tools}


@server.method("tools/call")
async def call_tool(name: str, ctx: Context, arguments: dict[str, Any] | None = None) -> Any:
    if name not in TOOLS:
        ctx.fail(-32602, f"there is no tool {name!r}")
    try:
        text, is_error = str(TOOLS[name][2](**arguments or {})), False
    except (TypeError, ValueError) as error:
        text, is_error = str(error), True
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


if __name__ == "__main__":
    raise SystemExit(server.run("stdio", framing="newline"))
