"""What a worker has of its plugin, whichever kind that is: adapters, or classes that know nothing of the bridge."""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Callable, Protocol

from .errors import BridgeError, Code
from .hints import suggest
from .tools import Tool

if TYPE_CHECKING:
    from .context import SessionContext

__all__ = ["Home", "Plugin", "wrong_config"]


class Home(Protocol):
    """Where a plugin lives."""

    def settle(self, value: Any) -> Any:
        """A value; awaited, if it can be, as long as somebody waits for the call."""

    def finish(self, value: Any) -> Any:
        """A value; awaited to its end, if it can be, whoever waits for the call."""

    def hold(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Starts a task that waits until it is told."""


class Plugin:
    """The tools of a class, and its life in one worker.

    Args:
        cls: the class.
        spec: how the manifest names it.
        tools: by name.
    """

    has_hooks = False
    """Whether its objects have an ``initialize`` and a ``cleanup`` for each call."""
    kind = ""

    def __init__(self, cls: type, spec: str, tools: Mapping[str, Tool]) -> None:
        self.cls = cls
        self.spec = spec
        self.tools = tools
        self.needs_loop = any(tool.is_async for tool in tools.values())
        """Whether an event loop is going to run."""
        self.is_initialized = False
        """Whether tools can run."""
        self.config: Mapping[str, Any] | None = None
        """What it was initialized with."""

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.cls.__module__}:{self.cls.__qualname__}"

    def __getitem__(self, name: str) -> Tool:
        """The tool of a name. Raises ``BridgeError`` NOT_FOUND, reason ``TOOL_NOT_FOUND``."""
        tool = self.tools.get(name)
        if tool is None:
            message = f"no tool {name[:128]!r}; {suggest(name, self.tools)}"
            raise BridgeError(Code.NOT_FOUND, message, reason="TOOL_NOT_FOUND")
        return tool

    def get_ready(self, home: Home) -> None:
        """Before a tool runs: begins again, after a ``$cleanup``, with the configuration of before.

        Raises ``BridgeError`` FAILED_PRECONDITION, reason ``NOT_INITIALIZED``, if there was none yet.
        """
        if self.is_initialized:
            return
        if self.config is None:
            message = (
                f"{self.name} is not initialized: give it a configuration first, in its manifest or by $initialize"
            )
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="NOT_INITIALIZED")
        self.initialize(home, self.config)

    def enter(self, context: SessionContext) -> None:
        """A call begins, of a tool or of what the worker is told to do with the plugin."""

    # -- its life ------------------------------------------------------------------------------------------------

    def start(self, home: Home, config: Mapping[str, Any] | None) -> None:
        """Begins, with the configuration of the manifest, if it has one."""
        raise NotImplementedError

    def instance(self, context: SessionContext) -> Any:
        """The object whose method is called."""
        raise NotImplementedError

    def initialize(self, home: Home, config: Mapping[str, Any]) -> None:
        """Begins anew with a configuration."""
        raise NotImplementedError

    def reconfigure(self, home: Home, config: Mapping[str, Any]) -> None:
        """Changes the configuration."""
        self.initialize(home, config)

    def config_schema(self, home: Home) -> Any:
        """JSON Schema of the configuration."""
        return {}

    def current_config(self, home: Home) -> Any:
        """The configuration."""
        return None

    def prefetch(self, home: Home) -> None:
        """Loads what can be loaded before the first call."""

    def enable(self, home: Home) -> None:
        """Calls are going to come again."""

    def disable(self, home: Home) -> None:
        """No calls will come for some time."""

    def stop(self, home: Home) -> None:
        """Lets go of what it holds."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {
            "adapter": self.spec,
            "class": self.name,
            "kind": self.kind,
            "python": ".".join(map(str, sys.version_info[:3])),
            "initialized": self.is_initialized,
            "tools": sorted(self.tools),
        }


Control = Callable[[Plugin, Home, Mapping[str, Any]], Any]


def _config(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    config = arguments.get("config")
    if not isinstance(config, dict) or len(arguments) != 1:
        raise wrong_config("is required, as an object, and nothing else")
    return config


CONTROLS: dict[str, Control] = {
    "$initialize": lambda plugin, home, arguments: plugin.initialize(home, _config(arguments)),
    "$reconfigure": lambda plugin, home, arguments: plugin.reconfigure(home, _config(arguments)),
    "$config_schema": lambda plugin, home, arguments: plugin.config_schema(home),
    "$current_config": lambda plugin, home, arguments: plugin.current_config(home),
    "$prefetch": lambda plugin, home, arguments: plugin.prefetch(home),
    "$cleanup": lambda plugin, home, arguments: plugin.stop(home),
    "$enable": lambda plugin, home, arguments: plugin.enable(home),
    "$disable": lambda plugin, home, arguments: plugin.disable(home),
    "$describe": lambda plugin, home, arguments: plugin.describe(),
}
"""Calls that no tool answers; a tool's name cannot begin with ``$``."""


def wrong_config(description: str, path: str = "") -> BridgeError:
    """A configuration is not what it must be."""
    from .errors import invalid_argument

    return invalid_argument(f"$.config{path}", description)
