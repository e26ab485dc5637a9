"""The engine seam: HTTP/2 and gRPC's framing below, messages as bytes above.

An engine moves bytes, metadata, deadlines, cancellation and status; it knows no message of ours. Server side: a
frontend hands it ``Method`` records. Client side: ``connect`` gives a ``Channel``. Failures are ``BridgeError`` in
both directions.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from bridge.call import Headers
from bridge.errors import BridgeError

__all__ = [
    "Channel",
    "ChannelOptions",
    "ClientTls",
    "Duplex",
    "Method",
    "ServerCall",
    "ServerEngine",
    "ServerOptions",
    "ServerTls",
    "Unary",
    "UnaryStream",
]


class ServerCall(Protocol):
    """One RPC, as an engine shows it to the method that answers."""

    @property
    def headers(self) -> Headers:
        """Text metadata, keys in lower case; binary (``-bin``) entries are left out."""

    @property
    def peer(self) -> str:
        """Address of the client: ``ipv4:127.0.0.1:5000``, ``unix:``."""

    @property
    def principal(self) -> str:
        """Who the client proved to be; empty without authentication."""

    def time_remaining(self) -> float | None:
        """Seconds until the client's deadline; ``None`` if it has none."""

    async def start(self) -> None:
        """Sends the headers of the answer, for a client that waits for them; without it they go with the first message.
        At most once, and before that message."""

    async def write(self, message: bytes) -> None:
        """Sends a message of a stream; returns when flow control has room for more."""

    def fail(self, error: BridgeError) -> None:
        """Answers with a status now, while the method is still running; what it does later goes nowhere."""


Unary = Callable[[ServerCall, bytes], Awaitable[bytes]]
"""Answers a request with one message. Raises ``BridgeError`` for any other status."""
UnaryStream = Callable[[ServerCall, bytes], Awaitable[None]]
"""Answers a request with messages given to ``call.write``."""
Duplex = Callable[[ServerCall, AsyncIterator[bytes]], Awaitable[None]]
"""Answers requests as they come with messages given to ``call.write``."""


class Method(msgspec.Struct, frozen=True):
    """One method of a service."""

    path: str
    """``/package.Service/Method``."""
    unary: Unary | None = None
    stream: UnaryStream | None = None
    duplex: Duplex | None = None
    """Exactly one of the three is set."""
    public: bool = False
    """Answered without authentication (health)."""


class ServerTls(msgspec.Struct, frozen=True):
    """Certificates of a server, as PEM."""

    certificate: bytes
    private_key: bytes
    client_ca: bytes | None = None
    """If set, clients must show a certificate of this authority (mTLS)."""

    def __repr__(self) -> str:
        return "<ServerTls>"  # holds a private key


Authenticate = Callable[[Headers, str | None], str]
"""Says who a client is by its metadata and the common name of its verified certificate (``None`` on a connection
without client certificates); raises ``BridgeError`` UNAUTHENTICATED."""


class ServerOptions(msgspec.Struct, frozen=True):
    """What a server engine enforces by itself."""

    max_message_bytes: int
    max_metadata_bytes: int
    max_concurrent_streams: int
    tls: ServerTls | None = None
    authenticate: Authenticate | None = None
    reflection: bool = False


class ServerEngine(Protocol):
    """Answers RPCs on addresses."""

    def listen(self, address: str) -> str:
        """Binds an address (``host:port``, port 0 for any, or ``unix:/path``); returns the bound one.

        Raises ``BridgeError`` ALREADY_EXISTS if somebody else is there.
        """

    async def start(self, methods: Sequence[Method]) -> None:
        """Begins to answer."""

    async def aclose(self, grace: float) -> None:
        """Takes no new calls, lets running ones go on for at most ``grace`` seconds, then cancels them."""


class ClientTls(msgspec.Struct, frozen=True):
    """Certificates of a client, as PEM."""

    ca: bytes | None = None
    """Whom to trust; ``None``: the system's authorities."""
    certificate: bytes | None = None
    private_key: bytes | None = None
    server_name: str | None = None
    """Name to expect in the server's certificate, if not that of the address."""

    def __repr__(self) -> str:
        return "<ClientTls>"  # may hold a private key


class ChannelOptions(msgspec.Struct, frozen=True):
    """How a client connects."""

    tls: ClientTls | None = None
    max_message_bytes: int = 16 * 1024 * 1024
    keepalive: float = 60.0
    """Seconds without traffic after which the connection is probed, while calls are running."""


class Channel(Protocol):
    """A connection to a server that is made, kept and remade by itself, and shared with no other channel."""

    async def unary(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> bytes:
        """Sends a request and returns the answer. Raises ``BridgeError``."""

    def stream(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Sends a request and returns the answers as they come; closing it early cancels the call on the server."""

    async def ready(self) -> None:
        """Returns when connected; bound it by ``asyncio.timeout``."""

    async def aclose(self) -> None:
        """Cancels what runs and closes the connection."""
