"""A client for JSON-RPC 2.0 over Unix sockets and the stdin and stdout of a child process.

``Client`` is for asyncio; ``bridge_client.jsonrpc.sync.Client`` has the same calls, blocking.
"""

from bridge.protocols.limits import ProtocolLimits
from bridge_client.jsonrpc.client import Client, ClientOptions

__all__ = ["Client", "ClientOptions", "ProtocolLimits"]
