"""On a Ray cluster: for tools that need what the server's machine does not have, or more of it.

A tool runs in a worker as it does in a process of the server's own, with the same pool, pipe and agent. Only what is
forked here is a relay, which has the work done by an actor on some node of the cluster (``bridge.ray.relay``). So a
tool there has its session, its host and its log as anywhere else, and no node has to know an address or a token of the
server.

Why actors and no tasks: an actor keeps what ``lifespan`` has made (Ray ends the process of a task that had a GPU) and
leaves it in order; and a call of one costs about half of a task.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code
from bridge.executors.generations import Generations
from bridge.executors.process import ProcessExecutor, adapter_spec
from bridge.invocation import Invocation
from bridge.ray.local import LocalCluster
from bridge.ray.plan import Needs, Plan
from bridge.registry import Registry
from bridge.worker.frames import NOT_PLACED, Settings
from bridge.worker.pool import PoolLimits
from bridge.worker.recipe import Recipe

__all__ = ["Cluster", "PoolLimits", "RayExecutor", "Settings", "read_runtime_env"]

LOCAL = "local"
CONNECT_TIME = 30.0
"""Seconds that a relay has to connect."""

log = logging.getLogger("bridge.worker")


class Cluster(msgspec.Struct, frozen=True):
    """Which cluster, and what its processes find there."""

    address: str = "auto"
    """``auto``: the one that runs on this machine; ``local``: one of our own; ``host:port``; ``ray://host:port``."""
    namespace: str = ""
    """Of the names of actors; empty: each worker has one of its own."""
    runtime_env: Mapping[str, Any] = {}
    """The environment of its processes, in Ray's words."""
    start_timeout: float = 60.0
    """Seconds that it has to find a place for a worker, and that a worker then has to begin."""


class RayExecutor:
    """Runs invocations in workers on a Ray cluster: a pool of them for each kind of node that tools need.

    Args:
        registry: its tools of isolation ``ray`` are run.
        limits: of each pool.
        cluster: which one.
        grace: seconds a cancelled tool has to end before its process is killed.
        settings: what workers are told; nothing can be shared with them.
        on_wait: told the tool and the seconds it waited for its worker.
        on_change: called when ``is_well`` may have changed.

    Raises ``BridgeError`` FAILED_PRECONDITION: reason ``MISSING_EXTRA`` without Ray, ``NOT_IMPORTABLE`` for an adapter
    that has no name to be imported by.
    """

    def __init__(
        self,
        registry: Registry,
        limits: PoolLimits,
        cluster: Cluster,
        *,
        grace: float = 1.0,
        settings: Settings | None = None,
        on_wait: Callable[[str, float], None] | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        check_installed()
        self._limits, self._cluster, self._grace, self._on_wait = limits, cluster, grace, on_wait
        self._settings = msgspec.structs.replace(settings or Settings(), max_shared_bytes=0)
        self._on_change = on_change
        self._local: LocalCluster | None = None
        self._needs: dict[str, Needs] = {}
        """Of each tool."""
        self._specs: dict[Needs, list[str]] = {}
        self._pools: dict[Needs, Generations] = {}
        self._are_well: dict[Needs, bool] = {}
        for adapter in registry.using({"ray"}):
            for name in adapter.tools:
                if registry[name].tool.isolation == "ray":
                    needs = self._needs[name] = Needs.of(registry[name].tool.options.resources)
                    self._specs.setdefault(needs, []).append(adapter_spec(adapter.cls))
        for needs in self._specs:
            self._pools[needs] = Generations(partial(self._make, needs), partial(self._note_health, needs))
            self._are_well[needs] = True

    @property
    def is_well(self) -> bool:
        """Whether some tools can run: not all the pools are in quarantine."""
        return any(self._are_well.values())

    async def start(self) -> None:
        """Starts the first worker of each kind.

        Raises ``BridgeError`` if there is no cluster, no node for a worker, or an adapter cannot be imported or begun
        there. A cluster that has no room at the moment is no reason.
        """
        if self._cluster.address == LOCAL:
            self._local = await asyncio.to_thread(_start_local, self._cluster.start_timeout)
        for pool in self._pools.values():
            await pool.start()

    async def reload(self) -> None:
        """Starts workers that have the code of today, and gives them the calls that come. Raises what ``start`` does;
        then all is as before."""
        prepared: dict[Generations, ProcessExecutor] = {}
        try:
            for pool in self._pools.values():
                prepared[pool] = await pool.prepare()
        except BaseException:
            await asyncio.gather(*(generation.aclose() for generation in prepared.values()))
            raise
        for pool, generation in prepared.items():
            pool.adopt(generation)

    def run(self, invocation: Invocation) -> Any:
        return self._pools[self._needs[invocation.entry.tool.name]].run(invocation)

    async def aclose(self) -> None:
        await asyncio.gather(*(pool.aclose() for pool in self._pools.values()))
        cluster, self._local = self._local, None
        if cluster is not None:
            await asyncio.to_thread(cluster.close)

    def _make(self, needs: Needs, on_health: Callable[[bool], None]) -> ProcessExecutor:
        cluster = self._cluster
        specs = list(dict.fromkeys(self._specs[needs]))
        plan = Plan(
            adapters=tuple(_on_nodes(specs, cluster.runtime_env.get("working_dir"))),
            needs=needs,
            address=cluster.address if self._local is None else self._local.address,
            namespace=cluster.namespace,
            runtime_env=dict(cluster.runtime_env),
            timeout=cluster.start_timeout,
        )
        recipe = Recipe(
            preload="bridge.ray.relay:prepare",
            run="bridge.ray.relay:run",
            argument=msgspec.json.encode(plan).decode(),
            about=f"{', '.join(specs)} on a Ray cluster",
            environ=None if self._local is None else self._local.environ,
        )
        return _OfOneKind(
            recipe,
            ["ray"],
            self._limits,
            grace=self._grace,
            settings=self._settings,
            start_timeout=CONNECT_TIME + 2 * cluster.start_timeout,
            on_wait=self._on_wait,
            on_health=on_health,
        )

    def _note_health(self, needs: Needs, is_well: bool) -> None:
        self._are_well[needs] = is_well
        if self._on_change is not None:
            self._on_change()


class _OfOneKind(ProcessExecutor):
    """Workers that need the same."""

    async def start(self) -> None:
        try:
            await super().start()
        except BridgeError as error:
            if error.reason != NOT_PLACED or error.retry_after is None:
                raise
            log.warning("no worker has been started yet: %s", error.message)


def check_installed() -> None:
    """Raises ``BridgeError`` FAILED_PRECONDITION, reason ``MISSING_EXTRA``, without Ray."""
    found = importlib.util.find_spec("ray")
    if found is None or found.origin is None:  # a folder of that name is no package
        message = "tools of isolation 'ray' need Ray: pip install 'tool-bridge[ray]', or choose another isolation"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="MISSING_EXTRA")


def read_runtime_env(file: Path | None) -> dict[str, Any]:
    """The runtime environment in a JSON file; empty without one. Raises ``BridgeError`` FAILED_PRECONDITION, reason
    ``RAY_RUNTIME_ENV``."""
    if file is None:
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        message = f"{file} is no runtime environment of Ray (--ray-runtime-env): {error}"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="RAY_RUNTIME_ENV") from None


def _start_local(timeout: float) -> LocalCluster:
    try:
        return LocalCluster(timeout)
    except RuntimeError as error:
        message = f"a Ray cluster of the server's own cannot be started (--ray-address local): {error}"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="RAY_UNREACHABLE") from error


def _on_nodes(specs: Sequence[str], working_dir: object) -> list[str]:
    """The adapters by the names they have on the nodes: a file in the working directory is copied with it."""
    if not isinstance(working_dir, str) or "://" in working_dir:
        return list(specs)
    root = Path(working_dir).resolve()
    return [os.path.relpath(spec, root) if Path(spec).is_relative_to(root) else spec for spec in specs]
