"""The tools a server offers, by name, and the resources its adapters share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from bridge.adapter import Adapter, AdapterInfo, inspect_adapter
from bridge.errors import BridgeError, Code
from bridge.runtime.hints import suggest
from bridge.tool import ELSEWHERE, IN_PROCESSES, ISOLATIONS, Tool

__all__ = ["PLAIN_PROCESS", "WORKERS", "Entry", "Registry"]


PLAIN_PROCESS = "plain-process"
"""Plain tools in processes, async ones inline."""
WORKERS = "workers"
"""The place of adapters' tools that run in processes."""


class Entry(msgspec.Struct):
    """A tool with the adapter it belongs to."""

    tool: Tool
    adapter: AdapterInfo
    place: str
    """Which executor runs it: an isolation, ``WORKERS``, or a plugin."""
    resources: Any = None
    """What the adapter's ``lifespan`` yielded."""


class Registry:
    """All tools of some adapters.

    Args:
        adapters: adapter classes.
        isolation: where tools run that do not say; empty: plain ones in a thread, async ones inline, which stay there
            for ``thread``, and for ``plain-process``.
        everything_in_processes: tools that would run here run in processes, so that their code can be exchanged.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``DUPLICATE_TOOL``, if two adapters have a tool of one name.
    """

    def __init__(
        self, adapters: Iterable[type] = (), isolation: str = "", *, everything_in_processes: bool = False
    ) -> None:
        self._isolation = isolation
        self._everything_in_processes = everything_in_processes
        self.adapters: list[AdapterInfo] = []
        """Those whose code is in this process."""
        self.revision = 0
        """Another number after each change."""
        self._entries: dict[str, Entry] = {}
        self._fallback: Entry | None = None
        """Takes the calls of tools that are not known."""
        for cls in adapters:
            self._add(inspect_adapter(cls))

    def replace(self, sources: Mapping[str, tuple[str, Iterable[Tool]]]) -> None:
        """Takes tools in place of all that some places had, or changes nothing if it cannot.

        Args:
            sources: by place, which is not in this process (``WORKERS`` or a plugin): whose tools they are, for errors,
                and the tools.

        Raises ``BridgeError`` FAILED_PRECONDITION, reason ``DUPLICATE_TOOL``.
        """
        entries = {name: entry for name, entry in self._entries.items() if entry.place not in sources}
        for place, (owner, tools) in sources.items():
            named = {tool.name: tool for tool in tools}
            adapter = AdapterInfo(cls=Adapter, name=owner, tools=named, initialize="", cleanup="", blocking_init=False)
            for name, tool in named.items():
                if (other := entries.get(name)) is not None:
                    raise _duplicate(other.adapter.name, owner, name)
                entries[name] = Entry(tool, adapter, place)
        self._entries = entries
        self.revision += 1

    def _add(self, adapter: AdapterInfo) -> None:
        for name, tool in adapter.tools.items():
            if (other := self._entries.get(name)) is not None:
                raise _duplicate(other.adapter.name, adapter.name, name)
            self._entries[name] = self._entry(tool, adapter)
        if adapter.fallback is not None:
            if self._fallback is not None:
                raise _duplicate(self._fallback.adapter.name, adapter.name, "*")
            self._fallback = self._entry(adapter.fallback, adapter)
        self.adapters.append(adapter)

    def _entry(self, tool: Tool, adapter: AdapterInfo) -> Entry:
        if tool.options.isolation is None and self._isolation:
            tool = msgspec.structs.replace(tool, isolation=self._isolation_of(tool))
        if self._everything_in_processes and tool.isolation not in ELSEWHERE:
            tool = msgspec.structs.replace(tool, isolation="process")
        return Entry(tool, adapter, WORKERS if tool.isolation in IN_PROCESSES else tool.isolation)

    def _isolation_of(self, tool: Tool) -> str:
        """Of a tool that does not say."""
        if self._isolation == PLAIN_PROCESS:
            return tool.isolation if tool.is_async else "process"
        return "inline" if tool.is_async and self._isolation not in ELSEWHERE else self._isolation

    @property
    def tools(self) -> list[Tool]:
        """All tools, sorted by name."""
        return [self._entries[name].tool for name in sorted(self._entries)]

    @property
    def isolations(self) -> set[str]:
        """How they run."""
        return {tool.isolation for adapter in self.adapters for tool in self._tools_of(adapter)}

    @property
    def places(self) -> set[str]:
        """Where they run."""
        places = {entry.place for entry in self._entries.values()}
        return places if self._fallback is None else places | {self._fallback.place}

    @property
    def owners(self) -> list[str]:
        """Whose they are: the adapters, and then the plugins."""
        names = [adapter.name for adapter in self.adapters]
        others = {entry.adapter.name for entry in self._entries.values() if entry.place != WORKERS}
        return names + sorted(others - set(names))

    def using(self, isolations: Collection[str]) -> list[AdapterInfo]:
        """The adapters that have a tool which runs in one of these ways."""
        return [
            adapter
            for adapter in self.adapters
            if any(tool.isolation in isolations for tool in self._tools_of(adapter))
        ]

    def _tools_of(self, adapter: AdapterInfo) -> list[Tool]:
        """As they are placed."""
        tools = [self._entries[name].tool for name in adapter.tools]
        if self._fallback is not None and self._fallback.adapter is adapter:
            tools.append(self._fallback.tool)
        return tools

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> Entry:
        """The tool of a name. Raises ``BridgeError`` NOT_FOUND, reason ``TOOL_NOT_FOUND``."""
        entry = self.get(name)
        if entry is None:
            raise self._not_found(name)
        return entry

    def get(self, name: str) -> Entry | None:
        """The tool of a name, if there is one."""
        return self._entries.get(name) or self._fallback

    def takes(self, name: str, parameter: str) -> bool:
        """Whether a tool takes, or may take, an argument of a name."""
        if self._fallback is not None:  # whose tools take anything
            return True
        entry = self._entries.get(name)
        return entry is not None and any(parameter == each.name for each in entry.tool.parameters)

    def _not_found(self, name: str) -> BridgeError:
        return BridgeError(
            Code.NOT_FOUND, f"no tool {name[:128]!r}; {suggest(name, self._entries)}", reason="TOOL_NOT_FOUND"
        )

    @asynccontextmanager
    async def open(self, isolations: Collection[str] = ISOLATIONS) -> AsyncIterator[None]:
        """Enters the ``lifespan`` of every adapter, in order; leaves them in reverse.

        Args:
            isolations: adapters none of whose tools runs in one of these ways are left out: what they hold is needed
                in another process.

        Raises ``BridgeError`` FAILED_PRECONDITION, reason ``LIFESPAN_FAILED``, for an exception of an adapter.
        """
        async with AsyncExitStack() as stack:
            for adapter in self.using(isolations):
                try:
                    resources = await stack.enter_async_context(adapter.cls.lifespan())
                except BridgeError:
                    raise
                except Exception as error:  # code of the adapter's author
                    what = f"lifespan of {adapter.name} failed: {type(error).__name__}: {error}"
                    message = f"{what}; --debug shows the traceback"
                    raise BridgeError(Code.FAILED_PRECONDITION, message, reason="LIFESPAN_FAILED") from error
                for name in adapter.tools:
                    self._entries[name].resources = resources
                if self._fallback is not None and self._fallback.adapter is adapter:
                    self._fallback.resources = resources
            yield


def _duplicate(one: str, other: str, name: str) -> BridgeError:
    return BridgeError(
        Code.FAILED_PRECONDITION,
        f"{one} and {other} both have a tool called {name!r}: serve one of them, or give one tool another name with "
        "@tool(name=...)",
        reason="DUPLICATE_TOOL",
    )
