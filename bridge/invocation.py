"""One run of a tool: arguments bound, adapter made, initialised, tool called, cleaned up.

The same code wherever the tool runs; *where* is a ``Place`` given by an executor.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import traceback
from collections.abc import Callable, Iterator
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Protocol, TypeVar

import msgspec

from bridge.adapter import Adapter
from bridge.call import NO_VALUE, Chunk, Emit, ToolCall, as_chunk
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.registry import Entry
from bridge.session import SessionContext
from bridge.tool import Tool

__all__ = ["MAX_COLLECTED", "ErrorPolicy", "Invocation", "Place"]

T = TypeVar("T")

MAX_COLLECTED = 100_000
"""Most values a streaming tool may yield into the list of a unary call."""

log = logging.getLogger("bridge.tool")


class Place(Protocol):
    """Where the blocking parts of an invocation run. Coroutines always run on the event loop."""

    async def call(self, function: Callable[[], T]) -> T:
        """Calls a function and returns its result. If cancelled, returns only when the function has ended."""

    async def pump(self, values: Iterator[Any], emit: Emit) -> None:
        """Takes values from a generator to ``emit``, no faster than ``emit`` allows, and closes the generator."""


class ErrorPolicy(msgspec.Struct, frozen=True):
    """What callers see of a tool's exception."""

    redact: bool = False
    """Hide its message."""
    debug: bool = False
    """Show its traceback."""


class Invocation(msgspec.Struct):
    """One run of one tool."""

    entry: Entry
    call: ToolCall
    context: SessionContext
    errors: ErrorPolicy

    async def run(self, place: Place) -> Any:
        """Runs the tool and returns its result, or ``NO_VALUE`` after the last value of a stream.

        Raises nothing but ``BridgeError`` and, after a cancel, ``CancelledError``: a ``SystemExit`` from a tool must
        not reach the event loop.
        """
        tool = self.entry.tool
        has_begun = False
        try:
            if tool.streaming and not tool.dynamic and not self.call.streaming and not tool.options.collect:
                raise _streams(tool)
            arguments = tool.bind(self.call.arguments) if not tool.dynamic else self._unbound()
            if tool.context_parameter is not None:
                arguments[tool.context_parameter] = self.context
            if tool.reads:
                await self.context.prefetch(tool.reads)
            has_begun = True
            info = self.entry.adapter
            adapter = await place.call(info.cls) if info.blocking_init else info.cls()
            adapter.context = self.context
            adapter.resources = self.entry.resources
            try:
                if info.initialize:
                    await self._hook(place, info.initialize, adapter.initialize)
                if tool.streaming and not tool.dynamic:
                    return await self._stream(place, tool, tool.function(adapter, **arguments))
                if tool.is_async:
                    result = await tool.function(adapter, **arguments)
                else:
                    result = await place.call(functools.partial(tool.function, adapter, **arguments))
                result = await self._streamed(place, tool, result) if tool.dynamic else result
                if self.call.streaming:
                    await self.context.flush()  # nobody expects a note of progress after the result
                return result
            finally:
                if info.cleanup:
                    await self._clean_up(place, info.cleanup, adapter)
        except BridgeError as error:
            if has_begun and (changed := began(error)) is not error:
                raise changed from error
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            raise tool_failure(self.call.tool, error, self.errors) from error

    def _unbound(self) -> dict[str, Any]:
        """What a tool takes that stands for any."""
        return {"tool_name": self.call.tool, "arguments": self.call.arguments}

    async def _streamed(self, place: Place, tool: Tool, result: Any) -> Any:
        """The result of a tool that may turn out to stream."""
        if not isinstance(result, (GeneratorType, AsyncGeneratorType)):
            return result
        if not self.call.streaming and not tool.options.collect:
            raise _streams(msgspec.structs.replace(tool, name=self.call.tool))
        return await self._stream(place, tool, result)

    async def _stream(self, place: Place, tool: Tool, values: Any) -> Any:
        collected: list[Any] | None = None if self.call.streaming else []
        emit = self.call.emit if collected is None else _collector(collected, tool.name)
        if isinstance(values, AsyncGeneratorType):
            try:
                async for value in values:
                    await emit(as_chunk(value))  # fails when nobody listens any more, whatever the generator does
            finally:
                await values.aclose()
        else:
            await place.pump(values, emit)
        if collected is not None:
            return collected
        await self.context.flush()
        return NO_VALUE

    async def _hook(self, place: Place, kind: str, hook: Callable[[], Any]) -> None:
        if kind == "async":
            await hook()
        else:
            await place.call(hook)

    async def _clean_up(self, place: Place, kind: str, adapter: Adapter) -> None:
        """Runs ``cleanup`` to its end even if the call is cancelled meanwhile. Its errors are logged: they must hide
        neither a result nor the tool's own error."""
        cleaning = asyncio.ensure_future(self._hook(place, kind, adapter.cleanup))
        cancelled: asyncio.CancelledError | None = None
        while not cleaning.done():
            try:
                await asyncio.wait((cleaning,))
            except asyncio.CancelledError as error:
                cancelled = error
        failure = None if cleaning.cancelled() else cleaning.exception()
        if failure is not None:
            log.error("cleanup of %s failed", self.entry.adapter.name, exc_info=failure)
        if cancelled is not None:
            raise cancelled


_NEVER_RAN = frozenset({"NOT_CONNECTED", "CIRCUIT_OPEN"})


def began(error: BridgeError) -> BridgeError:
    """An error that came out of a running tool, without what would tell clients that the tool never ran.

    A host that a tool could not reach, or that was too busy, says so of *its* part of the work; a client that took it
    for the whole would run the tool again.
    """
    if error.details.retry_after is None and error.reason not in _NEVER_RAN:
        return error
    reason = "HOST_UNAVAILABLE" if error.reason in _NEVER_RAN else error.reason
    details = msgspec.structs.replace(error.details, retry_after=None)
    return BridgeError(error.code, error.message, reason=reason, details=details)


def _is_cancelled() -> bool:
    """Whether somebody cancelled the call, and the tool did not just raise ``CancelledError`` by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _streams(tool: Tool) -> BridgeError:
    return BridgeError(
        Code.FAILED_PRECONDITION,
        f"tool {tool.name!r} streams: call it by ExecuteStreamingTool (client.stream, `bridge stream`)",
        reason="STREAMING_TOOL",
    )


def _collector(values: list[Any], name: str) -> Emit:
    async def collect(chunk: Chunk) -> None:
        if len(values) >= MAX_COLLECTED:
            raise BridgeError(
                Code.RESOURCE_EXHAUSTED,
                f"tool {name!r} yielded more than {MAX_COLLECTED} values: call it by ExecuteStreamingTool",
                reason="TOO_MANY_VALUES",
            )
        values.append(chunk.value)

    return collect


def tool_failure(tool: str, error: BaseException, policy: ErrorPolicy) -> BridgeError:
    """What a caller sees of an exception of a tool; the log has the rest under the error id."""
    error_id = secrets.token_hex(8)
    log.error("tool %s failed (error id %s)", tool, error_id, exc_info=error, extra={"error_id": error_id})
    reason = type(error).__name__
    if policy.redact:
        message = f"tool {tool!r} failed; the server's log has the details under error id {error_id}"
    elif isinstance(error, SystemExit):
        message = f"tool {tool!r} called sys.exit({error.code!r}): a tool must return or raise"
    else:
        message = f"{reason}: {_text(error)}"
    debug = "".join(traceback.format_exception(error)) if policy.debug else None
    return BridgeError(
        Code.UNKNOWN, message, reason=reason, details=ErrorDetails(metadata={"error_id": error_id}, debug=debug)
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - __str__ is the tool author's code too
        return "(its message cannot be shown)"
