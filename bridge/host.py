"""The way back: what a tool may ask of the program that owns its session.

Tools never see a ``Host``; they see the session context, which asks it. Implementations are in ``bridge.hosts``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from bridge.errors import NoHostError
from bridge.variables import Declaration, Update, Variable, Write, WriteResult

__all__ = ["CallScope", "Host", "NoHost"]


class CallScope(msgspec.Struct, frozen=True, gc=False):
    """On whose behalf a host is asked."""

    session_id: str = ""
    """The session; empty outside of one."""
    deadline: float | None = None
    """``time.monotonic()`` by which the answer is needed."""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """What travels with a callback: trace context and the path of calls so far."""
    changed_by: str = "client"
    """Who writes: ``client``, ``host`` or ``tool:<name>``."""
    principal: str = ""
    """Who the caller proved to be; a session belongs to the principal that opened it."""


class Host(Protocol):
    """Owns sessions, variables and tools. Every method raises ``BridgeError``.

    A scope without a session is ``NoSessionError``; an unknown one is NOT_FOUND, reason ``SESSION_NOT_FOUND``.
    """

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        """Reads variables at one instant; those that do not exist are absent."""

    async def set_variables(
        self, scope: CallScope, writes: Sequence[Write], *, atomic: bool = True
    ) -> dict[str, WriteResult]:
        """Writes variables. Atomic: all or nothing, and the first refusal is raised. Otherwise each name has the new
        version or the error. An unknown name is registered with the type of its value."""

    async def register_variable(self, scope: CallScope, declaration: Declaration) -> Variable:
        """Declares a variable. A name that exists gets the new declaration as its next version."""

    async def list_variables(self, scope: CallScope, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted; all without a pattern."""

    async def delete_variable(self, scope: CallScope, name: str, *, expected_version: int | None = None) -> None:
        """Deletes a variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is none."""

    def watch_variables(
        self,
        scope: CallScope,
        names: Sequence[str],
        *,
        initial: bool = False,
        resume_after: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Update, None]:
        """Yields ``STARTED``, then the values there are if ``initial``, then every committed change in order, until it
        is closed or fails.

        Args:
            resume_after: by name, the version after which to go on; of these names no initial value is sent.

        Raises besides: OUT_OF_RANGE, reason ``WATCH_BEHIND``, with ``name`` and ``resume_after`` in its metadata, if
        changes that were not sent are not kept any more; NOT_FOUND, reason ``SESSION_CLOSED`` or ``SESSION_EXPIRED``,
        when the session ends.
        """

    async def get_history(self, scope: CallScope, name: str, *, limit: int = 0) -> list[Update]:
        """The changes of a variable that are still kept, newest first, the current one included; at most ``limit``
        (0: all). NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if none is."""

    async def rollback_variable(
        self, scope: CallScope, name: str, version: int, *, expected_version: int | None = None
    ) -> Variable:
        """Writes the value of an earlier version again, as a new version; OUT_OF_RANGE, reason ``VERSION_GONE``, if it
        is not kept."""

    async def call_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Runs a tool of the host and returns its result."""

    def stream_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Runs a streaming tool of the host and yields what it yields; closing the generator cancels the tool."""

    async def aclose(self) -> None:
        """Lets go of connections."""


class NoHost:
    """The host of a way in that has no way back: everything is ``NoHostError``.

    Args:
        message: what to do about it; by default for servers.
    """

    def __init__(self, message: str = "") -> None:
        self._message = message

    def _error(self) -> NoHostError:
        return NoHostError(self._message) if self._message else NoHostError()

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        raise self._error()

    async def set_variables(
        self, scope: CallScope, writes: Sequence[Write], *, atomic: bool = True
    ) -> dict[str, WriteResult]:
        raise self._error()

    async def register_variable(self, scope: CallScope, declaration: Declaration) -> Variable:
        raise self._error()

    async def list_variables(self, scope: CallScope, pattern: str = "") -> list[Variable]:
        raise self._error()

    async def delete_variable(self, scope: CallScope, name: str, *, expected_version: int | None = None) -> None:
        raise self._error()

    async def watch_variables(
        self,
        scope: CallScope,
        names: Sequence[str],
        *,
        initial: bool = False,
        resume_after: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Update, None]:
        nothing: tuple[Update, ...] = ()
        for update in nothing:  # a yield is what makes it a generator
            yield update
        raise self._error()

    async def get_history(self, scope: CallScope, name: str, *, limit: int = 0) -> list[Update]:
        raise self._error()

    async def rollback_variable(
        self, scope: CallScope, name: str, version: int, *, expected_version: int | None = None
    ) -> Variable:
        raise self._error()

    async def call_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
        raise self._error()

    async def stream_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        nothing: tuple[Any, ...] = ()
        for value in nothing:  # a yield is what makes it a generator
            yield value
        raise self._error()

    async def aclose(self) -> None:
        return
