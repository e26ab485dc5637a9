"""One behaviour, every host: the one in the process, and the same behind a real gRPC server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bridge import engines
from bridge.engines.base import Channel, Method, ServerOptions
from bridge.frontends.grpc import HOST, ToolFrontend
from bridge.frontends.host_service import host_methods
from bridge.host import CallScope
from bridge.hosts.grpc import GrpcHost
from bridge.hosts.limits import HostLimits
from bridge.hosts.memory import InMemoryHost
from bridge.hosts.sessions import SessionHost


class ManualClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def scope_of(principal: str, session_id: str = "", **fields: Any) -> CallScope:
    """A scope of somebody, for hosts on this and on the other side of a wire."""
    headers = {"x-principal": principal, **fields.pop("headers", {})}
    return CallScope(session_id, headers=headers, principal=principal, **fields)


Connect = Callable[[SessionHost], Awaitable[Channel]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Serves a host on a real socket and gives a channel to it."""
    async with AsyncExitStack() as stack:

        async def connect(host: SessionHost) -> Channel:
            options = ServerOptions(
                max_message_bytes=16 * 1024 * 1024,
                max_metadata_bytes=16 * 1024,
                max_concurrent_streams=100,
                authenticate=lambda headers, _: headers.get("x-principal", ""),
            )
            server = engines.serve(options)
            address = server.listen("127.0.0.1:0")
            methods: list[Method] = host_methods(host)
            # The frontend asks no more of a dispatcher than to run calls.
            methods += ToolFrontend(host._tools, host, HOST).methods()  # type: ignore[arg-type]
            await server.start(methods)
            stack.push_async_callback(server.aclose, 0.0)
            channel = engines.connect(address)
            stack.push_async_callback(channel.aclose)
            return channel

        yield connect


@pytest.fixture
def made() -> list[SessionHost]:
    """The hosts that ``make_host`` has made, as whoever runs them has them."""
    return []


@pytest.fixture
def session_host(made: list[SessionHost]) -> Callable[[], SessionHost]:
    """Gives the host made last, whichever way tests ask it."""
    return lambda: made[-1]


@pytest.fixture(params=["memory", "grpc"])
async def make_host(
    request: pytest.FixtureRequest, connect: Connect, clock: ManualClock, made: list[SessionHost]
) -> Any:
    """Makes hosts: ``await make_host(tools=..., max_variables=...)``."""

    async def make_host(*, tools: Any = None, auto_open: bool = False, **limits: Any) -> Any:
        host = InMemoryHost(tools=tools, limits=HostLimits(**limits), clock=clock, auto_open=auto_open)
        made.append(host)
        return host if request.param == "memory" else GrpcHost(await connect(host))

    return make_host


@pytest.fixture
async def host(make_host: Any) -> Any:
    """A host with default limits."""
    return await make_host()


@pytest.fixture
async def scope(host: Any) -> CallScope:
    """An open session of alice on ``host``."""
    session = await host.open_session(scope_of("alice"))
    return scope_of("alice", session.session_id)


@pytest.fixture
def of() -> Any:
    """``of(principal, session_id)``: a scope of somebody."""
    return scope_of
