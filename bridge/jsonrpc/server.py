"""A server of anybody's JSON-RPC methods, over stdio or Unix sockets.

    server = Server()

    @server.method("add")
    def add(a: int, b: int) -> int:
        return a + b

    raise SystemExit(server.run("stdio"))

Handlers go the way of all tools: their params are checked by their annotations, their time and number are limited, and
plain ones run in threads. They share nothing but the variables of their session, ``ctx.session``.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

from bridge.dispatcher import CallLimits, Dispatcher
from bridge.errors import BridgeError, Code
from bridge.executors.base import Executor
from bridge.executors.inline import InlineExecutor
from bridge.executors.thread import ThreadExecutor
from bridge.foreground import StopSignals, run_in_foreground
from bridge.host import CallScope
from bridge.hosts.limits import HostLimits
from bridge.hosts.memory import InMemoryHost
from bridge.invocation import ErrorPolicy
from bridge.jsonrpc.clients import Clients
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.conversation import Conversation
from bridge.jsonrpc.handlers import Handler, Handlers
from bridge.jsonrpc.stdio import Stdio, serve_stdio
from bridge.jsonrpc.unix_server import UnixServer, listen_unix
from bridge.jsonrpc.worker_pool import WorkerPool
from bridge.listeners import UnixAddress, parse_address
from bridge.protocols.framing import Framing
from bridge.protocols.framings import FRAMINGS, FramingName
from bridge.protocols.limits import DEFAULT_LIMITS, ProtocolLimits
from bridge.registry import WORKERS
from bridge.tool import ToolOptions

__all__ = ["FramingName", "HandlerOptions", "Server"]

log = logging.getLogger("bridge.jsonrpc")

F = TypeVar("F", bound=Callable[..., Any])

_ALWAYS = 10 * 365 * 86400.0
"""Seconds: a session lives as long as its connection, however long that says nothing."""
_ANSWER_TIME = 2.0
"""Seconds that clients have to take the last answers."""
_UNFINISHED = 5
"""Exit code, as that of ``bridge serve``."""


class HandlerOptions(TypedDict, total=False):
    """What can be said about a handler."""

    timeout: float
    """Seconds it may take; by default the server's. ``math.inf``: as long as it wants."""
    isolation: Literal["inline", "thread", "process", "call"]
    """Where a function runs: ``inline``, on the event loop (the default of ``async def``); ``thread`` (the default of
    ``def``); ``process``, a worker process that can be killed; ``call``, a process of its own for each message. For the
    last two it has to be found by its name, in a module that is not the program itself."""
    max_concurrency: int
    """Most of it at one time; others wait."""


class Server:
    """Serves methods. Handlers can be added and removed at any time; all else is for the event loop it runs in.

    Args:
        session: whose the variables are: each ``connection`` has a session of its own, which ends with it, or all have
            one, the ``server``'s.
        timeout: seconds a handler may take that has no limit of its own.
        grace: seconds that running handlers get when the server stops.
        max_calls: most handlers at one time; more requests are refused.
        threads: most plain handlers at one time; more wait.
        workers: most handlers at one time in processes that are kept, and as many in such that are not; more wait.
        queue_size: how many wait; more are refused.
        worker_grace: seconds a cancelled handler in a process has to end before it is killed.
        limits: what a client may cost.
        drops_cancelled: a request that was cancelled is not answered, as MCP has it, instead of with an error.
        redact_errors: hide the messages of handlers' exceptions from clients.
        debug: show clients the tracebacks of handlers' exceptions.
    """

    def __init__(
        self,
        *,
        session: Literal["connection", "server"] = "connection",
        timeout: float = 300.0,
        grace: float = 10.0,
        max_calls: int = 256,
        threads: int = 16,
        workers: int = 2,
        queue_size: int = 256,
        worker_grace: float = 1.0,
        limits: ProtocolLimits = DEFAULT_LIMITS,
        drops_cancelled: bool = False,
        redact_errors: bool = False,
        debug: bool = False,
    ) -> None:
        self._grace, self._limits, self._drops_cancelled = grace, limits, drops_cancelled
        errors = ErrorPolicy(redact_errors, debug)
        self._handlers = Handlers()
        self._pool = WorkerPool(workers, queue_size, worker_grace, errors)
        self._executors: dict[str, Executor] = {
            "inline": InlineExecutor(),
            "thread": ThreadExecutor(threads, queue_size),
            WORKERS: self._pool,
        }
        self._dispatcher = Dispatcher(
            self._handlers.registry,
            self._executors,
            CallLimits(max_calls=max_calls, default_timeout=timeout, queue_size=queue_size),
            errors=errors,
        )
        self._clients = Clients()
        self._host = InMemoryHost(tools=self._clients, auto_open=True, limits=HostLimits(default_ttl=_ALWAYS))
        self._session_id = secrets.token_hex(16) if session == "server" else ""
        self._numbers = itertools.count(1)
        self._conversations: set[Conversation] = set()
        self._ending: set[asyncio.Task[None]] = set()
        """Of conversations whose client is gone."""
        self._listening = AsyncExitStack()
        self._sockets: list[UnixServer] = []
        self._stdio: asyncio.Task[bool] | None = None
        self._over = asyncio.Event()

    # -- methods -------------------------------------------------------------------------------------------------

    def on(self, method: str, handler: Handler, **options: Unpack[HandlerOptions]) -> None:
        """Lets a method be handled, in the place of what has handled it before.

        Args:
            method: its name.
            handler: a function; ``package.module:function`` or ``path/to/file.py:function``; or the path of a script,
                which is run for each message in a process that has run nothing before.
            options: see ``HandlerOptions``.

        Raises ``BridgeError`` FAILED_PRECONDITION for what cannot be a handler; the message says why.
        """
        self._handlers.add(method, handler, ToolOptions(**options))

    def off(self, method: str) -> None:
        """Lets a method not be handled any more. Raises ``KeyError`` if it is not."""
        self._handlers.remove(method)

    def method(self, name: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]:
        """Makes a function the handler of a method, as ``on`` does."""

        def decorate(function: F) -> F:
            self.on(name, function, **options)
            return function

        return decorate

    def notification(self, name: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]:
        """Makes a function the handler of a notification, as ``on`` does; requests of this name are refused."""

        def decorate(function: F) -> F:
            self._handlers.add(name, function, ToolOptions(**options), is_note=True)
            return function

        return decorate

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(
        self,
        address: str = "stdio",
        *,
        framing: FramingName = "content-length",
        idle_timeout: float | None = None,
    ) -> str:
        """Begins to serve; may be called for several addresses. Returns the address.

        Args:
            address: ``stdio``, which this process then has no other use for, or ``unix:/path``.
            framing: how messages are told apart: by a header, as LSP has it, or one a line, as MCP has it.
            idle_timeout: seconds without any connection to a socket after which ``wait`` returns; ``None``: never.

        Raises ``BridgeError`` for an address that cannot be listened on, a worker that cannot start, stdin or stdout
        that are closed.
        """
        make = self._maker(FRAMINGS[framing])
        if address == "stdio":
            stdio = Stdio.take()
            await self._pool.start(self._handlers.isolations)
            self._stdio = asyncio.create_task(serve_stdio(make, stdio))
            self._stdio.add_done_callback(lambda _: self.request_stop())
            return address
        parsed = parse_address(address)
        if not isinstance(parsed, UnixAddress):
            message = f"{address!r} is no address for JSON-RPC: write stdio or unix:/path"
            raise BridgeError(Code.INVALID_ARGUMENT, message, reason="ADDRESS")
        await self._pool.start(self._handlers.isolations)
        socket = await self._listening.enter_async_context(
            listen_unix(
                parsed.path, make, idle_timeout=idle_timeout, on_idle=self.request_stop, on_lost=self.request_stop
            )
        )
        self._sockets.append(socket)
        return socket.address

    def request_stop(self) -> None:
        """Lets ``wait`` return, and so ``run`` end. Handlers may call it: it does not wait for them."""
        self._over.set()

    async def wait(self) -> None:
        """Returns when the server should stop: stdin has ended, nobody was connected for ``idle_timeout``, or
        ``request_stop`` was called."""
        await self._over.wait()

    async def stop(self, grace: float | None = None) -> bool:
        """Accepts nothing more, lets what runs end, and closes the connections; returns whether all had ended.

        Args:
            grace: seconds for that, after which handlers are cancelled; by default the server's.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + (self._grace if grace is None else grace)
        for socket in self._sockets:
            socket.stop_accepting()
        is_clean = True
        try:
            async with asyncio.timeout_at(end):
                for conversation in tuple(self._conversations):
                    await conversation.finish_notes()
        except TimeoutError:
            is_clean = False
        is_clean &= await self._dispatcher.drain(max(0.0, end - loop.time()))
        await self._close()
        return is_clean

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    def run(
        self,
        address: str = "stdio",
        *,
        framing: FramingName = "content-length",
        idle_timeout: float | None = None,
    ) -> int:
        """Serves until it should stop, as ``wait`` says or by SIGINT or SIGTERM; returns the exit code: 0, or 5 if
        handlers were cut off. Arguments as for ``start``. To be called in the main thread."""

        async def live(stop: StopSignals) -> bool:
            await self.start(address, framing=framing, idle_timeout=idle_timeout)
            reasons = [asyncio.create_task(stop.wait()), asyncio.create_task(self.wait())]
            await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
            for reason in reasons:
                reason.cancel()
            return await self.stop()

        return run_in_foreground(live, self._grace, unfinished=_UNFINISHED)

    def broadcast(self, method: str, params: Any = None) -> None:
        """Tells all clients something."""
        for connection in tuple(self._clients.connections.values()):
            connection.notify(method, params)

    # -- inside --------------------------------------------------------------------------------------------------

    async def _close(self) -> None:
        """Closes everything, whatever still runs."""
        connections = tuple(self._clients.connections.values())
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([connection.lost for connection in connections], timeout=_ANSWER_TIME)
        await self._listening.aclose()
        if self._stdio is not None:
            self._stdio.cancel()
            await asyncio.wait((self._stdio,))
        for ending in self._ending:
            ending.cancel()  # all variables are freed in a moment
        for executor in self._executors.values():
            await executor.aclose()
        await self._host.aclose()
        self.request_stop()

    def _maker(self, framing: type[Framing]) -> Callable[[], Connection]:
        def make() -> Connection:
            number = next(self._numbers)
            conversation = Conversation(
                number,
                self._session_id or secrets.token_hex(16),
                self._handlers,
                self._dispatcher,
                self._host,
                self._closed,
            )
            self._conversations.add(conversation)
            connection = Connection(
                framing(self._limits), conversation, self._limits, drops_cancelled=self._drops_cancelled
            )
            self._clients.connections[number] = connection
            return connection

        return make

    def _closed(self, conversation: Conversation, connection: Connection) -> None:
        self._clients.connections.pop(conversation.number, None)
        task = asyncio.get_running_loop().create_task(self._end(conversation, connection))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, conversation: Conversation, connection: Connection) -> None:
        """Frees the variables of a client that is gone, when no handler of it runs any more."""
        await conversation.finish_notes()
        await asyncio.wait((connection.ended,))
        self._conversations.discard(conversation)
        if not self._session_id:
            try:
                await self._host.close_session(CallScope(conversation.session_id))
            except BridgeError:
                pass  # it had none
