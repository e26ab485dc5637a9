"""What a stock adapter sees of its session: the methods of Snakepit's ``SessionContext`` over ours."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from bridge.errors import BridgeError, Code
from bridge.session import SessionContext, SyncSessionContext
from bridge.stock.ambient import stub
from bridge.stock.variables import StockVariables
from bridge.telemetry.propagation import CORRELATION

__all__ = ["ElixirTool", "StockContext"]

T = TypeVar("T")

_KEY = "correlation_id"
_OVER = frozenset({Code.CANCELLED, Code.DEADLINE_EXCEEDED})
"""Errors by which the call itself is over: they are for its caller, and the tool cannot do anything about them."""

log = logging.getLogger("bridge.tool")


class ElixirTool(dict[str, Any]):
    """A tool of Elixir: ``name``, ``description`` and ``parameters``; called with its arguments by name, it runs."""

    def __init__(self, context: StockContext, name: str, description: str, parameters: Mapping[str, Any]) -> None:
        super().__init__(name=name, description=description, parameters=dict(parameters))
        self._context = context

    def __call__(self, **arguments: Any) -> Any:
        """Runs it; see ``StockContext.call_elixir_tool``."""
        return self._context._run_tool(self["name"], arguments)

    __hash__ = None


class StockContext(StockVariables):
    """A stock adapter's view of its session. Everything is asked of the host only when it is needed, and blocks.

    Args:
        context: the call's own.
        may_block: whether the code of the adapter can wait for the host at all; not if it runs on the very event loop
            that the answer comes by.
    """

    def __init__(self, context: SessionContext, *, may_block: bool = True) -> None:
        super().__init__()
        self._context, self._may_block = context, may_block
        self._elixir_tools: dict[str, Any] | None = None
        self.session_id = context.session_id
        """The session, or empty."""
        self.request_metadata = dict(context.metadata)
        """Free text from the caller, and ``correlation_id``."""
        self.request_metadata.setdefault(_KEY, context._call.headers.get(CORRELATION, ""))

    @property
    def correlation_id(self) -> str:
        """By which the call is known in Elixir's log; may be empty."""
        return self.request_metadata[_KEY]

    @property
    def stub(self) -> Any:
        """A gRPC stub of Snakepit's listener, for what has no method here. Raises ``RuntimeError`` if there can be
        none."""
        return stub()

    @property
    def elixir_tools(self) -> dict[str, Any]:
        """The tools that Elixir offers, by name; empty if it cannot say."""
        if self._elixir_tools is None:
            self._elixir_tools = self._load_tools()
        return self._elixir_tools

    def call_elixir_tool(self, tool_name: str, **kwargs: Any) -> Any:
        """Runs a tool of Elixir and returns its result.

        Raises:
            ValueError: there is no such tool.
            RuntimeError: it failed, or Elixir cannot be reached.
            BridgeError: the call of this tool is itself cancelled or out of time.
        """
        return self._run_tool(tool_name, kwargs)

    def cleanup(self, force: bool = False) -> None:
        """Does nothing: the session is Elixir's, and other calls are in it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cleanup()

    def __repr__(self) -> str:
        return f"SessionContext(session_id={self.session_id!r})"

    def _run_tool(self, name: str, arguments: Mapping[str, Any]) -> Any:
        try:
            return self._ask(lambda sync: sync.call(name, **arguments))
        except BridgeError as error:
            if error.code in _OVER:
                raise
            if error.reason == "TOOL_NOT_FOUND":
                raise ValueError(f"Elixir tool {name!r} not found: {error.message}") from error
            raise RuntimeError(f"Failed to call Elixir tool: {error.message}") from error

    def _load_tools(self) -> dict[str, Any]:
        try:
            specs = self._ask(lambda sync: sync._run(_list_tools(self._context)))
        except BridgeError as error:
            if error.code in _OVER:
                raise
            log.warning("the tools of Elixir cannot be listed: %s", error.message)
            return {}
        return {
            spec.name: ElixirTool(self, spec.name, spec.description, _parameters(spec.parameters)) for spec in specs
        }

    def _ask(self, question: Callable[[SyncSessionContext], T]) -> T:
        if not self._may_block:
            raise RuntimeError(
                "this asks the host and waits, on the event loop that the answer comes by: let the tool run in a "
                "worker process (--isolation process, the default), or do not mark the call thread_sensitive"
            )
        sync = self._context.sync
        if asyncio._get_running_loop() is None:
            return question(sync)
        # The loop at hand is the adapter's, and it is for the adapter to block it; ours goes on.
        return _elsewhere(lambda: question(sync))


def _elsewhere(function: Callable[[], T]) -> T:
    """Runs a function in a thread that has no event loop, and waits for it."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(function())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the one who waits gets it
            done.set_exception(error)

    # One each: what is asked may lead to a call that asks, too.
    threading.Thread(target=contextvars.copy_context().run, args=(run,), name="bridge-stock-ask", daemon=True).start()
    return done.result()


async def _list_tools(context: SessionContext) -> list[Any]:
    lister = getattr(context._call.host, "list_tools", None)
    return [] if lister is None else list(await lister(context._scope()))


def _parameters(specs: Iterable[Any]) -> dict[str, Any]:
    return {
        spec.name: {"type": spec.type, "description": spec.description, "required": spec.required} for spec in specs
    }
