"""The RPCs of session variables of Snakepit v0.4.2, answered by a host of ours.

A variable is known by its name, and by its id, which is ``var_`` and the name. Versions begin with 1. What stock hosts
leave undone is done: an expected version is compared, watches work, constraints hold, history and rollback are there.
``expected_version`` 0 cannot be told from none and means that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NoReturn

from google.protobuf.message import Message

from bridge.engines.base import Method, ServerCall
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.frontends.answering import scope_of
from bridge.frontends.snakepit_words import in_their_words, their_method, variable_not_found
from bridge.host import CallScope
from bridge.hosts.sessions import SessionHost
from bridge.hosts.snakepit_messages import (
    IF_ABSENT,
    check_fits,
    fill_history,
    fill_update,
    fill_variable,
    id_of,
    name_in,
    read_declaration,
)
from bridge.hosts.snakepit_types import our_type, read_value, type_in_url
from bridge.snakepit import SERVICE, messages
from bridge.tool_messages import parse_request
from bridge.variable_types import check_value
from bridge.variables import NO_CONSTRAINTS, Variable, Write, check_name, check_version

__all__ = ["VariableMethods"]

ATTEMPTS = 50
"""Times a write begins again because somebody else was faster."""


class VariableMethods:
    """Reads and answers what is asked about variables; the host decides.

    Args:
        host: decides and keeps.
        max_message_bytes: most bytes of an answer.
    """

    def __init__(self, host: SessionHost, max_message_bytes: int) -> None:
        self._host = host
        self._max_message_bytes = max_message_bytes

    def methods(self) -> list[Method]:
        """The methods for an engine."""
        handlers: list[tuple[str, Any, Any]] = [
            ("RegisterVariable", messages.RegisterVariableRequest, self._register),
            ("GetVariable", messages.GetVariableRequest, self._get),
            ("GetVariables", messages.BatchGetVariablesRequest, self._get_many),
            ("SetVariable", messages.SetVariableRequest, self._set),
            ("SetVariables", messages.BatchSetVariablesRequest, self._set_many),
            ("ListVariables", messages.ListVariablesRequest, self._list),
            ("DeleteVariable", messages.DeleteVariableRequest, self._delete),
            ("GetVariableHistory", messages.GetVariableHistoryRequest, self._history),
            ("RollbackVariable", messages.RollbackVariableRequest, self._rollback),
            ("AddDependency", messages.AddDependencyRequest, _unimplemented),
            ("StartOptimization", messages.StartOptimizationRequest, _unimplemented),
            ("StopOptimization", messages.StopOptimizationRequest, _unimplemented),
        ]
        watch = Method(SERVICE + "WatchVariables", stream=self._watch)
        return [watch, *(their_method(name, kind, handle, self._max_message_bytes) for name, kind, handle in handlers)]

    # -- identifiers ---------------------------------------------------------------------------------------------

    async def _find(self, scope: CallScope, identifiers: Iterable[str]) -> dict[str, Variable]:
        """Variables by the names or ids asked for; those that do not exist are absent. A name comes before an id."""
        identifiers = list(dict.fromkeys(identifiers))
        found = await self._host.get_variables(scope, list(filter(_is_name, identifiers)))
        names = {one: name for one in identifiers if one not in found and _is_name(name := name_in(one))}
        if names:
            others = await self._host.get_variables(scope, list(names.values()))
            found |= {one: others[name] for one, name in names.items() if name in others}
        return found

    async def _one(self, scope: CallScope, identifier: str) -> Variable:
        found = await self._find(scope, (identifier,))
        if identifier not in found:
            raise variable_not_found(identifier)
        return found[identifier]

    # -- reads ---------------------------------------------------------------------------------------------------

    async def _get(self, call: ServerCall, request: messages.GetVariableRequest) -> Message:
        response = messages.GetVariableResponse()
        variable = await self._one(scope_of(call, request.session_id), request.variable_identifier)
        fill_variable(response.variable, variable)
        return response

    async def _get_many(self, call: ServerCall, request: messages.BatchGetVariablesRequest) -> Message:
        identifiers = request.variable_identifiers
        found = await self._find(scope_of(call, request.session_id), identifiers)
        response = messages.BatchGetVariablesResponse()
        for identifier, variable in found.items():
            fill_variable(response.variables[identifier], variable)
        response.missing_variables.extend(one for one in dict.fromkeys(identifiers) if one not in found)
        return response

    async def _list(self, call: ServerCall, request: messages.ListVariablesRequest) -> Message:
        response = messages.ListVariablesResponse()
        for variable in await self._host.list_variables(scope_of(call, request.session_id), request.pattern):
            message = messages.Variable()
            try:
                fill_variable(message, variable)
            except BridgeError:
                continue  # as stock hosts do: what cannot be carried must not keep back what can
            response.variables.append(message)
        return response

    async def _history(self, call: ServerCall, request: messages.GetVariableHistoryRequest) -> Message:
        scope = scope_of(call, request.session_id)
        name = await self._name(scope, request.variable_identifier)
        response = messages.GetVariableHistoryResponse()
        for update in await self._host.get_history(scope, name, limit=request.limit):
            fill_history(response.entries.add(), update)
        return response

    async def _name(self, scope: CallScope, identifier: str) -> str:
        """The name that is meant, of a variable that may be gone."""
        for name in (identifier, name_in(identifier)):
            if _is_name(name) and await self._has_history(scope, name):
                return name
        raise variable_not_found(identifier)

    async def _has_history(self, scope: CallScope, name: str) -> bool:
        try:
            return bool(await self._host.read_history(scope, name, limit=1))
        except BridgeError as error:
            if error.reason != "VARIABLE_NOT_FOUND":
                raise
            return False

    # -- writes --------------------------------------------------------------------------------------------------

    async def _register(self, call: ServerCall, request: messages.RegisterVariableRequest) -> Message:
        declaration = read_declaration(request)
        await self._host.register_variable(scope_of(call, request.session_id), declaration)
        return messages.RegisterVariableResponse(success=True, variable_id=id_of(declaration.name))

    async def _set(self, call: ServerCall, request: messages.SetVariableRequest) -> Message:
        scope, identifier, expected = scope_of(call, request.session_id), request.variable_identifier, None
        if call.headers.get(IF_ABSENT):
            return await self._make(scope, request)
        if request.expected_version:
            check_version(expected := request.expected_version)
        for _ in range(ATTEMPTS):
            variable = await self._one(scope, identifier)
            if expected not in (None, variable.version):
                text = f"{variable.name} is at version {variable.version}, not {expected}: read it again, then repeat"
                return messages.SetVariableResponse(success=False, error_message=text)
            value = read_value(variable.name, variable.type, request.value, request.binary_value)
            try:
                version = await self._host.set_variable(scope, _write(variable, value, request.metadata))
            except BridgeError as error:
                if error.reason != "VERSION_MISMATCH":
                    raise
            else:
                return messages.SetVariableResponse(success=True, new_version=version)
        raise _contention()

    async def _make(self, scope: CallScope, request: messages.SetVariableRequest) -> Message:
        """Writes a name that is not there, as a variable of the type that its value has."""
        name, packed = request.variable_identifier, request.value
        ours = our_type(type_in_url(packed.type_url) or "json", NO_CONSTRAINTS)
        value = read_value(name, ours, packed, request.binary_value)
        write = Write(name=name, value=value, expected_version=0, metadata=dict(request.metadata))
        try:
            version = await self._host.set_variable(scope, write)
        except BridgeError as error:
            if error.reason != "VERSION_MISMATCH":
                raise
            return messages.SetVariableResponse(success=False, error_message=error.message)
        return messages.SetVariableResponse(success=True, new_version=check_fits(name, version))

    async def _set_many(self, call: ServerCall, request: messages.BatchSetVariablesRequest) -> Message:
        scope = scope_of(call, request.session_id)
        batch = _Batch(request)
        for _ in range(ATTEMPTS):
            writes = batch.writes(await self._find(scope, batch.waiting))
            if batch.is_refused or not writes:
                return batch.response()
            try:
                results = await self._host.set_variables(scope, list(writes.values()), atomic=request.atomic)
            except BridgeError as error:
                if error.reason != "VERSION_MISMATCH":
                    raise
                continue
            for identifier, write in writes.items():
                batch.settle(identifier, results[write.name])
            if not batch.waiting:
                return batch.response()
        raise _contention()

    async def _delete(self, call: ServerCall, request: messages.DeleteVariableRequest) -> Message:
        scope = scope_of(call, request.session_id)
        await self._host.delete_variable(scope, (await self._one(scope, request.variable_identifier)).name)
        return messages.DeleteVariableResponse(success=True)

    async def _rollback(self, call: ServerCall, request: messages.RollbackVariableRequest) -> Message:
        scope = scope_of(call, request.session_id)
        name = await self._name(scope, request.variable_identifier)
        variable = await self._host.rollback_variable(scope, name, request.target_version)
        response = messages.RollbackVariableResponse(success=True)
        fill_variable(response.variable, variable)
        return response

    # -- watches -------------------------------------------------------------------------------------------------

    async def _watch(self, call: ServerCall, data: bytes) -> None:
        request = parse_request(messages.WatchVariablesRequest.FromString, data)
        scope = scope_of(call, request.session_id)
        try:
            names = await self._watched(scope, request.variable_identifiers)
            updates = self._host.watch_variables(scope, names, initial=request.include_initial_values)
            async with aclosing(updates):
                async for update in updates:
                    message = messages.VariableUpdate()
                    fill_update(message, update)
                    await call.write(message.SerializeToString())
        except BridgeError as error:
            raise in_their_words(error, request) from error

    async def _watched(self, scope: CallScope, identifiers: Sequence[str]) -> list[str]:
        """The names that are meant, of variables that may come later."""
        found = await self._find(scope, identifiers)
        return [found[one].name if one in found else one for one in identifiers]


class _Batch:
    """A SetVariables on its way: what waits, what is written, what is refused.

    What cannot be read at all, and a name that is not there, is the error of the whole call.
    """

    def __init__(self, request: messages.BatchSetVariablesRequest) -> None:
        self._request = request
        self._response = messages.BatchSetVariablesResponse()
        self._is_first = True
        self.waiting = sorted(request.updates)
        for identifier in request.binary_updates:
            if identifier not in request.updates:
                raise invalid_argument("binary_updates", "has a name that updates has not")

    @property
    def is_refused(self) -> bool:
        """Whether nothing is to be written, because one thing cannot be."""
        return self._request.atomic and bool(self._response.errors)

    def writes(self, found: Mapping[str, Variable]) -> dict[str, Write]:
        """What to write, of what was found under the identifiers that wait."""
        writes: dict[str, Write] = {}
        names: set[str] = set()
        for identifier in tuple(self.waiting):
            variable = found.get(identifier)
            if variable is None:
                self._miss(identifier)
                continue
            if variable.name in names:
                raise invalid_argument("updates", f"{variable.name} is there twice, by its name and its id")
            names.add(variable.name)
            value = self._read(identifier, variable)
            try:
                check_value(variable.name, variable.type, value, variable.constraints)
                writes[identifier] = _write(variable, value, self._request.metadata)
            except BridgeError as error:
                self.settle(identifier, error)
        self._is_first = False
        return writes

    def _read(self, identifier: str, variable: Variable) -> Any:
        request = self._request
        binary = request.binary_updates.get(identifier, b"")
        return read_value(variable.name, variable.type, request.updates[identifier], binary)

    def _miss(self, identifier: str) -> None:
        error = variable_not_found(identifier)
        if self._is_first:
            raise BridgeError(Code.INVALID_ARGUMENT, error.message, reason=error.reason)
        self.settle(identifier, error)  # deleted since

    def settle(self, identifier: str, result: int | BridgeError) -> None:
        """Notes what became of a write. What somebody else was faster with goes on waiting."""
        if not isinstance(result, BridgeError):
            self._response.new_versions[identifier] = result
        elif result.reason != "VERSION_MISMATCH":
            self._response.errors[identifier] = result.message
        else:
            return
        self.waiting.remove(identifier)

    def response(self) -> Message:
        """The answer."""
        self._response.success = not self._response.errors
        return self._response


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except BridgeError:
        return False
    return True


def _write(variable: Variable, value: Any, metadata: Mapping[str, str]) -> Write:
    """A write of what was read, if nobody comes between; metadata is added to what is there, as stock hosts do."""
    check_fits(variable.name, variable.version + 1)
    merged = {**variable.metadata, **metadata} if metadata else {}
    return Write(name=variable.name, value=value, expected_version=variable.version, metadata=merged)


def _contention() -> BridgeError:
    message = "nothing was written: other writers were faster again and again; try again"
    return BridgeError(Code.ABORTED, message, reason="CONTENTION")


async def _unimplemented(call: ServerCall, request: Message) -> NoReturn:
    message = (
        "dependencies and optimisation of variables were declared by Snakepit v0.4.2 and implemented by nobody: watch "
        "variables, and write them from a tool"
    )
    raise BridgeError(Code.UNIMPLEMENTED, message, reason="UNIMPLEMENTED")
