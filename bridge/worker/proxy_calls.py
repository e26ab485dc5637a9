"""The calls of a proxy, on one event loop: begun, ended by whoever may, and kept apart from what changes the plugin.

A call and a change never overlap: a change waits for the calls that run, and calls that come meanwhile wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from bridge.call import NO_VALUE, Chunk, Emit, Progress, ToolCall
from bridge.errors import BridgeError, Code
from bridge.tool import Tool
from bridge.worker.proxy_call import CallOptions, Ongoing, cancelled, closed, no_values, stalled, timed_out

__all__ = ["ProxyCalls"]

Run = Callable[[ToolCall], Awaitable[Any]]

_NO_OPTIONS = CallOptions()


class ProxyCalls:
    """Runs calls.

    Args:
        run: runs a call in some worker.
        timeout: seconds a call may take that says nothing else; ``None``: any.
    """

    def __init__(self, run: Run, timeout: float | None) -> None:
        self._run_somewhere, self._timeout = run, timeout
        self.made = 0
        """Calls of tools so far."""
        self._ongoing: set[Ongoing] = set()
        self._named: dict[str, Ongoing] = {}
        self._busy = 0
        """Calls that keep a change waiting."""
        self._idle = asyncio.Event()
        self._open = asyncio.Event()
        """Set but for the time of a change."""
        self._open.set()
        self._changing = asyncio.Lock()
        self._is_closed = False

    # -- calls ---------------------------------------------------------------------------------------------------

    async def call(self, tool: Tool, request: ToolCall, options: CallOptions) -> Any:
        """Runs a call and returns its result."""
        self.made += 1
        return await self.watch(self._run_somewhere, request, options, tool, no_values if options.follows else None)

    async def stream(self, tool: Tool, request: ToolCall, options: CallOptions, emit: Emit) -> None:
        """Runs a call and takes what its tool yields, or its result if it yields nothing, to ``emit``."""
        self.made += 1
        result = await self.watch(self._run_somewhere, request, options, tool, emit)
        if result is not NO_VALUE:
            await emit(Chunk(result))

    async def ask(self, request: ToolCall) -> Any:
        """Runs what is no tool's, in some worker."""
        return await self.watch(self._run_somewhere, request)

    async def watch(
        self,
        run: Run,
        request: ToolCall,
        options: CallOptions = _NO_OPTIONS,
        tool: Tool | None = None,
        emit: Emit | None = None,
        *,
        stall_timeout: float | None = None,
        in_change: bool = False,
    ) -> Any:
        """Runs a call to its end, again if its options and its tool allow that.

        Args:
            run: runs it.
            request: the call; it gets its deadline and its ``emit`` here.
            options: how it is made.
            tool: what it calls, if that is a tool.
            emit: takes what it yields; ``None``: nobody does, nor its notes of progress.
            stall_timeout: seconds without a note of progress after which it is ended.
            in_change: it is part of a change.

        Raises ``BridgeError``.
        """
        if self._is_closed:
            raise closed()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        ongoing = Ongoing(request.tool, task, options.on_progress, task.cancelling())
        if options.call_id:
            self._name(options.call_id, ongoing)
        if emit is not None or stall_timeout is not None:
            request.streaming, request.emit = True, ongoing.relay(emit)
        timeout = self._timeout if options.timeout is None and tool is not None else options.timeout
        if timeout is not None:
            request.deadline = ongoing.limit(timeout, timed_out)
        if stall_timeout is not None:
            ongoing.stall_timeout = stall_timeout
            ongoing.limit(stall_timeout, stalled)
        self._ongoing.add(ongoing)
        try:
            if in_change:
                return await run(request)
            return await self._attempt(run, request, options.retries, ongoing, tool)
        except BaseException as failure:
            if ongoing.error is not None and ongoing.was_alone:
                raise ongoing.error from failure
            raise
        finally:
            ongoing.over()
            self._ongoing.discard(ongoing)
            if options.call_id:
                del self._named[options.call_id]

    async def _attempt(self, run: Run, request: ToolCall, retries: int, ongoing: Ongoing, tool: Tool | None) -> Any:
        while True:
            if not self._open.is_set():
                await self._open.wait()
            self._busy += 1
            try:
                return await run(request)
            except BridgeError as error:
                # Values that were given cannot be taken back, and would come again.
                if retries <= 0 or tool is None or ongoing.has_given or not _may_repeat(tool, error):
                    raise
                pause = error.retry_after or 0.0
            finally:
                self._busy -= 1
                if not self._busy:
                    self._idle.set()
            retries -= 1
            await asyncio.sleep(pause)

    def _name(self, call_id: str, ongoing: Ongoing) -> None:
        if call_id in self._named:
            message = f"a call named {call_id!r} is running: give each its own call_id"
            raise BridgeError(Code.ALREADY_EXISTS, message, reason="CALL_ID_IN_USE")
        self._named[call_id] = ongoing

    # -- what others ask -----------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Calls that have begun and not ended."""
        return len(self._ongoing)

    @property
    def is_waiting(self) -> bool:
        """Whether calls wait for a change."""
        return not self._open.is_set()

    def cancel(self, call_id: str) -> bool:
        """Ends a call, and no other; whether there was one of this name."""
        ongoing = self._named.get(call_id)
        if ongoing is not None:
            ongoing.end(cancelled(call_id))
        return ongoing is not None

    def progress(self, call_id: str) -> Progress | None:
        """The latest note of progress of a call that runs."""
        ongoing = self._named.get(call_id)
        return None if ongoing is None else ongoing.progress

    @asynccontextmanager
    async def change(self) -> AsyncIterator[None]:
        """Waits for the calls that run; others do not begin as long as the block runs."""
        async with self._changing:
            self._open.clear()
            try:
                await self._wait_idle()
                if self._is_closed:
                    raise closed()
                yield
            finally:
                self._open.set()

    async def aclose(self, drain: float, patience: float) -> None:
        """Takes no more calls, gives those that run time to end, and cancels them.

        Args:
            drain: seconds until they are cancelled.
            patience: seconds that they have then.
        """
        self._is_closed = True
        try:
            await self._wait_idle(drain)
        finally:
            for ongoing in tuple(self._ongoing):
                ongoing.end(closed())
            await self._wait_idle(patience)

    async def _wait_idle(self, timeout: float | None = None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._busy:
                    self._idle.clear()
                    await self._idle.wait()


def _may_repeat(tool: Tool, error: BridgeError) -> bool:
    """Whether a call was not begun, or does no harm if it is made twice."""
    return error.retry_after is not None or (tool.options.idempotent and error.reason == "WORKER_DIED")
