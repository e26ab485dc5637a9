"""The asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from bridge import engines
from bridge.call import Progress
from bridge.client_config import ClientConfig
from bridge.credentials import AuthorizedChannel, Token, token_source
from bridge.engines.base import Channel, ChannelOptions, ClientTls
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.host import CallScope
from bridge.hosts.grpc import GrpcHost
from bridge.telemetry import client_metrics
from bridge.tool_messages import pack_call, parse_response, read_result, read_stream
from bridge.v1 import bridge_pb2
from bridge.variables import SessionInfo
from bridge_client.arguments import check_seconds, merge_arguments
from bridge_client.breaker import BreakerPolicy, State
from bridge_client.breakers import CircuitBreakers, StateChange
from bridge_client.caller import Caller, deadline_exceeded
from bridge_client.info import ServerInfo, ToolInfo, read_server_info, read_tool
from bridge_client.pool import ChannelPool
from bridge_client.retry import Retrier, RetryPolicy, Timing
from bridge_client.session import Session, no_sessions
from bridge_client.stream import ToolStream
from bridge_client.tracing import make_tracer

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["BridgeClient"]

T = TypeVar("T")

_SERVICE = "/bridge.v1.BridgeService/"
EXECUTE_TOOL = _SERVICE + "ExecuteTool"
EXECUTE_STREAMING_TOOL = _SERVICE + "ExecuteStreamingTool"
LIST_TOOLS = _SERVICE + "ListTools"
GET_SERVER_INFO = _SERVICE + "GetServerInfo"

_LOOKUP_TIMEOUT = 5.0
"""Seconds at most to ask for the tools in the middle of a failed call."""
_MAX_CONNECTIONS = 64

Connect = Callable[[str, ChannelOptions], Channel]
"""Makes a channel to an address; ``bridge.engines.connect``, or a test's own."""


class BridgeClient:
    """Calls tools on a bridge server.

    Use it as ``async with BridgeClient("127.0.0.1:50051") as client``; it connects when it is first used, and connects
    again by itself when the server was restarted. It belongs to one event loop; any number of tasks may share it.

    Args:
        target: address of the server: ``host:port`` or ``unix:/path``.
        tls: certificates; ``True``: TLS with the system's authorities; ``None``: no TLS.
        token: bearer token: the text, a ``Path`` to a file that holds it (read again when it changes), or a function.
        retry: how failed calls are repeated; ``None``: never.
        breaker: when a failing tool is left alone; ``None``: never.
        connections: connections to the server, for loads that one cannot carry.
        timeout: seconds for calls that give none; ``None``: no limit. ``math.inf`` in a call means no limit, too.
        metadata: free text that goes to the tool with every call.
        tracing: ``None``: spans and trace context if the program has an OpenTelemetry SDK; or a provider, or a bool.
        host: address of the HostService that keeps the sessions, if it is not the server itself.
        max_message_bytes: of one request or response.
        on_state_change: told when a circuit breaker changes its state: target, tool, before, after.
        connect: makes channels (for tests and other engines).
        timing: time and chance (for tests).

    Raises:
        BridgeError: INVALID_ARGUMENT for an argument that cannot be used.
    """

    def __init__(
        self,
        target: str,
        *,
        tls: ClientTls | bool | None = None,
        token: Token | None = None,
        retry: RetryPolicy | None = RetryPolicy(),  # noqa: B008 - an immutable value
        breaker: BreakerPolicy | None = BreakerPolicy(),  # noqa: B008 - an immutable value
        connections: int = 1,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        tracing: TracerProvider | bool | None = None,
        host: str | None = None,
        max_message_bytes: int = 16 * 1024 * 1024,
        on_state_change: StateChange | None = None,
        connect: Connect = engines.connect,
        timing: Timing = Timing(),  # noqa: B008 - an immutable value
    ) -> None:
        _check_target("target", target)
        if host is not None:
            _check_target("host", host)
        if not 1 <= connections <= _MAX_CONNECTIONS:
            raise invalid_argument("connections", f"must be from 1 to {_MAX_CONNECTIONS}", reason="CONFIG")
        if token is not None:
            token_source(token)
        self.target = target
        self._host_target = host
        self._token = token
        self._connections = connections
        self._options = ChannelOptions(
            tls=ClientTls() if tls is True else tls or None,
            max_message_bytes=max_message_bytes,
        )
        self._connect = connect
        self._timeout = check_seconds(timeout)
        self._metadata = dict(metadata or {})
        self._timing = timing
        self._retrier = None if retry is None else Retrier(retry, timing)
        self._breakers = None
        self._metrics = metrics = client_metrics()
        if breaker is not None:
            tell = on_state_change if metrics is None else _both(metrics.breaker_changed, on_state_change)
            self._breakers = CircuitBreakers(target, breaker, random=timing.random, on_state_change=tell)
        self._tracer = make_tracer(target, tracing, metrics)
        self._caller: Caller | None = None
        self._host: GrpcHost | None = None
        self._closed = False
        self._tools: dict[str, ToolInfo] | None = None
        self._etag = ""
        self._sessions: set[Session] = set()

    @classmethod
    def from_config(cls, config: str | Path | ClientConfig, **options: Any) -> Self:
        """A client for the server that a ``client.json`` describes.

        Args:
            config: the file, or what was read from one.
            options: further arguments of the class; those given here win over the file.
        """
        if not isinstance(config, ClientConfig):
            config = ClientConfig.load(config)
        options.setdefault("tls", config.tls())
        options.setdefault("token", config.token_file)
        return cls(config.target, **options)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "new" if self._caller is None else "open"
        broken = [f"{tool}={state}" for tool, state in self.breaker_states.items() if state is not State.CLOSED]
        return f"<BridgeClient {self.target} {' '.join([state, *broken])}>"

    @property
    def breaker_states(self) -> dict[str, State]:
        """State of the circuit breaker of every tool that has failed lately."""
        return {} if self._breakers is None else self._breakers.states()

    # -- life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the sessions it opened and its connections; calls that run fail. Repeating it is harmless."""
        if self._closed:
            return
        try:
            await asyncio.gather(*(session.aclose() for session in self._sessions))
        finally:
            self._closed = True
            caller, self._caller = self._caller, None
            host, self._host = self._host, None
            if host is not None and self._host_target is not None:
                await host.aclose()
            if caller is not None:
                await caller.channel.aclose()
            if self._metrics is not None:
                self._metrics.forget(self.target)

    def _open(self) -> Caller:
        if self._caller is not None:
            return self._caller
        if self._closed:
            raise BridgeError(
                Code.FAILED_PRECONDITION, "the client is closed: make another one", reason="CLIENT_CLOSED"
            )
        channels = [self._connect(self.target, self._options) for _ in range(self._connections)]
        self._caller = Caller(
            self._authorized(channels[0] if len(channels) == 1 else ChannelPool(channels)),
            retrier=self._retrier,
            breakers=self._breakers,
            tracer=self._tracer,
            timing=self._timing,
            is_idempotent=self._is_idempotent,
        )
        return self._caller

    def _authorized(self, channel: Channel) -> Channel:
        return channel if self._token is None else AuthorizedChannel(channel, self._token)

    def _open_host(self) -> tuple[GrpcHost, Caller]:
        """What sessions stand on."""
        caller = self._open()
        if self._host is None:
            channel = caller.channel
            if self._host_target is not None:
                channel = self._authorized(self._connect(self._host_target, self._options))
            self._host = GrpcHost(channel)
        return self._host, caller

    async def wait_ready(self, timeout: float = 10.0) -> None:
        """Returns when the server can be reached.

        Raises:
            BridgeError: DEADLINE_EXCEEDED, reason ``NOT_READY``, after ``timeout`` seconds.
        """
        caller = self._open()
        try:
            async with asyncio.timeout(timeout):
                await caller.channel.ready()
        except TimeoutError:
            message = f"nobody answered at {self.target} within {timeout:g} s: is the server running there?"
            raise BridgeError(Code.DEADLINE_EXCEEDED, message, reason="NOT_READY") from None

    # -- calls ---------------------------------------------------------------------------------------------------

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,
        session: Session | str | None = None,
        metadata: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> Any:
        """Calls a tool and returns its result.

        Args:
            tool: its name.
            arguments: arguments by name.
            timeout: seconds for everything, retries included.
            session: the session (or its id) whose variables the tool may use.
            metadata: free text for the tool.
            keywords: arguments by name; one called ``timeout``, ``session`` or ``metadata`` goes into ``arguments``.

        Raises:
            BridgeError: the call failed; ``.code`` and ``.reason`` say how.
            TypeError: an argument is given twice.
        """
        caller = self._caller or self._open()
        request = self._request(tool, arguments, keywords, session, metadata)
        return read_result(await caller.unary(EXECUTE_TOOL, tool, request, self._limit(timeout)))

    def stream(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,
        session: Session | str | None = None,
        metadata: Mapping[str, str] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        **keywords: Any,
    ) -> ToolStream:
        """Calls a tool and iterates over what it yields: ``async for value in client.stream("tail", path="log")``.

        Args:
            tool: its name.
            arguments: arguments by name.
            timeout: seconds from the first step to the last.
            session: the session (or its id) whose variables the tool may use.
            metadata: free text for the tool.
            on_progress: called with each note of progress.
            keywords: arguments by name, as for ``call``.
        """
        caller = self._caller or self._open()
        request = self._request(tool, arguments, keywords, session, metadata)
        messages = caller.stream(EXECUTE_STREAMING_TOOL, tool, request, self._limit(timeout))
        return ToolStream(tool, read_stream(messages), on_progress)

    def session(
        self,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
        *,
        session_id: str | None = None,
    ) -> Session:
        """A session, opened by ``async with client.session() as session`` and closed at the end of the block.

        Args:
            metadata: free text kept with it.
            ttl: seconds it lives without use or heartbeat (the client sends heartbeats); ``None``: as the host says.
            session_id: of a session that is open already, to use it and leave it open; then without the other two.
        """
        return Session(self, metadata, ttl, session_id)

    async def list_sessions(self, limit: int = 0) -> list[SessionInfo]:
        """The open sessions of this caller, newest first.

        Args:
            limit: most sessions to return; 0: as many as the host is willing to list.
        """
        scope = self._scope("")
        try:
            return await self._ask_host(lambda host: host.list_sessions(scope, limit), scope, idempotent=True)
        except BridgeError as error:
            raise no_sessions(error) from error

    async def _ask_host(
        self, operation: Callable[[GrpcHost], Awaitable[T]], scope: CallScope, *, idempotent: bool = False
    ) -> T:
        """Asks the host, again if the first time cannot have had an effect or none that matters."""
        host, caller = self._open_host()
        try:
            return await operation(host)
        except BridgeError as error:
            failure = error
        return await caller.repeat(lambda _left: operation(host), failure, "", scope.deadline, idempotent=idempotent)

    async def _ask_now(self, operation: Callable[[GrpcHost], Awaitable[T]]) -> T:
        """Asks the host once."""
        host, _ = self._open_host()
        return await operation(host)

    def _scope(self, session_id: str, timeout: float | None = None) -> CallScope:
        limit = self._timeout if timeout is None else timeout
        deadline = None if limit is None else self._timing.clock() + limit
        headers = {} if self._tracer is None else dict(self._tracer.current())
        return CallScope(session_id, deadline, headers)

    def _request(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None,
        keywords: dict[str, Any],
        session: Session | str | None,
        metadata: Mapping[str, str] | None,
    ) -> bytes:
        if self._metadata:
            metadata = self._metadata if metadata is None else {**self._metadata, **metadata}
        session_id = session.session_id if isinstance(session, Session) else session or ""
        return pack_call(tool, merge_arguments(arguments, keywords), session_id, metadata)

    def _limit(self, timeout: float | None) -> float | None:
        if timeout is None:
            return self._timeout
        limit = check_seconds(timeout)
        if limit == 0:
            raise deadline_exceeded()
        return limit

    # -- what the server says ------------------------------------------------------------------------------------

    async def tools(self, *, refresh: bool = False, timeout: float | None = None) -> list[ToolInfo]:
        """The tools of the server, sorted by name.

        Args:
            refresh: ask again; otherwise the list that was read first is used.
            timeout: seconds.
        """
        if refresh or self._tools is None:
            self._tools = await self._list_tools(self._limit(timeout))
        return list(self._tools.values())

    async def _list_tools(self, timeout: float | None) -> dict[str, ToolInfo]:
        data = await self._open().unary(LIST_TOOLS, "", b"", timeout)
        response = parse_response(bridge_pb2.ListToolsResponse, data)
        if self._tools is not None and response.etag and response.etag == self._etag:
            return self._tools
        tools = {spec.name: read_tool(spec) for spec in response.tools}
        self._etag = response.etag
        return tools

    async def _is_idempotent(self, tool: str, timeout: float | None) -> bool:
        if self._tools is None:
            limit = _LOOKUP_TIMEOUT if timeout is None else min(timeout, _LOOKUP_TIMEOUT)
            # By the channel itself: a lookup for a retry has no retries of its own.
            data = await self._open().channel.unary(LIST_TOOLS, b"", timeout=limit)
            response = parse_response(bridge_pb2.ListToolsResponse, data)
            self._tools = {spec.name: read_tool(spec) for spec in response.tools}
            self._etag = response.etag
        info = self._tools.get(tool)
        return info is not None and info.idempotent

    async def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Who answers, with which limits."""
        data = await self._open().unary(GET_SERVER_INFO, "", b"", self._limit(timeout))
        return read_server_info(parse_response(bridge_pb2.GetServerInfoResponse, data))


def _both(record: StateChange, tell: StateChange | None) -> StateChange:
    def changed(target: str, tool: str, before: State, after: State) -> None:
        record(target, tool, before, after)
        if tell is not None:
            tell(target, tool, before, after)

    return changed


def _check_target(field: str, target: object) -> None:
    if not isinstance(target, str) or not target or not target.isprintable() or " " in target or ":" not in target:
        raise invalid_argument(
            field, f"{target!r:.100} is not an address; use host:port or unix:/path", reason="BAD_TARGET"
        )
