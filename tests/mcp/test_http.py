"""Who may use an MCP server over HTTP, and how."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
import trustme
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from bridge.config import ServerConfig
from bridge.errors import BridgeError
from bridge.listeners import TcpAddress
from bridge.mcp.http import listening
from bridge.mcp.serving import McpOptions, mcp_server
from bridge.server import run_server
from tests.cli.running import running
from tests.mcp.conftest import TOOLS, serving
from tests.mcp.test_stdio import META, VERSION, request

LIST = request(1, "tools/list")
HEADERS = {
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": VERSION,
    "mcp-method": "tools/list",
}


async def post(url: str, *, json: Any = LIST, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.post(url, json=json, headers={**HEADERS, **headers})


async def test_pages_of_browsers_cannot_reach_it_by_another_name() -> None:
    async with asyncio.timeout(20), serving() as (_, url):
        assert (await post(url)).status_code == 200
        assert (await post(url, host="evil.example.com")).status_code == 421
        assert (await post(url, origin="http://evil.example.com")).status_code == 403


async def test_a_request_that_is_too_large_is_refused() -> None:
    async with asyncio.timeout(20), serving(max_message_bytes=10_000) as (_, url):
        response = await post(url, json={**LIST, "params": {"_meta": META, "cursor": "x" * 20_000}})
        assert response.status_code == 413


async def test_a_token_is_asked_for_and_makes_the_principal(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("ann aaaaaaaaaaaaaaaaaaaaaaaa\nbob bbbbbbbbbbbbbbbbbbbbbbbb\n")
    tokens.chmod(0o600)
    async with asyncio.timeout(20), serving(tokens=tokens) as (_, url):
        refused = await post(url)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert (await post(url, authorization="Bearer " + "c" * 24)).status_code == 401

        @asynccontextmanager
        async def client_of(token: str) -> AsyncIterator[Client]:
            headers = {"authorization": f"Bearer {token}"}
            async with (
                httpx2.AsyncClient(headers=headers, trust_env=False) as http,
                Client(streamable_http_client(url, http_client=http), mode="legacy") as client,
            ):
                yield client

        async with client_of("a" * 24) as ann, client_of("b" * 24) as bob:
            await ann.call_tool("remember", {"value": 1})
            assert (await bob.call_tool("remember", {"value": 2})).structured_content == {"result": None}
            (link,) = (await ann.call_tool("text", {"size": 20_000})).content
            assert isinstance(link, types.ResourceLink)
            assert (await ann.read_resource(link.uri)).contents
            with pytest.raises(MCPError, match="no such resource"):
                await bob.read_resource(link.uri)


async def test_it_serves_by_tls_and_asks_for_certificates(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / name for name in ("tls_cert", "tls_key", "tls_client_ca")}
    certificate.cert_chain_pems[0].write_to_path(files["tls_cert"])
    certificate.private_key_pem.write_to_path(files["tls_key"])
    authority.cert_pem.write_to_path(files["tls_client_ca"])
    files["tls_key"].chmod(0o600)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with asyncio.timeout(20), serving(**files) as (_, url):
        assert url.startswith("https://")
        async with httpx2.AsyncClient(verify=context, trust_env=False) as client:
            with pytest.raises(httpx2.TransportError):
                await client.post(url, json=LIST, headers=HEADERS)
        authority.issue_cert("client").configure_cert(context)
        async with httpx2.AsyncClient(verify=context, trust_env=False) as client:
            assert (await client.post(url, json=LIST, headers=HEADERS)).status_code == 200


async def test_other_machines_need_tls_and_a_token() -> None:
    async with run_server(ServerConfig(log_level="error"), [], listens=False) as server:
        with mcp_server(server, McpOptions("", 0, is_local=False)) as mcp, pytest.raises(BridgeError) as caught:
            async with listening(mcp, server.config, TcpAddress("0.0.0.0", 0), ()):
                pass
    assert caught.value.reason == "INSECURE_ADDRESS"


async def test_one_session_can_be_given_to_all_clients() -> None:
    async with (
        asyncio.timeout(20),
        serving(session="0" * 32, sessions="auto-open") as (_, url),
        Client(url) as first,
        Client(url, mode="legacy") as second,
    ):
        await first.call_tool("remember", {"value": 1})
        assert (await second.call_tool("remember", {"value": 2})).structured_content == {"result": 1}


async def test_a_request_may_name_its_session() -> None:
    meta: Any = {"tool-bridge/session": "1" * 32}
    async with asyncio.timeout(20), serving(sessions="auto-open") as (_, url), Client(url) as client:
        await client.call_tool("remember", {"value": 1}, meta=meta)
        assert (await client.call_tool("remember", {"value": 2}, meta=meta)).structured_content == {"result": 1}


async def test_C11_running_calls_are_answered_after_a_signal(mode: str, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    given = {"file": str(tmp_path / "heard"), "size": 20_000}
    with running("mcp", TOOLS, "--http", "127.0.0.1:0", "--max-inline-bytes", "10000", cwd=tmp_path) as server:
        async with asyncio.timeout(30), Client(await asyncio.to_thread(server.address), mode=mode) as client:
            await client.list_tools()  # it looks for the schema of the result afterwards, if it has none
            call = asyncio.create_task(client.call_tool("steps", given, progress_callback=on_progress))
            await begun.wait()
            server.send(signal.SIGTERM)
            await asyncio.to_thread(server.err.until, "stopping")
            for step in range(3):
                (tmp_path / f"heard{step}").touch()
            (link,) = (await call).content
            assert isinstance(link, types.ResourceLink)
            assert link.size == 20_000
        assert await asyncio.to_thread(server.wait) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_C12_the_command_says_where_it_serves_and_ends_by_a_signal(number: int, tmp_path: Path) -> None:
    with running("mcp", TOOLS, "--http", "127.0.0.1:0", cwd=tmp_path) as server:
        async with asyncio.timeout(30):
            url = await asyncio.to_thread(server.address)
            async with Client(url, mode="legacy") as client:  # whose stream of notifications is open
                assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}
                server.send(number)
                assert await asyncio.to_thread(server.wait) == 0
