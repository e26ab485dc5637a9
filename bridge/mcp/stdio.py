"""MCP over stdin and stdout.

The SDK has a transport of its own for them. It parks a thread on stdin, takes a thread for every line each way, and
says nothing to a client whose line is no message; so here is another one, on the event loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from bridge.jsonrpc.pipe_transport import connect_pipes
from bridge.jsonrpc.stdio import Stdio
from bridge.mcp.server import McpServer
from bridge.mcp.streams import Incoming, Outgoing

__all__ = ["serving_stdio"]

EOF_GRACE = 0.2
"""Seconds in which what was asked before stdin ended is still answered: ``echo REQUEST | bridge mcp ADAPTER``."""
WRITE_TIMEOUT = 1.0
"""Seconds that a client has to take its last answers when the server stops."""


@asynccontextmanager
async def serving_stdio(
    server: McpServer, stdio: Stdio, max_line_bytes: int, on_gone: Callable[[], None]
) -> AsyncIterator[Callable[[], bool]]:
    """Serves as long as the block runs; leaving it, after the calls have ended, lets the client have its answers.

    Yields what says whether the client has hung up.

    Args:
        server: what answers.
        stdio: both.
        max_line_bytes: of a message.
        on_gone: called when the client has hung up.
    """
    loop = asyncio.get_running_loop()
    reader, writer = await _connect(stdio)
    outgoing = Outgoing(writer)
    incoming = Incoming(reader, outgoing, max_line_bytes, EOF_GRACE)

    def on_host_gone() -> None:
        with suppress(RuntimeError):  # the loop is closed: it stops anyway
            loop.call_soon_threadsafe(incoming.end)

    stdio.host.tell(on_host_gone)
    sdk = server.sdk
    serving = asyncio.create_task(sdk.run(incoming, outgoing, sdk.create_initialization_options()))
    serving.add_done_callback(lambda _: on_gone())
    try:
        yield serving.done
    finally:
        server.listening.close()
        await outgoing.settle(WRITE_TIMEOUT)
        incoming.end()
        await serving
        writer.close()


async def _connect(stdio: Stdio) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    if stdio.is_one_socket:
        return await asyncio.open_connection(sock=socket.socket(fileno=stdio.stdin))
    reader = asyncio.StreamReader()
    protocol = _Protocol(reader)
    await connect_pipes(protocol, stdio.stdin, stdio.stdout)
    return reader, asyncio.StreamWriter(protocol.pipes, protocol, reader, loop)


class _Protocol(asyncio.StreamReaderProtocol):
    pipes: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - both directions
        self.pipes = transport
        super().connection_made(transport)
