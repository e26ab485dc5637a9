"""Tools that run outside of the server's process: in worker processes, as plugins, on a Ray cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from bridge.config import ServerConfig
from bridge.errors import BridgeError, Code
from bridge.executors.base import Executor
from bridge.executors.generations import Generations
from bridge.executors.process import PoolLimits, ProcessExecutor, Settings, adapter_spec
from bridge.registry import WORKERS, Registry
from bridge.tool import IN_PROCESSES, Tool
from bridge.tool_specs import read_tools
from bridge.worker.recipe import Recipe, adapters_recipe

if TYPE_CHECKING:
    from bridge.executors.ray import RayExecutor
    from bridge.manifest import Limits, Manifest

__all__ = ["Workplaces"]

log = logging.getLogger("bridge.server")

RAY = "ray"

T = TypeVar("T")
OnHealth: TypeAlias = Callable[[bool], None]
Make: TypeAlias = Callable[[OnHealth], ProcessExecutor]


class Workplace(msgspec.Struct, eq=False):
    """Some tools that are exchanged together."""

    place: str
    owner: str
    """Whose tools they are, for people."""
    generations: Generations
    select: Callable[[bytes], list[Tool]]
    """The tools, of what a worker says they are."""
    is_well: bool = True


class Workplaces:
    """The executors of all that runs in other processes.

    Args:
        config: the server's; what a plugin's manifest does not say is taken from it.
        registry: gets the tools of plugins, and after a reload those of adapters.
        plugins: manifests, which say all else about themselves.
        on_wait: told the tool and the seconds it waited for its worker.
        on_change: called when ``is_well`` may have changed.
    """

    def __init__(
        self,
        config: ServerConfig,
        registry: Registry,
        plugins: Sequence[Manifest],
        *,
        on_wait: Callable[[str, float], None] | None = None,
        on_change: Callable[[], None],
    ) -> None:
        self._config, self._registry = config, registry
        self._on_wait, self._on_change = on_wait, on_change
        self._reloading = asyncio.Lock()
        self._places: list[Workplace] = []
        if adapters := [adapter.cls for adapter in registry.using(IN_PROCESSES)]:
            self._places.append(self._of_adapters(adapters))
        for manifest in plugins:
            self._places.append(self._of_plugin(manifest))
        self._ray = self._on_ray() if registry.using({RAY}) else None

    @property
    def executors(self) -> dict[str, Executor]:
        """By place."""
        executors: dict[str, Executor] = {workplace.place: workplace.generations for workplace in self._places}
        return executors if self._ray is None else {**executors, RAY: self._ray}

    def is_well(self, place: str) -> bool:
        """Whether the tools of a place can run: workers are not in quarantine."""
        if self._ray is not None and place == RAY:
            return self._ray.is_well
        return all(workplace.is_well for workplace in self._places if workplace.place == place)

    async def start(self) -> None:
        """Starts the first workers and registers the tools of plugins. Raises ``BridgeError`` if one cannot start."""
        for workplace in self._places:
            tools = await workplace.generations.start()
            if workplace.place != WORKERS:
                self._registry.replace({workplace.place: (workplace.owner, workplace.select(tools))})
        if self._ray is not None:
            await self._ray.start()

    async def reload(self) -> None:
        """Starts workers with the code as it is now, gives them the calls that come, and lets the others end theirs.

        Raises ``BridgeError`` if new workers cannot start, or their tools have names that others have; then all is as
        before.
        """
        async with self._reloading:
            prepared: list[ProcessExecutor] = []
            try:
                for workplace in self._places:  # those before a failure have to be ended
                    prepared.append(await workplace.generations.prepare())  # noqa: PERF401
                self._registry.replace(
                    {
                        workplace.place: (workplace.owner, workplace.select(generation.tools))
                        for workplace, generation in zip(self._places, prepared, strict=True)
                    }
                )
            except BaseException:
                await asyncio.gather(*(generation.aclose() for generation in prepared))
                raise
            for workplace, generation in zip(self._places, prepared, strict=True):
                workplace.generations.adopt(generation)
            if self._ray is not None:
                await self._ray.reload()
        log.info("reloaded; tools: %d", len(self._registry.tools))

    # -- what there is -------------------------------------------------------------------------------------------

    def _of_adapters(self, adapters: Sequence[type]) -> Workplace:
        config = self._config
        specs = [adapter_spec(adapter) for adapter in adapters]
        isolations = self._registry.isolations & IN_PROCESSES
        recipe = adapters_recipe(specs, config.isolation, everything_in_processes=config.reload)

        def make(on_health: OnHealth) -> ProcessExecutor:
            return self._executor(recipe, isolations, on_health)

        def select(data: bytes) -> list[Tool]:
            return [tool for tool in read_tools(data) if tool.isolation in IN_PROCESSES]

        return self._workplace(WORKERS, ", ".join(specs), make, select)

    def _of_plugin(self, manifest: Manifest) -> Workplace:
        from bridge.manifest import manifest_recipe  # most servers have no plugins

        def make(on_health: OnHealth) -> ProcessExecutor:
            nonlocal manifest
            manifest = _as_it_is_now(manifest)
            return self._executor(manifest_recipe(manifest), {manifest.isolation}, on_health, manifest.limits)

        def select(data: bytes) -> list[Tool]:
            return [_limited(tool, manifest.limits.call_timeout) for tool in read_tools(data, manifest.isolation)]

        return self._workplace(f"plugin:{manifest.name}", f"plugin {manifest.name}", make, select)

    def _workplace(self, place: str, owner: str, make: Make, select: Callable[[bytes], list[Tool]]) -> Workplace:
        def on_health(is_well: bool) -> None:
            workplace.is_well = is_well
            self._on_change()

        workplace = Workplace(place, owner, Generations(make, on_health), select)
        return workplace

    def _executor(
        self, recipe: Recipe, isolations: Iterable[str], on_health: OnHealth, own: Limits | None = None
    ) -> ProcessExecutor:
        config = self._config

        def limit(name: str, general: T) -> T:
            said: T | None = getattr(own, name, None)
            return general if said is None else said

        return ProcessExecutor(
            recipe,
            isolations,
            PoolLimits(
                workers=limit("workers", config.workers),
                queue_size=limit("queue_size", config.queue_size),
                max_calls=limit("max_calls", config.worker_max_calls),
                ttl=limit("ttl", config.worker_ttl),
                max_rss=limit("max_rss", config.worker_max_rss),
            ),
            grace=limit("grace", config.worker_grace),
            start_timeout=recipe.start_timeout,
            settings=self._settings(),
            on_wait=self._on_wait,
            on_health=on_health,
        )

    def _on_ray(self) -> RayExecutor:
        from bridge.executors import ray  # most servers need none of it

        config = self._config
        limits = PoolLimits(
            workers=config.ray_workers,
            queue_size=config.queue_size,
            max_calls=config.worker_max_calls,
            ttl=config.worker_ttl,
            idle=config.ray_idle,
            option="--ray-workers",
        )
        cluster = ray.Cluster(
            config.ray_address,
            config.ray_namespace,
            ray.read_runtime_env(config.ray_runtime_env),
            config.ray_start_timeout,
        )
        return ray.RayExecutor(
            self._registry,
            limits,
            cluster,
            grace=config.worker_grace,
            settings=self._settings(),
            on_wait=self._on_wait,
            on_change=self._on_change,
        )

    def _settings(self) -> Settings:
        config = self._config
        return Settings(config.redact_errors, config.debug, config.max_message_bytes, log_level=config.log_level)


def _as_it_is_now(manifest: Manifest) -> Manifest:
    """A manifest as its file says today. Raises ``BridgeError`` if that is none, or has become another plugin's."""
    from bridge.manifest import load_manifest

    if not manifest.file:
        return manifest
    again = load_manifest(manifest.file)
    if again.name != manifest.name:
        message = (
            f"{manifest.file} was the manifest of plugin {manifest.name!r}, and is that of {again.name!r}: restart"
        )
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="OTHER_PLUGIN")
    return again


def _limited(tool: Tool, timeout: float | None) -> Tool:
    """A tool that takes no longer than its plugin's calls may."""
    if timeout is None or (tool.options.timeout is not None and tool.options.timeout <= timeout):
        return tool
    return msgspec.structs.replace(tool, options=msgspec.structs.replace(tool.options, timeout=timeout))
