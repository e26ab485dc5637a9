"""The clients of a server, as what handlers can ask for: a request, a notification, a note of progress."""

from __future__ import annotations

from typing import Any

from bridge.call import ToolCall, time_remaining
from bridge.errors import BridgeError, Code
from bridge.hosts.tools import NoTools
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.context import ASK, NOTIFY, PROGRESS
from bridge.protocols.messages import plain

__all__ = ["Clients"]

# A handler that does not catch the client's error passes it on as its own, and then it must not read as if the method
# that the client has called did not exist, had got wrong params, or had been cancelled.
_PASSED_ON = {
    Code.NOT_FOUND: Code.UNIMPLEMENTED,
    Code.INVALID_ARGUMENT: Code.FAILED_PRECONDITION,
    Code.CANCELLED: Code.ABORTED,
}


class Clients:
    """Runs ``ASK``, ``NOTIFY`` and ``PROGRESS``, as a host runs its tools."""

    def __init__(self) -> None:
        self.connections: dict[int, Connection] = {}
        """Those that are open, by number."""

    async def run(self, call: ToolCall) -> Any:
        """Does what a handler has asked for.

        Raises ``BridgeError``: what the client answered; CANCELLED, reason ``CLIENT_GONE``; what ``Connection`` raises;
        NOT_FOUND, reason ``TOOL_NOT_FOUND``, for another tool.
        """
        arguments = call.arguments
        if call.tool not in (ASK, NOTIFY, PROGRESS):
            return await NoTools().run(call)
        connection = self.connections.get(arguments["connection"])
        if connection is None:
            raise BridgeError(Code.CANCELLED, "the client is gone", reason="CLIENT_GONE")
        if call.tool == ASK:
            return await _ask(connection, call)
        if call.tool == NOTIFY:
            connection.notify(arguments["method"], arguments["params"])
        else:
            connection.progress(arguments["token"], arguments["value"])
        return await connection.drained()


async def _ask(connection: Connection, call: ToolCall) -> Any:
    method, params, wanted = call.arguments["method"], call.arguments["params"], call.arguments["timeout"]
    limits = [seconds for seconds in (wanted, time_remaining(call.deadline)) if seconds is not None]
    try:
        answer = await connection.request(method, params, timeout=min(limits, default=None))
    except BridgeError as error:
        code = _PASSED_ON.get(error.code, error.code)
        message = f"the client has not done {method!r}: {error.message}"
        raise BridgeError(code, message, reason=error.reason, details=error.details) from error
    return None if answer is None else plain(answer)
