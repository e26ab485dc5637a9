"""Session variables over the RPCs of Snakepit v0.4.2, for a worker: the part of a ``Host`` that is about variables.

What that wire cannot say is refused, or done in several steps that other writers can come between:

- A write of an unknown name is refused there. So it is made in a second step, and by a stock host in a third.
- A stock host pays no heed to expected versions, so "only if there is none" is a look before. Ours does.
- A time to live, the expected version of a deletion or of a rollback, and resuming a watch are refused.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import NoReturn, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from bridge.errors import BridgeError, Code, ErrorDetails, NoHostError, invalid_argument
from bridge.host import CallScope
from bridge.hosts.glob import Glob
from bridge.hosts.scopes import session_of
from bridge.hosts.snakepit_listener import Listener, said
from bridge.hosts.snakepit_messages import (
    IF_ABSENT,
    MAX_VERSION,
    fill_declaration,
    read_history,
    read_update,
    read_variable,
)
from bridge.hosts.snakepit_types import fill_value, their_type
from bridge.snakepit import messages
from bridge.tool_messages import parse_response
from bridge.variable_types import check_constraints, check_value, infer_type
from bridge.variables import (
    Declaration,
    Update,
    UpdateKind,
    Variable,
    Write,
    WriteResult,
    check_name,
    check_version,
    variable_not_found,
)

__all__ = ["NoVariablesError", "SnakepitVariables"]

M = TypeVar("M", bound=Message)

_MISMATCH = re.compile(r"is at version (\d{1,19}), not (\d{1,19})\b")
"""How our own host says that a compare-and-set has failed."""


class NoVariablesError(NoHostError):
    """The listener keeps no variables, as Snakepit's does since 0.5, or lacks some of the methods."""

    def __init__(self, method: str) -> None:
        super().__init__(
            f"Snakepit's listener has no {method}, and keeps no session variables since 0.5: run `bridge host "
            "--snakepit`, and start the worker with --host and its address"
        )
        self.reason = "NO_VARIABLES"


class SnakepitVariables:
    """Variables that the listener keeps, if it has the RPCs.

    Args:
        listener: is asked.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        """Reads variables; those that do not exist are absent."""
        for name in names:
            check_name(name)
        request = messages.BatchGetVariablesRequest(session_id=session_of(scope), variable_identifiers=names)
        answer = await self._ask("GetVariables", request, messages.BatchGetVariablesResponse, scope)
        return {
            name: read_variable(answer.variables[name]) for name in dict.fromkeys(names) if name in answer.variables
        }

    async def set_variables(
        self, scope: CallScope, writes: Sequence[Write], *, atomic: bool = True
    ) -> dict[str, WriteResult]:
        """Writes variables. Several at once only without expected versions and without atomicity, or of names that are
        all there: see above."""
        if len({write.name for write in writes}) < len(writes):
            raise invalid_argument("writes", "a name must not be there twice")
        for write in writes:
            check_name(write.name)
            _refuse_ttl(write.ttl)
        if atomic and len(writes) > 1:
            return await self._set_atomic(scope, writes)
        results: dict[str, WriteResult] = {}
        for write in writes:
            try:
                results[write.name] = await self._set(scope, write)
            except BridgeError as error:
                if atomic or error.reason in ("NO_VARIABLES", "SESSION_NOT_FOUND", "NO_SESSION"):
                    raise
                results[write.name] = error
        return results

    async def _set(self, scope: CallScope, write: Write) -> int:
        name, expected = write.name, write.expected_version
        if expected == 0:
            found = await self.get_variables(scope, [name])
            if name in found:
                raise _mismatch(name, found[name].version, 0)
            return await self._make(scope, write)
        try:
            return await self._send(scope, write)
        except BridgeError as error:
            if error.reason != "VARIABLE_NOT_FOUND":
                raise
        if expected is not None:
            raise _mismatch(name, 0, expected)
        try:
            return await self._make(scope, write)
        except BridgeError as error:
            if error.reason != "VERSION_MISMATCH":
                raise
        return await self._send(scope, write)  # somebody else has made it meanwhile

    async def _make(self, scope: CallScope, write: Write) -> int:
        """Writes a name that is not there."""
        try:
            return await self._send(scope, write, (IF_ABSENT, "1"))
        except BridgeError as error:
            if error.reason != "VARIABLE_NOT_FOUND":
                raise
        type_ = infer_type(write.value)
        value = check_value(write.name, type_, write.value)
        declaration = Declaration(name=write.name, type=type_, value=value, metadata=write.metadata)
        return (await self.register_variable(scope, declaration)).version

    async def _send(self, scope: CallScope, write: Write, *headers: tuple[str, str]) -> int:
        request = messages.SetVariableRequest(
            session_id=session_of(scope), variable_identifier=write.name, metadata=dict(write.metadata)
        )
        _fill_write(request.value, write)
        if write.expected_version is not None:
            check_version(write.expected_version)
            if write.expected_version > MAX_VERSION:
                raise invalid_argument("expected_version", "this wire carries versions of 32 bits")
            request.expected_version = write.expected_version
        answer = await self._ask("SetVariable", request, messages.SetVariableResponse, scope, headers)
        if not answer.success:
            raise _refusal(write.name, answer.error_message)
        return answer.new_version

    async def _set_atomic(self, scope: CallScope, writes: Sequence[Write]) -> dict[str, WriteResult]:
        if any(write.expected_version is not None or write.metadata != writes[0].metadata for write in writes):
            description = "an atomic batch over Snakepit's wire has one metadata and no expected versions"
            raise invalid_argument("writes", description)
        request = messages.BatchSetVariablesRequest(
            session_id=session_of(scope), atomic=True, metadata=dict(writes[0].metadata)
        )
        for write in writes:
            _fill_write(request.updates[write.name], write)
        answer = await self._ask("SetVariables", request, messages.BatchSetVariablesResponse, scope)
        if not answer.success:
            name, text = next(iter(sorted(answer.errors.items())), (writes[0].name, ""))
            raise _refusal(name, text)
        return {write.name: answer.new_versions[write.name] for write in writes}

    async def register_variable(self, scope: CallScope, declaration: Declaration) -> Variable:
        """Declares a variable; it is read again, for its version."""
        check_name(declaration.name)
        check_constraints(declaration.type, declaration.constraints)
        _refuse_ttl(declaration.ttl)
        request = messages.RegisterVariableRequest(session_id=session_of(scope))
        fill_declaration(request, declaration)
        answer = await self._ask("RegisterVariable", request, messages.RegisterVariableResponse, scope)
        if not answer.success:
            raise _refusal(declaration.name, answer.error_message)
        reading = messages.GetVariableRequest(session_id=request.session_id, variable_identifier=declaration.name)
        found = await self._ask("GetVariable", reading, messages.GetVariableResponse, scope)
        return read_variable(found.variable)

    async def list_variables(self, scope: CallScope, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted; all without a pattern."""
        # A stock host takes a pattern for a regular expression that may match anywhere.
        glob = Glob(pattern)
        request = messages.ListVariablesRequest(session_id=session_of(scope))
        answer = await self._ask("ListVariables", request, messages.ListVariablesResponse, scope)
        found = [read_variable(message) for message in answer.variables if glob.matches(message.name)]
        return sorted(found, key=lambda variable: variable.name)

    async def delete_variable(self, scope: CallScope, name: str, *, expected_version: int | None = None) -> None:
        """Deletes a variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is none."""
        check_name(name)
        if expected_version is not None:
            _cannot("expected_version", "a deletion has no expected version")
        request = messages.DeleteVariableRequest(session_id=session_of(scope), variable_identifier=name)
        answer = await self._ask("DeleteVariable", request, messages.DeleteVariableResponse, scope)
        if not answer.success:
            raise _refusal(name, answer.error_message)

    async def watch_variables(
        self,
        scope: CallScope,
        names: Sequence[str],
        *,
        initial: bool = False,
        resume_after: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Update, None]:
        """Yields ``STARTED``, then the values there are if ``initial``, then every committed change in order."""
        for name in names:
            check_name(name)
        if resume_after:
            _cannot("resume_after", "a watch begins with what is there")
        request = messages.WatchVariablesRequest(
            session_id=session_of(scope), variable_identifiers=names, include_initial_values=initial
        )
        has_started = False
        await self._listener.tell(scope)
        async with aclosing(self._listener.stream("WatchVariables", request, scope)) as stream:
            try:
                async for data in stream:
                    update = read_update(parse_response(messages.VariableUpdate, data))
                    is_start = update.kind is UpdateKind.STARTED
                    if not has_started and not is_start:
                        yield Update(UpdateKind.STARTED, None)
                    if not (has_started and is_start):  # a later one only says that the host is alive
                        yield update
                    has_started = True
            except BridgeError as error:
                raise _in_our_words(error, "WatchVariables") from error
        # A watch has no end of its own.
        raise BridgeError(Code.UNAVAILABLE, "the host ended the watch: begin another one", reason="WATCH_ENDED")

    async def get_history(self, scope: CallScope, name: str, *, limit: int = 0) -> list[Update]:
        """The changes of a variable that are still kept, newest first; at most ``limit`` (0: all)."""
        check_name(name)
        if not 0 <= limit < 2**31:
            raise invalid_argument("limit", "must be 0 (all) or more, and of 32 bits")
        request = messages.GetVariableHistoryRequest(
            session_id=session_of(scope), variable_identifier=name, limit=limit
        )
        answer = await self._ask("GetVariableHistory", request, messages.GetVariableHistoryResponse, scope)
        return [read_history(name, entry) for entry in answer.entries]

    async def rollback_variable(
        self, scope: CallScope, name: str, version: int, *, expected_version: int | None = None
    ) -> Variable:
        """Writes the value of an earlier version again, as a new version."""
        check_name(name)
        check_version(version, "target_version")
        if expected_version is not None or version > MAX_VERSION:
            _cannot("expected_version", "a rollback has no expected version, and versions have 32 bits")
        request = messages.RollbackVariableRequest(
            session_id=session_of(scope), variable_identifier=name, target_version=version
        )
        answer = await self._ask("RollbackVariable", request, messages.RollbackVariableResponse, scope)
        if not answer.success:
            raise _refusal(name, answer.error_message)
        return read_variable(answer.variable)

    async def aclose(self) -> None:
        """Does nothing: the listener is somebody else's."""

    async def _ask(
        self,
        method: str,
        request: Message,
        kind: type[M],
        scope: CallScope,
        headers: Sequence[tuple[str, str]] = (),
    ) -> M:
        async def once() -> M:
            try:
                return await self._listener.ask(method, request, kind, scope, headers)
            except BridgeError as error:
                raise _in_our_words(error, method, getattr(request, "variable_identifier", "")) from error

        return await self._listener.in_session(scope, once)


def _fill_write(into: AnyMessage, write: Write) -> None:
    type_ = infer_type(write.value)
    value = check_value(write.name, type_, write.value)
    fill_value(into, write.name, their_type(type_, value), value)


def _in_our_words(error: BridgeError, method: str, name: str = "") -> BridgeError:
    """The error of a host that has no reasons for programs, but texts that are always the same."""
    if error.code is Code.UNIMPLEMENTED:
        return NoVariablesError(method)
    if error.code is Code.NOT_FOUND and not error.reason:
        if error.message.startswith("Session not found"):
            return BridgeError(error.code, error.message, reason="SESSION_NOT_FOUND")
        if error.message.startswith("Variable not found"):
            return BridgeError(error.code, error.message, reason="VARIABLE_NOT_FOUND")
    if error.code is Code.NOT_FOUND and error.reason == "VARIABLE_NOT_FOUND" and name:
        return variable_not_found(name)
    return error


def _refusal(name: str, text: str) -> BridgeError:
    """What a host says by ``success = false``."""
    if (found := _MISMATCH.search(text)) is not None:
        return _mismatch(name, int(found[1]), int(found[2]))
    return invalid_argument(name, said(text), reason="HOST_REFUSED")


def _mismatch(name: str, version: int, expected: int) -> BridgeError:
    message = f"{name} is at version {version}, not {expected}: read it again, then repeat"
    details = ErrorDetails(metadata={"name": name, "current_version": str(version)})
    return BridgeError(Code.ABORTED, message, reason="VERSION_MISMATCH", details=details)


def _refuse_ttl(ttl: float | None) -> None:
    if ttl is not None:
        _cannot("ttl", "a variable lives as long as its session")


def _cannot(field: str, why: str) -> NoReturn:
    raise invalid_argument(field, f"Snakepit's wire has none: {why}", reason="NOT_ON_THIS_WIRE")
