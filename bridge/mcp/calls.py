"""``tools/call``: an MCP request to ``ToolCall`` and back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias

import mcp_types as types
from mcp.server.context import ServerRequestContext

from bridge.call import NO_VALUE, ToolCall
from bridge.dispatcher import Dispatcher
from bridge.errors import BridgeError
from bridge.host import Host
from bridge.mcp.callers import caller_of
from bridge.mcp.catalog import Catalog
from bridge.mcp.failures import bug, failed, invalid_params
from bridge.mcp.notes import Notes
from bridge.mcp.results import Results
from bridge.mcp.sessions import Sessions
from bridge.telemetry.propagation import TRACE_HEADERS

__all__ = ["Calls", "Context"]

Context: TypeAlias = ServerRequestContext[Any, Any]


class Calls:
    """Runs tools for MCP clients.

    Args:
        dispatcher: runs the calls.
        host: what tools call back to.
        catalog: how results look.
        results: makes them.
        sessions: which session a call is in.
    """

    def __init__(
        self, dispatcher: Dispatcher, host: Host, catalog: Catalog, results: Results, sessions: Sessions
    ) -> None:
        self._dispatcher, self._host = dispatcher, host
        self._catalog, self._results, self._sessions = catalog, results, sessions
        self._running: set[asyncio.Task[Any]] = set()

    async def call(self, ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Answers a request. Raises ``MCPError`` for a tool that is not there, and for a bug of ours."""
        try:
            entry = self._dispatcher.registry[params.name]
        except BridgeError as error:
            raise invalid_params(error) from None
        try:
            return await self._answer(ctx, params, entry.tool.options.metadata)
        except BridgeError as error:
            return failed(error)
        except Exception as error:  # the SDK would show its text to the client
            raise bug(error) from error

    async def _answer(
        self, ctx: Context, params: types.CallToolRequestParams, metadata: Mapping[str, str]
    ) -> types.CallToolResult:
        meta: Mapping[str, Any] = ctx.meta or {}
        caller = caller_of(ctx)
        notes = Notes(params.name, ctx.session.report_progress if "progress_token" in meta else None)
        call = ToolCall(
            tool=params.name,
            arguments=params.arguments or {},
            host=self._host,
            session_id=await self._sessions.session_of(caller, meta),
            headers={name: text for name in TRACE_HEADERS if isinstance(text := meta.get(name), str)},
            streaming=True,
            emit=notes.emit,
            size=caller.size,
            peer=caller.peer,
            principal=caller.principal,
            frontend="mcp",
        )
        value = await self._run(call)
        value = notes.values if value is NO_VALUE else value
        shape = self._catalog.shape(params.name)
        return await self._results.result(params.name, value, shape, metadata, caller.principal)

    async def _run(self, call: ToolCall) -> Any:
        """Runs a call in a task of its own: the SDK cancels what it runs again and again until it has ended, and a tool
        is to die once and in order. Whoever gave up does not wait for that."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call.answer = partial(_fail, answer)
        task = asyncio.create_task(_settle(self._dispatcher, call, answer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await answer
        except asyncio.CancelledError:
            task.cancel()
            raise


async def _settle(dispatcher: Dispatcher, call: ToolCall, answer: asyncio.Future[Any]) -> None:
    try:
        value = await dispatcher.run(call)
    except BaseException as error:
        _fail(answer, error)
        if not isinstance(error, Exception):
            raise
    else:
        if not answer.done():
            answer.set_result(value)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if answer.done():
        return  # the caller has an answer, or has given up
    if isinstance(error, asyncio.CancelledError):
        answer.cancel()
    else:
        answer.set_exception(error)
