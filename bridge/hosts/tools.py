"""Tools of a host: a call handed to whoever runs them, and what they push turned into a stream to pull from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from typing import Any, Protocol

from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.errors import BridgeError, Code
from bridge.host import CallScope, Host

__all__ = ["NoTools", "ToolRunner", "run_tool", "stream_tool"]

ROOM = 8
"""Chunks a tool may be ahead of its reader."""


class ToolRunner(Protocol):
    """Runs tools; the dispatcher does."""

    def run(self, call: ToolCall, /) -> Awaitable[Any]:
        """Runs the call and returns its result, ``NO_VALUE`` at the end of a stream; chunks go to ``call.emit``."""


class NoTools:
    """The tools of a host without tools."""

    async def run(self, call: ToolCall) -> Any:
        """Raises NOT_FOUND, reason ``TOOL_NOT_FOUND``."""
        message = f"the host has no tool {call.tool[:128]!r}: it was started without tools of its own"
        raise BridgeError(Code.NOT_FOUND, message, reason="TOOL_NOT_FOUND")


def _call(host: Host, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> ToolCall:
    return ToolCall(
        tool=tool,
        arguments=dict(arguments),
        host=host,
        session_id=scope.session_id,
        headers=scope.headers,
        deadline=scope.deadline,
        principal=scope.principal,
        frontend="host",
    )


async def run_tool(tools: ToolRunner, host: Host, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
    """Runs a tool and returns its result. A cancel reaches the tool, and is answered when it has ended."""
    # In a task of its own: who limits or cancels one of the two calls must not hit the other.
    running = asyncio.ensure_future(tools.run(_call(host, scope, tool, arguments)))
    try:
        await asyncio.wait((running,))
    except asyncio.CancelledError:
        await _end(running)
        raise
    return running.result()


async def stream_tool(
    tools: ToolRunner, host: Host, scope: CallScope, tool: str, arguments: Mapping[str, Any]
) -> AsyncGenerator[Any, None]:
    """Yields what a tool yields, then its result if it has one. Closing the generator cancels the tool, and returns
    when it has ended. Notes of progress are left out."""
    queue: asyncio.Queue[Any] = asyncio.Queue()
    room = asyncio.Semaphore(ROOM)

    async def emit(chunk: Chunk) -> None:
        if chunk.value is not NO_VALUE:
            await room.acquire()
            queue.put_nowait(chunk.value)

    call = _call(host, scope, tool, arguments)
    call.streaming, call.emit = True, emit
    running = asyncio.ensure_future(tools.run(call))
    running.add_done_callback(lambda _: queue.put_nowait(NO_VALUE))
    try:
        while (value := await queue.get()) is not NO_VALUE:
            yield value
            room.release()
        result = running.result()
        if result is not NO_VALUE:
            yield result
    finally:
        await _end(running)


async def _end(running: asyncio.Future[Any]) -> None:
    """Cancels a tool and returns when it has ended."""
    running.cancel()
    # How it ends after it was told to is nobody's concern any more; the exception is taken so that asyncio does not
    # report it as forgotten, also if the wait is cancelled.
    running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    await asyncio.wait((running,))
