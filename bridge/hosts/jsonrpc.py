"""The host at the other end of a JSON-RPC connection: a client that said it is one, or a server that has sessions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from bridge.errors import BridgeError, Code, NoHostError, invalid_argument
from bridge.host import CallScope
from bridge.hosts.scopes import headers_of, session_of, time_left
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.host_messages import (
    CHUNK,
    META,
    UPDATE,
    ChunkNote,
    UpdateNote,
    VariableMessage,
    decode_as,
    read_result,
)
from bridge.jsonrpc.streams import Streams
from bridge.jsonrpc.values import read_value, write_value
from bridge.protocols.messages import Notification
from bridge.variables import (
    Constraints,
    Declaration,
    SessionInfo,
    Update,
    Variable,
    Write,
    WriteResult,
    check_name,
    check_version,
)

__all__ = ["JsonRpcHost"]

T = TypeVar("T")


class JsonRpcHost:
    """Asks over a connection. A ``Host``; what it has beyond that is for whoever opens sessions.

    Args:
        connection: the way; it is not closed.
        prefix: before the names of the methods: ``host.`` where a server asks, ``session.`` where a client does.
    """

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection, self._prefix = connection, prefix
        self._streams = Streams(connection, (prefix + CHUNK, prefix + UPDATE))

    def heard(self, notification: Notification) -> bool:
        """Takes a notification; whether it was meant for this host."""
        return self._streams.heard(notification)

    # -- sessions ------------------------------------------------------------------------------------------------

    async def open_session(
        self,
        scope: CallScope,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
        keep: bool = True,
    ) -> SessionInfo:
        """Opens a session; without ``ttl`` (seconds) it lives as long as the host likes; without ``keep`` not longer
        than the connection."""
        params = {"metadata": dict(metadata or {}), "ttl": ttl, "keep": keep}
        return await self._ask("open", scope, params, SessionInfo)

    async def get_session(self, scope: CallScope) -> SessionInfo:
        """Describes the session."""
        return await self._ask("info", scope, _session(scope), SessionInfo)

    async def heartbeat(self, scope: CallScope) -> float:
        """Keeps the session; when it ends if nothing happens from now on, seconds since the epoch."""
        return (await self._ask("heartbeat", scope, _session(scope), dict[str, float]))["expires_at"]

    async def close_session(self, scope: CallScope) -> None:
        """Ends the session and frees its variables."""
        await self._ask("close", scope, _session(scope), type(None))

    async def list_sessions(self, scope: CallScope, limit: int = 0) -> list[SessionInfo]:
        """The caller's sessions, newest first; at most ``limit`` (0: as many as the host is willing to list)."""
        return await self._ask("list", scope, {"limit": limit}, list[SessionInfo])

    # -- variables -----------------------------------------------------------------------------------------------

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        """Reads variables at one instant; those that do not exist are absent."""
        for name in names:
            check_name(name)
        found = await self._ask(
            "get_many", scope, {**_session(scope), "names": list(names)}, dict[str, VariableMessage]
        )
        return {name: message.read() for name, message in found.items()}

    async def set_variables(
        self, scope: CallScope, writes: Sequence[Write], *, atomic: bool = True
    ) -> dict[str, WriteResult]:
        """Writes variables. Atomic: all or nothing, and the first refusal is raised. Otherwise each name has the new
        version or the error."""
        if len({write.name for write in writes}) < len(writes):
            raise invalid_argument("writes", "a name must not be there twice")
        texts: list[dict[str, Any]] = []
        refused: dict[str, WriteResult] = {}
        for write in writes:
            try:
                check_name(write.name)
                texts.append(_write(write))
            except BridgeError as error:
                if atomic:
                    raise
                refused[write.name] = error
        params = {**_session(scope), "writes": texts, "atomic": atomic}
        found = await self._ask("set_many", scope, params, dict[str, Raw])
        return {name: read_result(text) for name, text in found.items()} | refused

    async def register_variable(self, scope: CallScope, declaration: Declaration) -> Variable:
        """Declares a variable. A name that exists gets the new declaration as its next version."""
        check_name(declaration.name)
        params = {
            **_session(scope),
            "name": declaration.name,
            "type": declaration.type,
            "value": _value(declaration.value, declaration.name),
            "constraints": _constraints(declaration.constraints),
            "metadata": dict(declaration.metadata),
            "ttl": declaration.ttl,
        }
        return (await self._ask("register", scope, params, VariableMessage)).read()

    async def list_variables(self, scope: CallScope, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted; all without a pattern."""
        found = await self._ask("variables", scope, {**_session(scope), "pattern": pattern}, list[VariableMessage])
        return [message.read() for message in found]

    async def delete_variable(self, scope: CallScope, name: str, *, expected_version: int | None = None) -> None:
        """Deletes a variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is none."""
        check_name(name)
        params = {**_session(scope), "name": name, "expected_version": expected_version}
        await self._ask("delete", scope, params, type(None))

    async def get_history(self, scope: CallScope, name: str, *, limit: int = 0) -> list[Update]:
        """The changes of a variable that are still kept, newest first, the current one included; at most ``limit``
        (0: all)."""
        check_name(name)
        params = {**_session(scope), "name": name, "limit": limit}
        return [note.read() for note in await self._ask("history", scope, params, list[UpdateNote])]

    async def rollback_variable(
        self, scope: CallScope, name: str, version: int, *, expected_version: int | None = None
    ) -> Variable:
        """Writes the value of an earlier version again, as a new version; OUT_OF_RANGE, reason ``VERSION_GONE``, if it
        is not kept."""
        check_name(name)
        check_version(version, "target_version")
        params = {**_session(scope), "name": name, "version": version, "expected_version": expected_version}
        return (await self._ask("rollback", scope, params, VariableMessage)).read()

    async def watch_variables(
        self,
        scope: CallScope,
        names: Sequence[str],
        *,
        initial: bool = False,
        resume_after: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Update, None]:
        """Yields ``STARTED``, then the values there are if ``initial``, then every committed change in order; see
        ``bridge.host.Host.watch_variables``. RESOURCE_EXHAUSTED, reason ``STREAM_BEHIND``, if too much was not read."""
        params = {**_session(scope), "names": list(names), "initial": initial, "resume_after": dict(resume_after or {})}
        notes = self._stream("watch", scope, params)
        try:
            async for text in notes:
                yield decode_as(text, UpdateNote).read()
        finally:
            await notes.aclose()
        # A watch has no end of its own.
        raise BridgeError(Code.UNAVAILABLE, "the host ended the watch: resume it", reason="WATCH_ENDED")

    # -- tools ---------------------------------------------------------------------------------------------------

    async def call_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Runs a tool of the host and returns its result."""
        return read_value(await self._ask("call", scope, _call(tool, arguments), Raw))

    async def stream_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Runs a streaming tool of the host; yields what it yields. Closing the generator cancels the tool."""
        notes = self._stream("stream", scope, _call(tool, arguments))
        try:
            async for text in notes:
                yield read_value(decode_as(text, ChunkNote).value)
        finally:
            await notes.aclose()

    async def aclose(self) -> None:
        """Does nothing: the connection is somebody else's."""

    # -- inside --------------------------------------------------------------------------------------------------

    async def _ask(self, method: str, scope: CallScope, params: dict[str, Any], kind: type[T]) -> T:
        params[META] = _meta(scope, params)
        try:
            answer = await self._connection.request(self._prefix + method, params, timeout=time_left(scope))
        except BridgeError as error:
            raise self._explained(error, method) from error
        return decode_as(answer, kind)

    async def _stream(self, method: str, scope: CallScope, params: dict[str, Any]) -> AsyncGenerator[Raw, None]:
        params[META] = _meta(scope, params)
        notes = self._streams.open(self._prefix + method, params, timeout=time_left(scope))
        try:
            async with aclosing(notes):
                async for note in notes:
                    if isinstance(note, Notification) and note.params is not None:
                        yield note.params
        except BridgeError as error:
            raise self._explained(error, method) from error

    def _explained(self, error: BridgeError, method: str) -> BridgeError:
        if error.code is Code.NOT_FOUND and error.reason == "METHOD_NOT_FOUND":
            return NoHostError(f"the other side of the connection is no host: it has no method {self._prefix}{method}")
        return error


def _session(scope: CallScope) -> dict[str, Any]:
    return {"session_id": session_of(scope)}


def _meta(scope: CallScope, params: dict[str, Any]) -> dict[str, Any]:
    remaining = time_left(scope)
    meta: dict[str, Any] = dict(headers_of(scope))
    if remaining is not None:
        meta["timeout"] = remaining
    if scope.session_id and "session_id" not in params:
        meta["session_id"] = scope.session_id
    return meta


def _value(value: Any, path: str) -> Raw:
    try:
        return Raw(write_value(value))
    except BridgeError as error:
        violation = error.violations[0] if error.violations else None
        if violation is None:
            raise
        raise invalid_argument(path + violation.field[1:], violation.description, reason=error.reason) from error


def _write(write: Write) -> dict[str, Any]:
    return {
        "name": write.name,
        "value": _value(write.value, write.name),
        "expected_version": write.expected_version,
        "metadata": dict(write.metadata),
        "ttl": write.ttl,
    }


def _constraints(constraints: Constraints) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(constraints)
    return {name: value for name, value in fields.items() if value not in (None, "", [], ())}


def _call(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: _value(value, f"$.{name}") for name, value in arguments.items()}
    return {"name": tool, "arguments": values}
