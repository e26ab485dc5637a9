"""JSON-RPC 2.0 over pipes and sockets: connections, servers for anybody's methods, and what both need.

``bridge.protocols`` below it knows no input and output; the tools' own methods are in ``bridge.frontends.jsonrpc``.

``from bridge.jsonrpc import Server, Context`` is for programs that serve methods of their own, ``script_context`` for
scripts that such a server runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.jsonrpc.context import Context, ScriptContext, SyncContext, script_context
    from bridge.jsonrpc.server import Server
    from bridge.protocols.rpc_errors import RpcFailure

__all__ = ["Context", "RpcFailure", "ScriptContext", "Server", "SyncContext", "script_context"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Most who import from here want a connection, and a server is much to import.
    if name == "Server":
        from bridge.jsonrpc.server import Server

        return Server
    if name == "RpcFailure":
        from bridge.protocols.rpc_errors import RpcFailure

        return RpcFailure
    from bridge.jsonrpc import context

    return getattr(context, name)
