"""What concerns a plugin as a whole, blocking and awaited.

What changes it waits for the calls that run, and calls that come meanwhile wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from bridge.worker.callers_loop import Place
    from bridge.worker.proxy_core import ProxyCore

__all__ = ["PluginControl"]

T = TypeVar("T")

STALL_TIMEOUT = 60.0
"""Seconds that ``prefetch`` may go on without a note of progress."""


class PluginControl:
    """The life of a plugin that runs."""

    def _running(self) -> tuple[ProxyCore, Place]:
        """The plugin, and where it is asked; raises if it does not run."""
        raise NotImplementedError

    def _run(self, ask: Callable[[ProxyCore], Coroutine[Any, Any, T]]) -> T:
        core, place = self._running()
        place.check()
        return place.run(ask(core))

    async def _await(self, ask: Callable[[ProxyCore], Coroutine[Any, Any, T]]) -> T:
        core, place = self._running()
        return await place.wait(ask(core))

    def initialize(self, config: Mapping[str, Any], *, stall_timeout: float | None = None) -> None:
        """Initialises the plugin with a configuration, which workers that are started later get, too.

        Args:
            config: by the names of ``config_schema()``.
            stall_timeout: seconds that it may go on without a note of progress; by default any time.

        Raises ``BridgeError``: what the plugin raises. Its workers are then ended, and the next ones have the
        configuration of before.
        """
        self._run(lambda core: core.configure("initialize", config, stall_timeout))

    async def initialize_async(self, config: Mapping[str, Any], *, stall_timeout: float | None = None) -> None:
        """See ``initialize``."""
        await self._await(lambda core: core.configure("initialize", config, stall_timeout))

    def reconfigure(self, config: Mapping[str, Any], *, stall_timeout: float | None = None) -> None:
        """As ``initialize``, but the plugin may keep what the new configuration does not touch."""
        self._run(lambda core: core.configure("reconfigure", config, stall_timeout))

    async def reconfigure_async(self, config: Mapping[str, Any], *, stall_timeout: float | None = None) -> None:
        """See ``reconfigure``."""
        await self._await(lambda core: core.configure("reconfigure", config, stall_timeout))

    def prefetch(self, *, stall_timeout: float | None = STALL_TIMEOUT) -> None:
        """Has all workers load what they will need.

        Args:
            stall_timeout: seconds that it may go on without a note of progress, then it is DEADLINE_EXCEEDED, reason
                ``NO_PROGRESS``; ``None``: any time. How long it takes in all does not matter.
        """
        self._run(lambda core: core.ask_all("prefetch", stall_timeout))

    async def prefetch_async(self, *, stall_timeout: float | None = STALL_TIMEOUT) -> None:
        """See ``prefetch``."""
        await self._await(lambda core: core.ask_all("prefetch", stall_timeout))

    def cleanup(self) -> None:
        """Has all workers let go of what they hold; they go on and load it again when they need it."""
        self._run(lambda core: core.ask_all("cleanup", None))

    async def cleanup_async(self) -> None:
        """See ``cleanup``."""
        await self._await(lambda core: core.ask_all("cleanup", None))

    def disable(self) -> None:
        """Tells all workers that no calls will come for some time (``on_disable``)."""
        self._run(lambda core: core.ask_all("disable", None))

    async def disable_async(self) -> None:
        """See ``disable``."""
        await self._await(lambda core: core.ask_all("disable", None))

    def enable(self) -> None:
        """Tells all workers that calls will come again (``on_enable``)."""
        self._run(lambda core: core.ask_all("enable", None))

    async def enable_async(self) -> None:
        """See ``enable``."""
        await self._await(lambda core: core.ask_all("enable", None))

    def restart(self) -> None:
        """Exchanges all processes, and with them the code, for new ones; the configuration stays."""
        self._run(lambda core: core.restart())

    async def restart_async(self) -> None:
        """See ``restart``."""
        await self._await(lambda core: core.restart())

    def config_schema(self) -> dict[str, Any]:
        """JSON Schema of the configuration."""
        schema: dict[str, Any] = self._run(lambda core: core.ask("config_schema"))
        return schema

    async def config_schema_async(self) -> dict[str, Any]:
        """See ``config_schema``."""
        schema: dict[str, Any] = await self._await(lambda core: core.ask("config_schema"))
        return schema

    def current_config(self) -> dict[str, Any]:
        """The configuration, as the plugin says."""
        config: dict[str, Any] = self._run(lambda core: core.ask("current_config"))
        return config

    async def current_config_async(self) -> dict[str, Any]:
        """See ``current_config``."""
        config: dict[str, Any] = await self._await(lambda core: core.ask("current_config"))
        return config

    def describe(self) -> dict[str, Any]:
        """What the plugin says about itself."""
        description: dict[str, Any] = self._run(lambda core: core.ask("describe"))
        return description

    async def describe_async(self) -> dict[str, Any]:
        """See ``describe``."""
        description: dict[str, Any] = await self._await(lambda core: core.ask("describe"))
        return description
