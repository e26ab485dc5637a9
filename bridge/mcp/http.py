"""Streamable HTTP: where the server listens, for whom, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Generator, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.config import ServerConfig
from bridge.errors import BridgeError
from bridge.listeners import TcpAddress, is_loopback, probe_tcp, require_secure
from bridge.mcp.server import MAX_SESSIONS, McpServer
from bridge.security import TokenFile, load_tls

__all__ = ["PATH", "listening"]

PATH = "/mcp"

LEFTOVER_TIMEOUT = 1
"""Seconds that clients have to take their last answers when the server stops."""


@contextlib.asynccontextmanager
async def listening(
    server: McpServer, config: ServerConfig, address: TcpAddress, allowed_hosts: Sequence[str]
) -> AsyncIterator[str]:
    """Serves as long as the block runs; yields the URL.

    Args:
        server: what answers.
        config: limits, certificates and tokens.
        address: where.
        allowed_hosts: names that clients may call it by, as in ``Host``, beside those of this machine on a loopback
            address. Empty: elsewhere by any.

    Raises ``BridgeError``, as ``probe_tcp``, ``require_secure``, ``load_tls`` and ``TokenFile`` do.
    """
    tls = None
    if config.tls_cert is not None and config.tls_key is not None:
        tls = load_tls(config.tls_cert, config.tls_key, config.tls_client_ca)
    tokens = None if config.tokens is None else TokenFile(config.tokens)
    is_known = tokens is not None or config.tls_client_ca is not None
    require_secure([address], tls=tls is not None, auth=is_known, insecure=config.insecure)
    probe_tcp(address.host, address.port)
    app: ASGIApp = server.sdk.streamable_http_app(
        streamable_http_path=PATH,
        host=address.host,
        max_request_body_size=config.max_message_bytes,
        session_idle_timeout=config.session_ttl,
        max_sessions=MAX_SESSIONS,
        transport_security=_transport_security(address, allowed_hosts),
    )
    if tokens is not None:
        app = _Authentication(app, tokens)
    app = gate = _Gate(app)
    http = _Uvicorn(_settings(app, config))
    with _bind(address) as bound:
        # Not by the lifespan of the app: MCP sessions have to end before uvicorn waits for their open requests.
        async with _running(http, bound), server.sdk.session_manager.run():
            host, port = bound.getsockname()[:2]
            yield f"{'http' if tls is None else 'https'}://{TcpAddress(host, port)}{PATH}"
            server.listening.close()
            await gate.close(LEFTOVER_TIMEOUT)


class _Uvicorn(uvicorn.Server):
    """A server that says when it is there, and leaves signals to who runs the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_there = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.is_there.set()


@contextlib.asynccontextmanager
async def _running(http: _Uvicorn, bound: socket.socket) -> AsyncIterator[None]:
    serving = asyncio.create_task(http.serve(sockets=[bound]))
    waiting = asyncio.create_task(http.is_there.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if serving.done():
            await serving
        yield
    finally:
        http.should_exit = True
        await serving


def _settings(app: ASGIApp, config: ServerConfig) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who a client is, nobody between says
        timeout_graceful_shutdown=LEFTOVER_TIMEOUT,
        ssl_certfile=config.tls_cert,
        ssl_keyfile=config.tls_key,
        ssl_ca_certs=_text(config.tls_client_ca),
        ssl_cert_reqs=ssl.CERT_NONE if config.tls_client_ca is None else ssl.CERT_REQUIRED,
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _bind(address: TcpAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family, backlog=256)


def _transport_security(address: TcpAddress, allowed_hosts: Sequence[str]) -> TransportSecuritySettings:
    """A page in a browser of this machine can reach loopback addresses by a name of its own (DNS rebinding), so only
    the right names are answered there."""
    hosts = list(allowed_hosts)
    if is_loopback(address):
        hosts += ["127.0.0.1:*", "localhost:*", "[::1]:*", f"{_in_url(address.host)}:*"]
    origins = [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=bool(hosts), allowed_hosts=hosts, allowed_origins=origins
    )


def _in_url(host: str) -> str:
    with contextlib.suppress(ValueError):
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    return host


class _Authentication:
    """Lets in who shows a token of the file. The SDK then keeps MCP sessions apart by principal."""

    def __init__(self, app: ASGIApp, tokens: TokenFile) -> None:
        self._app, self._tokens = app, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            principal = self._tokens.authenticate(Headers(scope=scope))
        except BridgeError as error:
            answer = JSONResponse({"error": error.message}, 401, {"www-authenticate": "Bearer"})
            await answer(scope, receive, send)
            return
        user: Any = AuthenticatedUser(AccessToken(token="", client_id=principal, scopes=[]))
        await self._app({**scope, "user": user}, receive, send)


class _Gate:
    """Counts requests that are not answered, and lets in no more once it is closed. Streams of those who only listen
    are not counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open = 0
        self._is_closed = False
        self._answered = asyncio.Event()
        self._answered.set()

    async def close(self, timeout: float) -> None:
        """Returns when all have their answers, at the latest after some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._answered.wait()
        self._is_closed = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_closed:
            await PlainTextResponse("the server is stopping", 503, {"connection": "close"})(scope, receive, send)
        elif scope.get("method") != "POST":
            await self._app(scope, receive, send)
        else:
            await self._count(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._open += 1
        self._answered.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1
            if not self._open:
                self._answered.set()
