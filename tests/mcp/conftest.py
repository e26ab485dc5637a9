"""MCP clients by the official SDK, of servers over both transports, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="needs the MCP SDK: pip install 'tool-bridge[mcp]'")

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from bridge.config import ServerConfig
from bridge.listeners import TcpAddress
from bridge.mcp.http import listening
from bridge.mcp.serving import McpOptions, mcp_server
from bridge.server import Server, run_server
from bridge.sources import load_sources
from tests.cli.running import environment

TOOLS = Path(__file__).with_name("mcp_tools.py")
MAX_INLINE_BYTES = 10_000

Connect = Callable[[], AbstractAsyncContextManager[Client]]


def arguments(*extra: str, source: Path | str = TOOLS) -> list[str]:
    """A command line of ours, without Python itself."""
    return ["-m", "bridge", "mcp", str(source), "--max-inline-bytes", str(MAX_INLINE_BYTES), *extra]


@asynccontextmanager
async def serving(source: Path = TOOLS, *, session: str = "", **settings: Any) -> AsyncIterator[tuple[Server, str]]:
    """A server over HTTP in this process, and its URL."""
    settings = {"isolation": "plain-process", "log_level": "error", "grace": 2.0, "workers": 1} | settings
    config = ServerConfig(**settings)
    adapters, _ = load_sources([str(source)])
    async with run_server(config, adapters, listens=False) as server:
        with mcp_server(server, McpOptions(session, MAX_INLINE_BYTES, is_local=False)) as mcp:
            async with listening(mcp, config, TcpAddress("127.0.0.1", 0), ()) as url:
                yield server, url
                await server.drain()


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """How the client begins: with revision 2026-07-28 if the server has it, or with the handshake of those before."""
    return str(request.param)


@pytest.fixture(params=["stdio", "http"])
def connect(request: pytest.FixtureRequest, mode: str, tmp_path: Path) -> Connect:
    """Starts a server and gives a client of it: ``async with connect() as client``."""

    # The SDK's clients have to end in the task that began them, and fixtures end in another one.
    @asynccontextmanager
    async def over_stdio() -> AsyncIterator[Client]:
        parameters = StdioServerParameters(command=sys.executable, args=arguments(), env=environment())
        with (tmp_path / "stderr").open("w") as log:
            async with asyncio.timeout(30), Client(stdio_client(parameters, errlog=log), mode=mode) as client:
                yield client

    @asynccontextmanager
    async def over_http() -> AsyncIterator[Client]:
        async with asyncio.timeout(30), serving() as (_, url), Client(url, mode=mode) as client:
            yield client

    return over_stdio if request.param == "stdio" else over_http


def is_alive(process: int) -> bool:
    """Whether a process has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, and before it was read
        return False
