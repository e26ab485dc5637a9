"""Plugins that are classes of any kind, also those written for cjm-plugin-system: one object for the worker, whose
public methods are the tools."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from .convert import Types
from .errors import BridgeError, Code
from .failures import cancelled
from .plugins import Home, Plugin
from .signatures import inspect_tool
from .tools import NAME, Tool, ToolOptions, marked

if TYPE_CHECKING:
    from .context import SessionContext

__all__ = ["LIFECYCLE", "ObjectPlugin"]

LIFECYCLE = frozenset(
    {
        "cancel",
        "check_cancel",
        "cleanup",
        "get_config_options",
        "get_config_schema",
        "get_current_config",
        "initialize",
        "on_disable",
        "on_enable",
        "prefetch",
        "reconfigure",
        "report_progress",
    }
)
"""Methods that the worker calls, or that the object calls of itself: they are no tools."""
_INTERFACE = "cjm_plugin_system"
"""The package whose base classes bring methods along that are not the plugin's own."""


class ObjectPlugin(Plugin):
    """A class that is no adapter.

    Args:
        cls: the class.
        spec: how the manifest names it.

    Raises ``BridgeError`` FAILED_PRECONDITION: ``NO_TOOLS``, ``BAD_SIGNATURE``.
    """

    kind = "object"

    def __init__(self, cls: type, spec: str) -> None:
        super().__init__(cls, spec, _tools(cls))
        self._object: Any = None
        self._context: SessionContext | None = None
        self._cancel: Callable[[], Any] | None = None

    def start(self, home: Home, config: Mapping[str, Any] | None) -> None:
        """Makes the object, and initializes it if it can be and there is a configuration."""
        try:
            self._object = self.cls()
        except BridgeError:
            raise
        except Exception as error:
            message = f"{self.name}() failed: {type(error).__name__}: {error}"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="INIT_FAILED") from error
        self._cancel = self._method("cancel")
        if "execute" in self.tools:
            self._offer("report_progress", self._report_progress)
            self._offer("check_cancel", self._check_cancel)
        if self._method("initialize") is None:
            self.is_initialized = True
        elif config is not None:
            self.initialize(home, config)

    def enter(self, context: SessionContext) -> None:
        """Has the object told of a cancel, and its progress be the call's."""
        self._context = context
        if self._cancel is not None:
            context.cancelled.add_callback(self._cancel)

    def instance(self, context: SessionContext) -> Any:
        """The one there is."""
        self.enter(context)
        return self._object

    def initialize(self, home: Home, config: Mapping[str, Any]) -> None:
        """Calls ``initialize(config)``."""
        self._call(home, "initialize", config)
        self.config = config
        self.is_initialized = True

    def reconfigure(self, home: Home, config: Mapping[str, Any]) -> None:
        """Calls ``reconfigure(old, new)``, or else ``initialize(new)``."""
        if self._method("reconfigure") is None:
            self.initialize(home, config)
        else:
            self._call(home, "reconfigure", self.current_config(home), config)
            self.config = config

    def config_schema(self, home: Home) -> Any:
        """What ``get_config_schema`` returns."""
        return self._call(home, "get_config_schema") or {}

    def current_config(self, home: Home) -> Any:
        """What ``get_current_config`` returns, or else what it was given."""
        if self._method("get_current_config") is None:
            return dict(self.config or {})
        return self._call(home, "get_current_config")

    def prefetch(self, home: Home) -> None:
        """Calls ``prefetch``."""
        self._call(home, "prefetch")

    def enable(self, home: Home) -> None:
        """Calls ``on_enable``."""
        self._call(home, "on_enable")

    def disable(self, home: Home) -> None:
        """Calls ``on_disable``."""
        self._call(home, "on_disable")

    def stop(self, home: Home) -> None:
        """Calls ``cleanup``, once."""
        if self._method("initialize") is not None:
            if not self.is_initialized:
                return
            self.is_initialized = False
        self._call(home, "cleanup")

    def describe(self) -> dict[str, Any]:
        """What it is, also by its own word."""
        own = {key: value for key in ("name", "version") if isinstance(value := getattr(self._object, key, None), str)}
        return {**super().describe(), **own, "lifecycle": sorted(name for name in LIFECYCLE if self._method(name))}

    def _method(self, name: str) -> Any:
        method = getattr(self._object, name, None)
        return method if callable(method) else None

    def _call(self, home: Home, name: str, *arguments: Any) -> Any:
        method = self._method(name)
        if method is None:
            return None
        try:
            inspect.signature(method).bind(*arguments)
        except TypeError:
            arguments = ()  # a plugin that takes no configuration
        except ValueError:
            pass  # a method of native code, which does not say
        return home.settle(method(*arguments))

    # -- what the object may call --------------------------------------------------------------------------------

    def _offer(self, name: str, function: Callable[..., Any]) -> None:
        own = self._method(name)
        try:
            setattr(self._object, name, lambda *args, **kwargs: function(own, *args, **kwargs))
        except AttributeError:
            pass  # an object that has no room for it

    def _report_progress(self, own: Any, progress: float, message: str = "") -> None:
        if own is not None:
            own(progress, message)
        if self._context is not None:
            self._context.progress(float(progress) if 0 <= progress <= 1 else None, str(message))

    def _check_cancel(self, own: Any) -> None:
        if self._context is not None and self._context.cancelled.is_set():
            if own is not None:
                own()  # raises what its callers expect
            raise cancelled()


def _tools(cls: type) -> dict[str, Tool]:
    types = Types(lenient=True)
    found = {name: function for name in dir(cls) if (function := _function(cls, name)) is not None}
    if any(marked(function) is not None for function in found.values()):
        found = {name: function for name, function in found.items() if marked(function) is not None}
    tools = {}
    for function in found.values():
        options = marked(function) or ToolOptions()
        tool = inspect_tool(function, options, cls.__qualname__, types, plain=True)
        if function.__name__ == "execute_stream":  # whatever makes its values
            tool = tool._replace(streaming=True, spec=tool.spec._replace(supports_streaming=True))
        tools[tool.name] = tool
    if not tools:
        message = f"{cls.__qualname__} has no tools: it has no public methods"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="NO_TOOLS")
    return tools


def _function(cls: type, name: str) -> Any:
    """The method of a name, if it can be a tool."""
    if name.startswith("_") or name in LIFECYCLE or not NAME.fullmatch(name):
        return None
    function = inspect.getattr_static(cls, name)
    if not inspect.isfunction(function):
        return None
    owner = next(base for base in cls.__mro__ if name in vars(base))
    if owner.__module__.partition(".")[0] == _INTERFACE and name not in ("execute", "execute_stream"):
        return None
    return function
