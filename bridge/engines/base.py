"""The engine seam: HTTP/2 and gRPC's framing below, messages as bytes above.

An engine moves bytes, metadata, deadlines, cancellation and status; it knows no message of ours. Server side: a
frontend hands it ``Method`` records. Client side: ``connect`` gives a ``Channel``. Failures are ``BridgeError`` in
both directions.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bridge.call import Headers
from bridge.engines.token_bucket import RateLimit
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.engines.services import Services

__all__ = [
    "Channel",
    "ChannelOptions",
    "ClientTls",
    "Duplex",
    "DuplexChannel",
    "Method",
    "RateLimit",
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
    """Of a message that comes in, and of one that goes out unless ``max_send_bytes`` says otherwise; at most 2**31 - 1.
    Whoever sends more gets RESOURCE_EXHAUSTED, with its size and the limit in the message."""
    max_metadata_bytes: int
    max_concurrent_streams: int
    tls: ServerTls | None = None
    authenticate: Authenticate | None = None
    reflection: bool = False
    """Whether to serve grpc.reflection.v1 and v1alpha, which list all services and describe those that protobuf's
    default pool or ``reflection_pools`` know."""
    reflection_pools: tuple[Any, ...] = ()
    """Further ``google.protobuf.descriptor_pool.DescriptorPool`` objects to look in."""
    max_send_bytes: int | None = None
    rate_limit: RateLimit | None = None
    """Of all that is in ``services`` together, and of nothing in ``methods``."""
    service_threads: int = 64
    """Most blocking servicers that run at once; further calls wait for a thread. A blocking servicer that calls its own
    server and waits takes one for each call."""
    telemetry: bool = True
    """Whether servicers get spans and metrics, if the program has configured OpenTelemetry when the server starts."""


class ServerEngine(Protocol):
    """Answers RPCs on addresses."""

    def listen(self, address: str) -> str:
        """Binds an address (``host:port``, port 0 for any, or ``unix:/path``); returns the bound one.

        Raises ``BridgeError`` ALREADY_EXISTS if somebody else is there.
        """

    async def start(self, methods: Sequence[Method], services: Services | None = None) -> None:
        """Begins to answer: to our methods, and to the services of others.

        Raises ``BridgeError`` ALREADY_EXISTS, reason ``SERVICE_EXISTS``, for a service that is in both.
        """

    async def drain(self, timeout: float) -> bool:
        """Returns when no call of ``services`` runs, or after so many seconds; whether none does. Calls are still
        taken."""

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
    """Of a message in either direction; at most 2**31 - 1."""
    keepalive: float = 60.0
    """Seconds without traffic after which the connection is probed, while calls are running; 0: never. A grpc-go server
    with its defaults takes a probe every five minutes, and closes the connection of whoever sends more
    (keepalive.EnforcementPolicy in grpc-go)."""


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


class DuplexChannel(Channel, Protocol):
    """A channel over a network: ``engines.connect`` gives one."""

    def duplex(
        self,
        path: str,
        requests: AsyncIterable[bytes],
        *,
        headers: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Sends requests as they come and returns the answers as they come. The call begins when the first answer is
        asked for.

        Closing it early cancels the call on the server. An exception of ``requests`` cancels it too, and is raised
        here. ``requests``, if it can be closed, is closed at the end.
        """

    @property
    def for_stubs(self) -> Any:
        """The ``grpc.aio.Channel``, for generated stubs. It is closed with this one."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at the moment. One over a Unix socket that was lost is made again by the next
        call, any other by itself."""
