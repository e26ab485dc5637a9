"""Answers what is asked of a host over JSON-RPC, with any ``Host``: ``session.*`` of a server, ``host.*`` of a client.

The table of methods with their params is in ``docs/jsonrpc.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from time import monotonic
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code
from bridge.host import CallScope, Host
from bridge.hosts.scopes import changed_by
from bridge.jsonrpc.host_messages import (
    CHUNK,
    UPDATE,
    UpdateNote,
    VariableMessage,
    encode,
    write_chunk,
    write_result,
)
from bridge.jsonrpc.params import Meta, Params, bind
from bridge.jsonrpc.streams import Tell
from bridge.jsonrpc.values import read_params, write_value
from bridge.protocols.messages import Id, Request
from bridge.variables import NO_CONSTRAINTS, Constraints, Declaration, Write, variable_not_found

__all__ = ["HostMethods", "SessionParams", "scope_of", "unknown_method"]


class SessionParams(Params):
    """Params of what is about one session."""

    session_id: str


class _Get(SessionParams):
    name: str


class _GetMany(SessionParams):
    names: list[str]


class _Set(SessionParams):
    name: str
    value: Any
    expected_version: int | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    ttl: float | None = None


class _OneWrite(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    value: Any
    expected_version: int | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    ttl: float | None = None


class _SetMany(SessionParams):
    writes: list[_OneWrite]
    atomic: bool = True


class _Register(SessionParams):
    name: str
    type: str
    value: Any
    constraints: Constraints = NO_CONSTRAINTS
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    ttl: float | None = None


class _List(SessionParams):
    pattern: str = ""


class _Delete(SessionParams):
    name: str
    expected_version: int | None = None


class _History(SessionParams):
    name: str
    limit: int = 0


class _Rollback(SessionParams):
    name: str
    version: int
    expected_version: int | None = None


class _Watch(SessionParams):
    names: list[str]
    initial: bool = False
    resume_after: dict[str, int] = msgspec.field(default_factory=dict)


class _Call(Params):
    name: str
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


def scope_of(session_id: str, meta: Meta) -> CallScope:
    """On whose behalf a host is asked."""
    headers = meta.headers
    deadline = None if meta.timeout is None else monotonic() + meta.timeout
    return CallScope(session_id, deadline, headers, changed_by(headers))


def _scope(params: Params) -> CallScope:
    session_id = params.session_id if isinstance(params, SessionParams) else params.meta.session_id
    return scope_of(session_id, params.meta)


def unknown_method(method: str) -> BridgeError:
    """There is no such method."""
    message = f"there is no method {method[:128]!r} here; docs/jsonrpc.md lists them"
    return BridgeError(Code.NOT_FOUND, message, reason="METHOD_NOT_FOUND")


def _write(one: _Set | _OneWrite) -> Write:
    return Write(
        name=one.name, value=one.value, expected_version=one.expected_version, metadata=one.metadata, ttl=one.ttl
    )


class HostMethods:
    """Methods about variables, and those that run a host's tools.

    Args:
        host: does the work.
        prefix: before the names of the methods and notifications, such as ``session.``.
        with_tools: whether the host's tools can be run, too.
    """

    def __init__(self, host: Host, prefix: str, *, with_tools: bool = False) -> None:
        self._host, self._prefix = host, prefix
        self._methods: dict[str, tuple[type[Params], Callable[[Any, CallScope], Awaitable[Any]]]] = {
            "get": (_Get, self._get),
            "get_many": (_GetMany, self._get_many),
            "set": (_Set, self._set),
            "set_many": (_SetMany, self._set_many),
            "register": (_Register, self._register),
            "variables": (_List, self._variables),
            "delete": (_Delete, self._delete),
            "history": (_History, self._history),
            "rollback": (_Rollback, self._rollback),
        }
        self._streams: dict[str, tuple[type[Params], Callable[[Any, CallScope, Id], AsyncIterator[bytes]], str]] = {
            "watch": (_Watch, self._watch, UPDATE),
        }
        if with_tools:
            self._methods["call"] = (_Call, self._call)
            self._streams["stream"] = (_Call, self._stream, CHUNK)

    @property
    def names(self) -> list[str]:
        """The methods, with the prefix."""
        return [self._prefix + name for name in (*self._methods, *self._streams)]

    def __contains__(self, method: str) -> bool:
        name = method.removeprefix(self._prefix)
        return method.startswith(self._prefix) and (name in self._methods or name in self._streams)

    async def answer(self, request: Request, tell: Tell) -> bytes:
        """The JSON text of the result of a request.

        Args:
            request: asks for one of ``names``.
            tell: sends what comes before the result.

        Raises ``BridgeError``: METHOD_NOT_FOUND, INVALID_ARGUMENT for params, and what the host raises.
        """
        name = request.method.removeprefix(self._prefix)
        if (stream := self._streams.get(name)) is not None:
            return await self._answer_stream(request, *stream, tell)
        if (found := self._methods.get(name)) is None:
            raise unknown_method(request.method)
        kind, method = found
        params = bind(request.method, read_params(request.params), kind)
        result = await method(params, _scope(params))
        return result if type(result) is bytes else encode(result)

    async def _answer_stream(
        self,
        request: Request,
        kind: type[Params],
        method: Callable[[Any, CallScope, Id], AsyncIterator[bytes]],
        note: str,
        tell: Tell,
    ) -> bytes:
        params = bind(request.method, read_params(request.params), kind)
        count = 0
        notes = method(params, _scope(params), request.id)
        async with aclosing(notes):  # type: ignore[type-var]
            async for text in notes:
                await tell(self._prefix + note, text)
                count += 1
        return encode({"chunks": count})

    # -- variables -----------------------------------------------------------------------------------------------

    async def _get(self, params: _Get, scope: CallScope) -> VariableMessage:
        found = await self._host.get_variables(scope, (params.name,))
        if params.name not in found:
            raise variable_not_found(params.name)
        return VariableMessage.of(found[params.name])

    async def _get_many(self, params: _GetMany, scope: CallScope) -> Mapping[str, VariableMessage]:
        found = await self._host.get_variables(scope, params.names)
        return {name: VariableMessage.of(variable) for name, variable in found.items()}

    async def _set(self, params: _Set, scope: CallScope) -> Any:
        result = (await self._host.set_variables(scope, (_write(params),)))[params.name]
        return write_result(result)

    async def _set_many(self, params: _SetMany, scope: CallScope) -> Any:
        writes = [_write(one) for one in params.writes]
        results = await self._host.set_variables(scope, writes, atomic=params.atomic)
        return {name: write_result(result) for name, result in results.items()}

    async def _register(self, params: _Register, scope: CallScope) -> VariableMessage:
        declaration = Declaration(
            name=params.name,
            type=params.type,
            value=params.value,
            constraints=params.constraints,
            metadata=params.metadata,
            ttl=params.ttl,
        )
        return VariableMessage.of(await self._host.register_variable(scope, declaration))

    async def _variables(self, params: _List, scope: CallScope) -> list[VariableMessage]:
        return [VariableMessage.of(found) for found in await self._host.list_variables(scope, params.pattern)]

    async def _delete(self, params: _Delete, scope: CallScope) -> None:
        await self._host.delete_variable(scope, params.name, expected_version=params.expected_version)

    async def _history(self, params: _History, scope: CallScope) -> list[UpdateNote]:
        return [UpdateNote.of(one) for one in await self._host.get_history(scope, params.name, limit=params.limit)]

    async def _rollback(self, params: _Rollback, scope: CallScope) -> VariableMessage:
        expected = params.expected_version
        variable = await self._host.rollback_variable(scope, params.name, params.version, expected_version=expected)
        return VariableMessage.of(variable)

    async def _watch(self, params: _Watch, scope: CallScope, id: Id) -> AsyncIterator[bytes]:
        updates = self._host.watch_variables(
            scope, params.names, initial=params.initial, resume_after=params.resume_after
        )
        async with aclosing(updates):
            async for update in updates:
                yield encode(UpdateNote.of(update, id))

    # -- tools of a host -----------------------------------------------------------------------------------------

    async def _call(self, params: _Call, scope: CallScope) -> bytes:
        return write_value(await self._host.call_tool(scope, params.name, params.arguments))

    async def _stream(self, params: _Call, scope: CallScope, id: Id) -> AsyncIterator[bytes]:
        sequence = 0
        async with aclosing(self._host.stream_tool(scope, params.name, params.arguments)) as values:
            async for value in values:
                yield write_chunk(id, sequence, value)
                sequence += 1
