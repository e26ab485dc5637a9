"""Plugins that are adapters: an object for each call, and a lifespan for the worker."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from .adapter import Adapter
from .convert import MismatchError, Type, Types
from .errors import BridgeError, Code
from .plugins import Home, Plugin, wrong_config
from .signatures import inspect_tool
from .tools import Tool, marked

if TYPE_CHECKING:
    from .context import SessionContext

__all__ = ["AdapterPlugin"]


class AdapterPlugin(Plugin):
    """A class derived from ``Adapter``.

    Args:
        cls: the class.
        spec: how the manifest names it.

    Raises ``BridgeError`` FAILED_PRECONDITION: ``NO_TOOLS``, ``DUPLICATE_TOOL``, ``BAD_SIGNATURE``.
    """

    kind = "adapter"

    def __init__(self, cls: type[Adapter], spec: str) -> None:
        types = Types()
        super().__init__(cls, spec, _tools(cls, types))
        self.has_hooks = cls.initialize is not Adapter.initialize or cls.cleanup is not Adapter.cleanup
        self._adapter = cls
        self._has_lifespan = cls.lifespan.__func__ is not Adapter.lifespan.__func__  # type: ignore[attr-defined]
        self.needs_loop = self.needs_loop or self._has_lifespan
        self._resources: Any = None
        self._lifespan: _Lifespan | None = None
        self._config_type = _config_type(cls, Types(strict=True))

    def instance(self, context: SessionContext) -> Adapter:
        """A new one."""
        adapter = self._adapter()
        adapter.context = context
        adapter.resources = self._resources
        return adapter

    def start(self, home: Home, config: Mapping[str, Any] | None) -> None:
        """Begins, unless it needs a configuration and has none."""
        if config is not None:
            self.initialize(home, config)
        elif self._config_type is None or self._has_defaults():
            self.initialize(home, {})

    def _has_defaults(self) -> bool:
        assert self._config_type is not None  # noqa: S101 - looked at before
        try:
            self._config_type.convert({})
        except MismatchError:
            return False
        return True

    def initialize(self, home: Home, config: Mapping[str, Any]) -> None:
        """Leaves the lifespan and enters it with another configuration; if that fails, again with the one before."""
        made = self._converted(config)
        before, was_initialized = self._adapter.config, self.is_initialized
        self.stop(home)
        try:
            self._enter(made, home, home.settle)
        except BaseException:
            if was_initialized:
                self._enter(before, home, home.finish)
            raise
        self.config = config

    def _enter(self, config: Any, home: Home, settle: Callable[[Any], Any]) -> None:
        self._adapter.config = config
        if self._has_lifespan:
            lifespan = _Lifespan(self._adapter, home)
            try:
                self._resources = settle(lifespan.enter())
            except (BridgeError, KeyboardInterrupt):
                raise
            except BaseException as error:
                message = f"lifespan of {self.name} failed: {type(error).__name__}: {error}"
                raise BridgeError(Code.FAILED_PRECONDITION, message, reason="LIFESPAN_FAILED") from error
            self._lifespan = lifespan
        self.is_initialized = True

    def _converted(self, config: Mapping[str, Any]) -> Any:
        if self._config_type is None:
            if config:
                raise wrong_config(f"{self.name} takes none: give it a dataclass Config")
            return None
        try:
            return self._config_type.convert(config)
        except MismatchError as error:
            text = error.text.replace("`", "")
            raise wrong_config(text[:1].lower() + text[1:], error.path) from None

    def config_schema(self, home: Home) -> Any:
        """JSON Schema of ``Config``."""
        if self._config_type is None:
            return {}
        definitions: dict[str, Any] = {}
        self._config_type.schema(definitions)
        own = definitions.pop(self._adapter.Config.__name__)  # type: ignore[attr-defined]
        return {**own, "$defs": definitions} if definitions else own

    def current_config(self, home: Home) -> Any:
        """The ``Config``."""
        return self._adapter.config

    def stop(self, home: Home) -> None:
        """Leaves the lifespan."""
        lifespan, self._lifespan = self._lifespan, None
        self.is_initialized = False
        self._resources = None
        if lifespan is not None:
            home.finish(lifespan.leave())


class _Lifespan:
    """The lifespan of an adapter, in a task of its own: what is entered in a task has to be left in it."""

    def __init__(self, cls: type[Adapter], home: Home) -> None:
        self._cls = cls
        self._home = home
        self._entered: Any = None
        self._end: Any = None
        self._task: Any = None

    async def enter(self) -> Any:
        import asyncio

        self._entered = asyncio.get_running_loop().create_future()
        self._end = asyncio.Event()
        self._task = self._home.hold(self._live())
        return await self._entered

    async def leave(self) -> None:
        self._end.set()
        await self._task

    async def _live(self) -> None:
        try:
            async with self._cls.lifespan() as resources:
                if not self._entered.done():
                    self._entered.set_result(resources)
                    await self._end.wait()
        except BaseException as error:
            if self._entered.done():
                raise
            self._entered.set_exception(error)


def _config_type(cls: type, types: Types) -> Type | None:
    config = getattr(cls, "Config", None)
    if config is None:
        return None
    if not hasattr(config, "__dataclass_fields__"):
        message = f"{cls.__qualname__}.Config describes no configuration: make it a dataclass"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="BAD_CONFIG")
    try:
        return types.of(config)
    except Exception as error:
        message = f"{cls.__qualname__}.Config cannot be read: {error}"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="BAD_CONFIG") from error


def _tools(cls: type, types: Types) -> dict[str, Tool]:
    tools: dict[str, Tool] = {}
    for attribute in sorted(dir(cls)):
        function: Any = inspect.getattr_static(cls, attribute)
        options = marked(function)
        if options is None:
            continue
        tool = inspect_tool(function, options, cls.__qualname__, types)
        if tool.name in tools:
            raise BridgeError(
                Code.FAILED_PRECONDITION,
                f"{cls.__qualname__} has two tools called {tool.name!r} ({tools[tool.name].function.__name__} and "
                f"{attribute}): give one of them another name with @tool(name=...)",
                reason="DUPLICATE_TOOL",
            )
        tools[tool.name] = tool
    if not tools:
        message = f"{cls.__qualname__} has no tools: mark methods with @tool"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="NO_TOOLS")
    return tools
