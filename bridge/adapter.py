"""The adapter: the class a developer writes."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code
from bridge.session import SessionContext
from bridge.tool import Tool, inspect_tool, marked

__all__ = ["FALLBACK", "TOOLS", "WRAPS", "Adapter", "AdapterInfo", "inspect_adapter"]

FALLBACK, TOOLS, WRAPS = "__bridge_fallback__", "__bridge_tools__", "__bridge_wraps__"
"""Attributes of adapters that wrap classes of another kind: ``AdapterInfo.fallback``, tools that are described already,
and the class, by whose name the adapter is found again in other processes."""


class Adapter:
    """Base of all adapters: its methods marked ``@tool`` are the tools.

    An instance is made for every call and lives for that call only, so its attributes are never shared between calls.
    What is expensive to make and safe to share is made once per process in ``lifespan``.
    """

    context: SessionContext
    """The call and its session; set before ``initialize``."""
    resources: Any = None
    """What ``lifespan`` yielded; shared by all calls in the process."""

    def initialize(self) -> Any:
        """Runs before the tool, in every call. May be ``async def``; a plain ``def`` runs where the tool runs: in the
        thread of a plain tool, on the event loop before an async one."""

    def cleanup(self) -> Any:
        """Runs after the tool, exactly once in every call whose ``initialize`` was begun, also after an error, a cancel
        or a deadline. May be ``async def``; a plain ``def`` runs where the tool runs."""

    @classmethod
    def lifespan(cls) -> AbstractAsyncContextManager[Any]:
        """Resources of the process: an async context manager, entered before the first call and left after the last.

        Override it as::

            @classmethod
            @asynccontextmanager
            async def lifespan(cls):
                model = load()
                yield model          # self.resources
                model.close()
        """
        return _no_resources()


@asynccontextmanager
async def _no_resources() -> AsyncIterator[None]:
    yield None


class AdapterInfo(msgspec.Struct, frozen=True):
    """An adapter class, as its definition describes it."""

    cls: type[Adapter]
    name: str
    """``package.module:Class``."""
    tools: dict[str, Tool]
    initialize: str
    """How ``initialize`` is written: ``async``, ``sync``, or ``""`` if it is not overridden."""
    cleanup: str
    """The same for ``cleanup``."""
    blocking_init: bool
    """Whether ``__init__`` is the author's own, and so may block."""
    fallback: Tool | None = None
    """Takes the calls of tools that nobody has."""


@lru_cache(maxsize=128)
def inspect_adapter(cls: type) -> AdapterInfo:
    """Reads an adapter class, once: processes that are forked afterwards have it at hand.

    Raises ``BridgeError`` FAILED_PRECONDITION: ``NOT_AN_ADAPTER``, ``NO_TOOLS``, ``DUPLICATE_TOOL``, ``BAD_SIGNATURE``.
    """
    name = f"{cls.__module__}:{cls.__qualname__}"
    if not (isinstance(cls, type) and issubclass(cls, Adapter)):
        raise _refused("NOT_AN_ADAPTER", f"{name} is not an adapter: derive it from bridge.Adapter")
    tools: dict[str, Tool] = dict(getattr(cls, TOOLS, ()))
    for attribute in sorted(dir(cls)):
        function = inspect.getattr_static(cls, attribute)
        if (options := marked(function)) is None:
            continue
        tool = inspect_tool(function, options, cls.__qualname__)
        if tool.name in tools:
            raise _refused(
                "DUPLICATE_TOOL",
                f"{name} has two tools called {tool.name!r} ({tools[tool.name].function.__name__} and {attribute}): "
                "give one of them another name with @tool(name=...)",
            )
        tools[tool.name] = tool
    fallback = getattr(cls, FALLBACK, None)
    if not tools and fallback is None:
        raise _refused("NO_TOOLS", f"{name} has no tools: mark methods with @tool")
    return AdapterInfo(
        cls=cls,
        name=name,
        tools=tools,
        initialize=_hook(cls, "initialize"),
        cleanup=_hook(cls, "cleanup"),
        blocking_init=cls.__init__ is not Adapter.__init__,
        fallback=fallback,
    )


def _hook(cls: type[Adapter], name: str) -> str:
    function = getattr(cls, name)
    if function is getattr(Adapter, name):
        return ""
    return "async" if inspect.iscoroutinefunction(function) else "sync"


def _refused(reason: str, message: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, message, reason=reason)
