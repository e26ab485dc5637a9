"""A stock adapter as one of ours: an instance for each call, told its session, initialised, run and cleaned up.

All of it happens where the tool runs, in one go, or on the event loop of stock adapters if the adapter is asynchronous;
the event loop of the server, or of the worker, has no part in it. ``register_with_session`` is never called: it would
ask Elixir in every call, for a registration by which nobody can reach the tools.
"""

from __future__ import annotations

from asyncio import _get_running_loop
from collections.abc import AsyncGenerator, Generator
from functools import lru_cache
from inspect import isawaitable
from typing import Any, ClassVar

from bridge.adapter import FALLBACK, TOOLS, WRAPS, Adapter
from bridge.snakepit.carrying import carried
from bridge.stock import loop
from bridge.stock.ambient import note_correlation
from bridge.stock.classes import declared_tools, executes, is_async
from bridge.stock.context import StockContext
from bridge.stock.listing import describe, unlisted
from bridge.stock.streams import END, as_chunk, is_stream, step, step_async
from bridge.tool import NAME

__all__ = ["stock_adapter"]


class _Stock(Adapter):
    """One call of a stock adapter."""

    wrapped: ClassVar[type]
    """Its class."""
    dispatches: ClassVar[bool]
    """It has ``execute_tool``; else tools are its methods, as in the examples of Snakepit's documentation."""

    _instance: Any = None
    _session: StockContext

    def run(self, tool_name: str, arguments: dict[str, Any]) -> Any:
        """Runs a tool of an adapter that has plain code; in the thread of the tool."""
        self._begin(may_block=_get_running_loop() is None)
        if hasattr(self._instance, "initialize"):
            self._settle(self._instance.initialize())
        result = self._settle(self._execute(tool_name, arguments))
        return self._stream(result) if self._is_stream(result) else self._carried(result)

    async def run_async(self, tool_name: str, arguments: dict[str, Any]) -> Any:
        """Runs a tool of an adapter whose tools are coroutines."""
        result = await loop.run(self._run_there(tool_name, arguments))
        return self._stream_async(result) if self._is_stream(result) else result

    async def _run_there(self, tool_name: str, arguments: dict[str, Any]) -> Any:
        self._begin(may_block=True)
        if hasattr(self._instance, "initialize"):
            await _awaited(self._instance.initialize())
        result = await _awaited(self._execute(tool_name, arguments))
        return result if self._is_stream(result) else self._carried(result)

    def _begin(self, *, may_block: bool) -> None:
        session = self._session = StockContext(self.context, may_block=may_block)
        note_correlation(session.correlation_id)
        self._instance = self.wrapped()
        if hasattr(self._instance, "set_session_context"):
            self._instance.set_session_context(session)

    def _execute(self, tool_name: str, arguments: dict[str, Any]) -> Any:
        if self.dispatches:
            return self._instance.execute_tool(tool_name=tool_name, arguments=arguments, context=self._session)
        return getattr(self._instance, tool_name)(**arguments)

    def _settle(self, result: Any) -> Any:
        """What plain code has returned, or what becomes of it if it has to be awaited."""
        return loop.run_blocking(result, self.context.cancelled) if isawaitable(result) else result

    def _carried(self, value: Any) -> Any:
        """A value as JSON can carry it, while all that it may refer to is still there: before ``cleanup``."""
        call = self.context._call
        return carried(value, call.plain, streaming=call.streaming)

    def _is_stream(self, result: Any) -> bool:
        return is_stream(result, wanted=self.context._call.streaming)

    def _stream(self, result: Any) -> Generator[Any, None, None]:
        note_correlation(self._session.correlation_id)  # each piece of plain code has a context of its own
        values = aiter(result) if hasattr(result, "__aiter__") else iter(result)
        next_value = step_async if hasattr(values, "__anext__") else step
        try:
            while (value := self._settle(next_value(values))) is not END:
                yield as_chunk(value, self._carried)
        finally:
            if (closing := _closing(values)) is not None:
                value = closing()
                if isawaitable(value):
                    loop.run_blocking(value)

    async def _stream_async(self, result: Any) -> AsyncGenerator[Any, None]:
        values = aiter(result) if hasattr(result, "__aiter__") else iter(result)
        try:
            while (value := await loop.run(self._next_chunk(values))) is not END:
                yield value
        finally:
            if (closing := _closing(values)) is not None:
                await loop.run(_called(closing))

    async def _next_chunk(self, values: Any) -> Any:
        value = await step_async(values)
        return value if value is END else as_chunk(value, self._carried)


class _PlainCleanup(_Stock):
    def cleanup(self) -> None:
        if self._instance is not None and isawaitable(result := self._instance.cleanup()):
            loop.run_blocking(result)  # to its end, also after a cancel


class _AsyncCleanup(_Stock):
    async def cleanup(self) -> None:
        if self._instance is not None:
            await loop.run(_called(self._instance.cleanup))


def stock_adapter(cls: type) -> type[Adapter]:
    """An adapter that runs a stock one; the same for the same class.

    Tools that the class declares are listed. If it has ``execute_tool``, that gets their calls, and those of all tools
    that nobody has.

    Args:
        cls: a class of which ``is_stock`` is true.
    """
    return _made(cls)


@lru_cache(maxsize=128)
def _made(cls: type) -> type[Adapter]:
    methods = {name: method for name, method in declared_tools(cls).items() if NAME.fullmatch(name)}
    dispatches = executes(cls)
    if dispatches:
        asynchronous = is_async(cls.execute_tool)  # type: ignore[attr-defined]
    else:
        asynchronous = all(map(is_async, methods.values()))
    base: type[_Stock] = _Stock
    if callable(getattr(cls, "cleanup", None)):
        base = _AsyncCleanup if asynchronous else _PlainCleanup
    run = base.run_async if asynchronous else base.run
    members: dict[str, Any] = {
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "wrapped": cls,
        "dispatches": dispatches,
        WRAPS: cls,
        TOOLS: {name: describe(name, method, run, is_async=asynchronous) for name, method in methods.items()},
    }
    if dispatches:
        members[FALLBACK] = unlisted(run, is_async=asynchronous)
    return type(cls.__name__, (base,), members)


async def _awaited(result: Any) -> Any:
    return await result if isawaitable(result) else result


async def _called(function: Any) -> Any:
    return await _awaited(function())


def _closing(values: Any) -> Any:
    """What lets go of what an iterator holds; ``None``: nothing has to."""
    return getattr(values, "aclose", None) or getattr(values, "close", None)
