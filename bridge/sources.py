"""From what a user wrote on the command line to what a server serves: adapter classes, and manifests of plugins."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.config import ServerConfig
from bridge.loader import load_adapters
from bridge.registry import Registry
from bridge.tool import IN_PROCESSES
from bridge.worker.forked import count_threads, fork_zygote

if TYPE_CHECKING:
    from bridge.manifest import Manifest

__all__ = ["load_sources", "prepare_sources"]

_MANIFESTS = (".toml", ".json")
_BY_NAME = "plugin:"


def load_sources(specs: Iterable[str]) -> tuple[list[type], list[Manifest]]:
    """Adapter classes, and manifests.

    Args:
        specs: each as ``bridge.loader.load_adapters`` takes it, or the path of a manifest (``.toml``, ``.json``), or
            ``plugin:NAME`` for one that `bridge plugins add` has taken.

    Raises ``BridgeError``: what ``load_adapters``, ``load_manifest`` and ``bridge.plugins.discovery.find`` do.
    """
    # What knows plugins is imported for those only who have some.
    adapters: list[type] = []
    plugins: list[Manifest] = []
    for spec in specs:
        if Path(spec).suffix in _MANIFESTS:
            from bridge.manifest import load_manifest

            plugins.append(load_manifest(Path(spec)))
        elif spec.startswith(_BY_NAME):
            from bridge.plugins.discovery import find, plugins_folder

            plugins.append(find(spec.removeprefix(_BY_NAME), plugins_folder(os.environ)))
        else:
            adapters += load_adapters(spec)
    return adapters, plugins


def prepare_sources(config: ServerConfig) -> tuple[list[type], list[Manifest]]:
    """What ``load_sources`` gives for a server, in a process that has nothing yet but its imports.

    If adapters have tools for worker processes, this is the moment to fork the zygote of these: it has the adapters
    already, and its memory is shared with the server.

    Raises ``BridgeError``: what ``load_sources`` and ``Registry`` do.
    """
    threads = count_threads()
    adapters, plugins = load_sources(config.adapters)
    if Registry(adapters, config.isolation, everything_in_processes=config.reload).using(IN_PROCESSES):
        fork_zygote(threads)
    return adapters, plugins
