"""A host that is watched: a client span and a duration for everything tools ask of it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

import msgspec

from bridge.host import CallScope, Host
from bridge.telemetry.propagation import client_span
from bridge.variables import Declaration, Update, Variable, Write, WriteResult

__all__ = ["ObservedHost"]

_SERVICE = "bridge.v1.HostService/"


class ObservedHost:
    """Passes everything on to another host. Made only where somebody looks at traces or metrics.

    Args:
        host: does the work.
        on_callback: told the method and its seconds.
    """

    def __init__(self, host: Host, on_callback: Callable[[str, float], None] | None = None) -> None:
        self._host = host
        self._on_callback = on_callback

    @contextmanager
    def _watch(self, method: str, scope: CallScope) -> Iterator[CallScope]:
        name = _SERVICE + method
        since = time.monotonic()
        try:
            with client_span(name) as span:
                # The host's spans belong below this one, not below the tool's.
                yield msgspec.structs.replace(scope, headers={**scope.headers, **span.headers(scope.headers)})
        finally:
            if self._on_callback is not None:
                self._on_callback(name, time.monotonic() - since)

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        with self._watch("GetVariables", scope) as scope:
            return await self._host.get_variables(scope, names)

    async def set_variables(
        self, scope: CallScope, writes: Sequence[Write], *, atomic: bool = True
    ) -> dict[str, WriteResult]:
        with self._watch("SetVariables", scope) as scope:
            return await self._host.set_variables(scope, writes, atomic=atomic)

    async def register_variable(self, scope: CallScope, declaration: Declaration) -> Variable:
        with self._watch("RegisterVariable", scope) as scope:
            return await self._host.register_variable(scope, declaration)

    async def list_variables(self, scope: CallScope, pattern: str = "") -> list[Variable]:
        with self._watch("ListVariables", scope) as scope:
            return await self._host.list_variables(scope, pattern)

    async def delete_variable(self, scope: CallScope, name: str, *, expected_version: int | None = None) -> None:
        with self._watch("DeleteVariable", scope) as scope:
            await self._host.delete_variable(scope, name, expected_version=expected_version)

    async def watch_variables(
        self,
        scope: CallScope,
        names: Sequence[str],
        *,
        initial: bool = False,
        resume_after: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Update, None]:
        with self._watch("WatchVariables", scope) as scope:
            updates = self._host.watch_variables(scope, names, initial=initial, resume_after=resume_after)
            async with aclosing(updates):
                async for update in updates:
                    yield update

    async def get_history(self, scope: CallScope, name: str, *, limit: int = 0) -> list[Update]:
        with self._watch("GetVariableHistory", scope) as scope:
            return await self._host.get_history(scope, name, limit=limit)

    async def rollback_variable(
        self, scope: CallScope, name: str, version: int, *, expected_version: int | None = None
    ) -> Variable:
        with self._watch("RollbackVariable", scope) as scope:
            return await self._host.rollback_variable(scope, name, version, expected_version=expected_version)

    async def call_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
        with self._watch("ExecuteHostTool", scope) as scope:
            return await self._host.call_tool(scope, tool, arguments)

    async def stream_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        with self._watch("ExecuteStreamingHostTool", scope) as scope:
            async with aclosing(self._host.stream_tool(scope, tool, arguments)) as values:
                async for value in values:
                    yield value

    async def list_tools(self, scope: CallScope) -> list[Any]:
        """The host's tools; none, of a host that cannot tell."""
        lister = getattr(self._host, "list_tools", None)
        if lister is None:
            return []
        with self._watch("ListHostTools", scope) as scope:
            return list(await lister(scope))

    async def aclose(self) -> None:
        await self._host.aclose()
