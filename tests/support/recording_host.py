"""A host between a session context and the real one: it writes down what it is asked, and holds answers back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from bridge.call import ToolCall
from bridge.host import CallScope
from bridge.hosts.memory import InMemoryHost
from bridge.session import SessionContext
from bridge.variables import Declaration, Update, Variable, Write, WriteResult

__all__ = ["RecordingHost", "context_of", "turns"]

T = TypeVar("T")


class RecordingHost:
    """Passes variables on to a host in memory."""

    def __init__(self) -> None:
        self.host = InMemoryHost()
        self.asked: list[tuple[str, Any]] = []
        """Method and names, in the order they came."""
        self.answered: list[tuple[str, Any]] = []
        """The same in the order they were answered."""
        self.scopes: list[CallScope] = []
        self.failures: dict[str, BaseException] = {}
        """What a method raises, by its name."""
        self.before: Callable[[str], Awaitable[None]] | None = None
        """Awaited, with the name of the method, before the real host is asked."""
        self._held: dict[str, asyncio.Event] = {}

    def hold(self, method: str) -> asyncio.Event:
        """Keeps the next answer of a method back until the event is set; the host has done its work by then."""
        event = self._held[method] = asyncio.Event()
        return event

    def of(self, method: str) -> list[Any]:
        """The names that a method was asked for, one entry for each request."""
        return [names for asked, names in self.asked if asked == method]

    async def _pass(self, scope: CallScope, method: str, names: Any, answer: Callable[[], Awaitable[T]]) -> T:
        self.asked.append((method, names))
        self.scopes.append(scope)
        held = self._held.pop(method, None)
        if self.before is not None:
            await self.before(method)
        if method in self.failures:
            raise self.failures[method]
        result = await answer()
        if held is not None:
            await held.wait()
        self.answered.append((method, names))
        return result

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        return await self._pass(scope, "get", tuple(names), lambda: self.host.get_variables(scope, names))

    async def set_variables(
        self, scope: CallScope, writes: Sequence[Write], *, atomic: bool = True
    ) -> dict[str, WriteResult]:
        names = tuple(write.name for write in writes)
        return await self._pass(scope, "set", names, lambda: self.host.set_variables(scope, writes, atomic=atomic))

    async def register_variable(self, scope: CallScope, declaration: Declaration) -> Variable:
        return await self._pass(
            scope, "register", declaration.name, lambda: self.host.register_variable(scope, declaration)
        )

    async def list_variables(self, scope: CallScope, pattern: str = "") -> list[Variable]:
        return await self._pass(scope, "list", pattern, lambda: self.host.list_variables(scope, pattern))

    async def delete_variable(self, scope: CallScope, name: str, *, expected_version: int | None = None) -> None:
        await self._pass(
            scope, "delete", name, lambda: self.host.delete_variable(scope, name, expected_version=expected_version)
        )

    async def get_history(self, scope: CallScope, name: str, *, limit: int = 0) -> list[Update]:
        return await self._pass(scope, "history", name, lambda: self.host.get_history(scope, name, limit=limit))

    async def rollback_variable(
        self, scope: CallScope, name: str, version: int, *, expected_version: int | None = None
    ) -> Variable:
        return await self._pass(
            scope,
            "rollback",
            name,
            lambda: self.host.rollback_variable(scope, name, version, expected_version=expected_version),
        )

    async def watch_variables(
        self,
        scope: CallScope,
        names: Sequence[str],
        *,
        initial: bool = False,
        resume_after: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Update, None]:
        await self._pass(scope, "watch", tuple(names), _nothing)
        updates = self.host.watch_variables(scope, names, initial=initial, resume_after=resume_after)
        async with aclosing(updates):
            async for update in updates:
                yield update

    async def call_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
        return await self.host.call_tool(scope, tool, arguments)

    def stream_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        return self.host.stream_tool(scope, tool, arguments)

    async def aclose(self) -> None:
        await self.host.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)  # what is about sessions


async def _nothing() -> None:
    return


async def context_of(host: RecordingHost, values: Mapping[str, Any] | None = None, **call: Any) -> SessionContext:
    """The context of a tool that runs in a session with these variables."""
    session = await host.host.open_session(CallScope())
    scope = CallScope(session.session_id)
    for name, value in (values or {}).items():
        await host.host.set_variables(scope, [Write(name=name, value=value)])
    tool_call = ToolCall("tool", {}, host, session_id=session.session_id, **call)
    return SessionContext(tool_call, asyncio.get_running_loop())


async def turns(number: int = 5) -> None:
    """Lets other tasks go on until they wait for something."""
    for _ in range(number):
        await asyncio.sleep(0)
