"""One run of a tool: arguments bound, object made, initialised, tool called, cleaned up."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Any

from . import frames
from .asking import Asking
from .calls import NO_VALUE, pack_chunk
from .context import SessionContext
from .errors import BridgeError, Code
from .failures import Settings, began, cancelled, tool_failure
from .packing import packed_frame
from .pipe import Pipe
from .plugins import Home, Plugin
from .running import RunningCall
from .tools import Tool

__all__ = ["MAX_COLLECTED", "Invocation"]

MAX_COLLECTED = 100_000
"""Most values a streaming tool may yield into the list of a unary call."""

log = logging.getLogger("bridge.tool")


class Invocation:
    """One run of one tool.

    Args:
        owner: whose tool it is.
        tool: the tool.
        call: the call.
        asking: its way to the host.
        pipe: where its chunks go.
        settings: what callers see of errors, and the limits.
    """

    __slots__ = ("_asking", "_call", "_collected", "_context", "_has_begun", "_owner", "_pipe", "_settings", "_tool")

    def __init__(
        self, owner: Plugin, tool: Tool, call: RunningCall, asking: Asking, pipe: Pipe, settings: Settings
    ) -> None:
        self._owner = owner
        self._tool = tool
        self._call = call
        self._asking = asking
        self._pipe = pipe
        self._settings = settings
        self._context = SessionContext(call, asking)
        self._collected: list[Any] | None = None if call.streaming else []
        self._has_begun = False

    # -- plain tools ---------------------------------------------------------------------------------------------

    def run(self, home: Home) -> Any:
        """Runs a plain tool and returns its result, or ``NO_VALUE`` after the last value of a stream.

        Raises nothing but ``BridgeError``.
        """
        tool = self._tool
        try:
            bound = self._bound()
            if tool.reads:
                self._asking.talk_blocking(self._context.prefetch(tool.reads))
            self._has_begun = True
            owned = self._owner.instance(self._context)
            if not self._owner.has_hooks:
                return self._call_plain(owned, bound, home)
            try:
                home.settle(owned.initialize())
                return self._call_plain(owned, bound, home)
            finally:
                try:
                    home.finish(owned.cleanup())
                except BaseException:  # it must hide neither a result nor the tool's own error
                    log.exception("cleanup of %s failed", self._owner.name)
        except BaseException as error:
            raise self._failure(error) from error

    def _call_plain(self, owned: Any, bound: dict[str, Any], home: Home) -> Any:
        value = self._tool.call(owned, bound)
        if not self._tool.streaming:
            return home.settle(value) if hasattr(value, "__await__") else value
        if hasattr(value, "__aiter__") or hasattr(value, "__await__"):
            return home.settle(self._pump_async(value))  # a plain function that returns an async generator
        return self._pump(value)

    def _pump(self, values: Iterable[Any]) -> Any:
        try:
            for value in values:
                self._give(value)
        finally:
            close = getattr(values, "close", None)
            if close is not None:
                close()
        return self._end()

    def _give(self, value: Any) -> None:
        call = self._call
        if call.failure is not None:
            raise call.failure
        if self._collected is not None:
            self._collect(value)
            return
        if not call.credits.items:
            self._pipe.wait(call.credits, None, call.cancelled)
            if not call.credits.items:
                raise call.failure or cancelled()
        self._send(value)

    # -- async tools ---------------------------------------------------------------------------------------------

    async def run_async(self) -> Any:
        """The same for an async tool. After a cancel it raises CANCELLED, too."""
        tool = self._tool
        try:
            bound = self._bound()
            if tool.reads:
                await self._asking.talk(self._context.prefetch(tool.reads))
            self._has_begun = True
            owned = self._owner.instance(self._context)
            if not self._owner.has_hooks:
                return await self._call_async(owned, bound)
            try:
                await _awaited(owned.initialize())
                return await self._call_async(owned, bound)
            finally:
                await self._clean_up(owned)
        except BaseException as error:
            raise self._failure(error) from error

    async def _call_async(self, owned: Any, bound: dict[str, Any]) -> Any:
        value = self._tool.call(owned, bound)
        return await (self._pump_async(value) if self._tool.streaming else value)

    async def _pump_async(self, values: Any) -> Any:
        values = await values if hasattr(values, "__await__") else values
        if not hasattr(values, "__aiter__"):
            return self._pump(values)
        try:
            async for value in values:
                await self._give_async(value)
        finally:
            if hasattr(values, "aclose"):
                await values.aclose()
        return self._end()

    async def _give_async(self, value: Any) -> None:
        call = self._call
        if call.failure is not None:
            raise call.failure
        if self._collected is not None:
            self._collect(value)
            return
        if not call.credits.items:
            await self._asking.wait(call.credits, None)
        self._send(value)

    async def _clean_up(self, owned: Any) -> None:
        """Runs ``cleanup`` to its end even if the call is cancelled meanwhile."""
        import asyncio

        stopped: asyncio.CancelledError | None = None
        failure: BaseException | None
        try:
            cleaning = asyncio.ensure_future(_awaited(owned.cleanup()))
            while not cleaning.done():
                try:
                    await asyncio.wait((cleaning,))
                except asyncio.CancelledError as error:
                    stopped = error
            failure = None if cleaning.cancelled() else cleaning.exception()
        except Exception as error:  # noqa: BLE001 - of a plain cleanup
            failure = error
        if failure is not None:
            log.error("cleanup of %s failed", self._owner.name, exc_info=failure)
        if stopped is not None:
            raise stopped

    # -- both ----------------------------------------------------------------------------------------------------

    def _bound(self) -> dict[str, Any]:
        tool, call = self._tool, self._call
        if tool.streaming and not call.streaming and not tool.collects:
            raise BridgeError(
                Code.FAILED_PRECONDITION,
                f"tool {tool.name!r} streams: call it by ExecuteStreamingTool (client.stream, `bridge stream`)",
                reason="STREAMING_TOOL",
            )
        bound = tool.bind(call.request.arguments)
        if tool.context_parameter is not None:
            bound[tool.context_parameter] = self._context
        return bound

    def _collect(self, value: Any) -> None:
        assert self._collected is not None  # noqa: S101 - of a unary call
        if len(self._collected) >= MAX_COLLECTED:
            raise BridgeError(
                Code.RESOURCE_EXHAUSTED,
                f"tool {self._tool.name!r} yielded more than {MAX_COLLECTED} values: call it by ExecuteStreamingTool",
                reason="TOO_MANY_VALUES",
            )
        self._collected.append(value)

    def _send(self, value: Any) -> None:
        call = self._call
        call.credits.items.popleft()
        sequence = call.next_sequence()
        data, fd = packed_frame(frames.CHUNK, call.number, self._tool.name, self._settings, pack_chunk, value, sequence)
        call.send(data, fd)
        if fd >= 0:
            os.close(fd)

    def _end(self) -> Any:
        return NO_VALUE if self._collected is None else self._collected

    def _failure(self, error: BaseException) -> BridgeError:
        if self._call.failure is not None:
            return self._call.failure
        if isinstance(error, BridgeError):
            return began(error) if self._has_begun else error
        return tool_failure(self._tool.name, error, self._settings)


async def _awaited(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value
