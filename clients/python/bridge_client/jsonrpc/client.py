"""The asyncio client for JSON-RPC servers: those of this package, and anybody's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack, cast

from msgspec import Raw

from bridge.call import Progress, time_remaining
from bridge.errors import BridgeError, Code
from bridge.host import CallScope, Host
from bridge.protocols.limits import DEFAULT_LIMITS, ProtocolLimits
from bridge.protocols.messages import plain
from bridge.telemetry.propagation import outgoing
from bridge.variables import SessionInfo
from bridge_client.arguments import check_seconds, merge_arguments
from bridge_client.backoff import Backoff
from bridge_client.caller import deadline_exceeded
from bridge_client.info import ToolInfo
from bridge_client.jsonrpc.child import ChildWay
from bridge_client.jsonrpc.line import Line
from bridge_client.jsonrpc.link import Hears, Link, OnNotification, OnRequest, check_options
from bridge_client.jsonrpc.starting import StartingWay
from bridge_client.jsonrpc.tools import ToolCaller, read_tools
from bridge_client.jsonrpc.ways import SocketWay, Way
from bridge_client.retry import Timing
from bridge_client.session import Session, SessionHost
from bridge_client.stream import ToolStream

__all__ = ["Client", "ClientOptions"]

T = TypeVar("T")

RECONNECT = Backoff()
PATIENCE = 5.0


class ClientOptions(TypedDict, total=False):
    """Options of all ways to make a client."""

    framing: str
    """How messages are told apart, as the server has it: ``content-length``, which is the default, or ``newline``."""
    host: Host | None
    """What the server's tools see as their host, such as ``bridge.hosts.memory.InMemoryHost()``; by default the
    server's own."""
    on_request: OnRequest | None
    """Answers what else the server asks for: ``answer = on_request(method, params)``, or a coroutine of it."""
    on_notification: OnNotification | None
    """Told what else the server says, in its order: ``on_notification(method, params)``. Must not block."""
    reconnect: Backoff | None
    """Between two attempts to connect again; ``None``: a lost connection stays lost, which is the default of a server
    that was spawned."""
    patience: float
    """Seconds for which it is tried to connect again; 5 by default."""
    timeout: float | None
    """Seconds for requests that give none; by default no limit."""
    limits: ProtocolLimits
    """Of what the server sends."""


class Client:
    """Talks to a server by JSON-RPC 2.0. Made by ``connect``, ``connect_or_start`` or ``spawn``, and used as
    ``async with await Client.connect("unix:/path") as client``.

    It belongs to one event loop; any number of tasks may share it. When its connection is lost, what waits for an
    answer fails with UNAVAILABLE, reason ``CONNECTION_LOST``, and is not repeated, as nobody knows whether it was done;
    what is asked for afterwards connects again.

    All calls raise ``BridgeError``, however the server names its errors.

    Args:
        way: leads to the server.
        options: as ``ClientOptions`` says.
    """

    def __init__(self, way: Way, **options: Unpack[ClientOptions]) -> None:
        self._own_host = options.get("host")
        self._on_told = options.get("on_notification")
        framing = options.get("framing", "content-length")
        check_options(framing, self._on_told)
        hears = Hears(
            framing,
            options.get("limits", DEFAULT_LIMITS),
            self._own_host,
            options.get("on_request"),
            self._told,
        )
        self._line = Line(way, hears, options.get("reconnect", RECONNECT), options.get("patience", PATIENCE))
        self._timeout = check_seconds(options.get("timeout"))
        self._timing = Timing()
        self._sessions: set[Session] = set()
        self._tools: list[ToolInfo] | None = None
        self._caller = ToolCaller(self._linked)

    # -- how it is made ------------------------------------------------------------------------------------------

    @classmethod
    async def connect(cls, address: str, **options: Unpack[ClientOptions]) -> Self:
        """A client of a server that runs.

        Args:
            address: ``unix:/path``, or ``unix:`` for the socket of the user's own.
            options: as ``ClientOptions`` says.

        Raises:
            BridgeError: UNAVAILABLE, reason ``NO_SERVER``, if nobody listens; PERMISSION_DENIED or INVALID_ARGUMENT,
                reason ``ADDRESS``; INVALID_ARGUMENT, reason ``CONFIG``, for an option that cannot be used.
        """
        return await cls._open(SocketWay(address), options)

    @classmethod
    async def connect_or_start(
        cls,
        address: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: str | os.PathLike[str] | None = None,
        start_timeout: float = 30.0,
        **options: Unpack[ClientOptions],
    ) -> Self:
        """A client of a server that is started if it does not run. However many ask at once, one of them starts it.

        Args:
            address: as for ``connect``.
            command: what starts a server there, ``["bridge", "serve", ADAPTER, "--jsonrpc", "unix:/path",
                "--idle-timeout", "300"]``; it outlives the client.
            env: its whole environment; ``None``: that of this process.
            log: the file where what it prints goes; ``None``: ``<path>.log``.
            start_timeout: seconds for it to listen.
            options: as ``ClientOptions`` says.

        Raises:
            BridgeError: UNAVAILABLE, reason ``SERVER_NOT_STARTED``, with its last output, if it does not listen in
                time; FAILED_PRECONDITION, reason ``COMMAND``, if it cannot be run; and as ``connect``.
        """
        return await cls._open(StartingWay(address, command, env=env, log=log, timeout=start_timeout), options)

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        grace: float = 2.0,
        **options: Unpack[ClientOptions],
    ) -> Self:
        """A client of a server that is started as a child process, talks over its stdin and stdout, and ends with it.

        Args:
            command: the program and its arguments, ``["bridge", "stdio", ADAPTER]``.
            env: its whole environment; ``None``: that of this process.
            cwd: its folder; ``None``: that of this process.
            grace: seconds it may take to end after its stdin has; then come SIGTERM and SIGKILL.
            options: as ``ClientOptions`` says; with ``reconnect`` a server that has ended is started again.

        Raises:
            BridgeError: FAILED_PRECONDITION, reason ``COMMAND``, if it cannot be run. If it ends at once, that is told
                to the first request, with its last output.
        """
        options.setdefault("reconnect", None)
        return await cls._open(ChildWay(command, env=env, cwd=cwd, grace=grace), options)

    @classmethod
    async def _open(cls, way: Way, options: ClientOptions) -> Self:
        client = cls(way, **options)
        await client._line.open()
        return client

    # -- life ----------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        state = "closed" if self._line.is_closed else "lost" if self._line.link is None else "open"
        return f"<Client {self._line.way.name} {state}>"

    @property
    def name(self) -> str:
        """The address of the server, or the program that was started."""
        return self._line.way.name

    @property
    def server_output(self) -> str:
        """The end of what a spawned server has written to stderr; empty of other servers."""
        way = self._line.way
        return way.output if isinstance(way, ChildWay) else ""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection; without one, the next request makes it."""
        return self._line.link is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the sessions it opened and its connection, and ends the server it has spawned; requests that run
        fail. Repeating it is harmless."""
        try:
            await asyncio.gather(*(session.aclose() for session in self._sessions))
        finally:
            await self._line.close()

    # -- requests ------------------------------------------------------------------------------------------------

    async def request(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """Asks for anything and returns the result, a value of JSON.

        If it is cancelled or the time is over the server is told by ``$/cancelRequest``, and an answer that comes
        later is nobody's.

        Args:
            method: what to do.
            params: a dict or a list of JSON's values; ``msgspec.Raw`` or ``bytes``: a JSON text; ``None``: without.
            timeout: seconds for the answer, and for connecting again if that has to be.
        """
        deadline = self._deadline(timeout)
        async with self._linked(deadline) as link:
            result = await link.connection.request(method, params, timeout=time_remaining(deadline))
        return None if result is None else plain(result)

    async def notify(self, method: str, params: Any = None) -> None:
        """Tells something; returns when it is on its way. ``params`` as for ``request``."""
        async with self._linked(self._deadline(None)) as link:
            link.connection.notify(method, params)
            await link.connection.drained()

    # -- tools ---------------------------------------------------------------------------------------------------

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
        """Calls a tool and returns its result. All values of tools are exact, as ``docs/jsonrpc.md`` says.

        Args:
            tool: its name.
            arguments: arguments by name.
            timeout: seconds for the answer, and for connecting again if that has to be.
            session: the session (or its id) whose variables the tool may use.
            metadata: free text for the tool.
            keywords: arguments by name; one called ``timeout``, ``session`` or ``metadata`` goes into ``arguments``.

        Raises:
            BridgeError: the call failed; ``.code`` and ``.reason`` say how.
            TypeError: an argument is given twice.
        """
        merged = merge_arguments(arguments, keywords)
        return await self._caller.call(tool, merged, self._deadline(timeout), _id(session), metadata)

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
            timeout: seconds from now to the last step.
            session: the session (or its id) whose variables the tool may use.
            metadata: free text for the tool.
            on_progress: called with each note of progress.
            keywords: arguments by name, as for ``call``.
        """
        merged = merge_arguments(arguments, keywords)
        chunks = self._caller.stream(tool, merged, self._deadline(timeout), _id(session), metadata)
        return ToolStream(tool, chunks, on_progress)

    async def tools(self, *, refresh: bool = False, timeout: float | None = None) -> list[ToolInfo]:
        """The tools of the server, sorted by name.

        Args:
            refresh: ask again; otherwise the list that was read first is used until the server says that it changed.
            timeout: seconds.
        """
        if refresh or self._tools is None:
            deadline = self._deadline(timeout)
            async with self._linked(deadline) as link:
                answer = await link.connection.request("tools.list", timeout=time_remaining(deadline))
            self._tools = read_tools(Raw(b"null") if answer is None else answer)
        return list(self._tools)

    # -- sessions ------------------------------------------------------------------------------------------------

    def session(
        self, metadata: Mapping[str, str] | None = None, ttl: float | None = None, *, session_id: str | None = None
    ) -> Session:
        """A session, opened by ``async with client.session() as session`` and closed at the end of the block. It is
        kept by the server, or by the client's ``host``.

        Args:
            metadata: free text kept with it.
            ttl: seconds it lives without use or heartbeat (the client sends heartbeats); ``None``: as the host says.
            session_id: of a session that is open already, to use it and leave it open; then without the other two.
        """
        return Session(self, metadata, ttl, session_id)

    async def list_sessions(self, limit: int = 0) -> list[SessionInfo]:
        """The open sessions of this user, newest first.

        Args:
            limit: most sessions to return; 0: as many as the host is willing to list.
        """
        scope = self._scope("")
        return await self._ask_host(lambda host: host.list_sessions(scope, limit), scope)

    async def _ask_host(
        self, operation: Callable[[SessionHost], Awaitable[T]], scope: CallScope, *, idempotent: bool = False
    ) -> T:
        """Asks who keeps the sessions. Nothing is repeated: JSON-RPC tells of no request that it was never begun."""
        if self._own_host is not None:
            return await operation(cast("SessionHost", self._own_host))
        async with self._linked(scope.deadline) as link:
            return await operation(link.sessions)

    async def _ask_now(self, operation: Callable[[SessionHost], Awaitable[T]]) -> T:
        """Asks who keeps the sessions, unless that is not reached."""
        if self._own_host is None and not self.is_connected:
            raise await self._line.lost()
        return await self._ask_host(operation, CallScope())

    def _scope(self, session_id: str, timeout: float | None = None) -> CallScope:
        return CallScope(session_id, self._deadline(timeout), outgoing())

    # -- inside --------------------------------------------------------------------------------------------------

    def _deadline(self, timeout: float | None) -> float | None:
        seconds = self._timeout if timeout is None else check_seconds(timeout)
        if seconds == 0:
            raise deadline_exceeded()
        return None if seconds is None else self._timing.clock() + seconds

    @asynccontextmanager
    async def _linked(self, deadline: float | None) -> AsyncIterator[Link]:
        """A connection to ask by."""
        link = self._line.link
        if link is None:
            try:
                async with asyncio.timeout(time_remaining(deadline)):
                    link = await self._line.get()
            except TimeoutError:
                message = f"{self.name} was not reached in time; is it running?"
                raise BridgeError(Code.DEADLINE_EXCEEDED, message, reason="DEADLINE_EXCEEDED") from None
        try:
            yield link
        except BridgeError as error:
            if error.reason != "CONNECTION_LOST":
                raise
            raise await self._line.lost(link) from error

    def _told(self, method: str, params: Any) -> None:
        if method == "tools.changed":
            self._tools = None
        if self._on_told is not None:
            self._on_told(method, params)


def _id(session: Session | str | None) -> str:
    return session.session_id if isinstance(session, Session) else session or ""
