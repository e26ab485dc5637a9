"""From what a user wrote on the command line to what a server serves: adapter classes, and manifests of plugins."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bridge.loader import load_adapters
from bridge.manifest import Manifest, load_manifest
from bridge.plugins.discovery import find, plugins_folder

__all__ = ["load_sources"]

_MANIFESTS = (".toml", ".json")
_BY_NAME = "plugin:"


def load_sources(specs: Iterable[str]) -> tuple[list[type], list[Manifest]]:
    """Adapter classes, and manifests.

    Args:
        specs: each as ``bridge.loader.load_adapters`` takes it, or the path of a manifest (``.toml``, ``.json``), or
            ``plugin:NAME`` for one that `bridge plugins add` has taken.

    Raises ``BridgeError``: what ``load_adapters``, ``load_manifest`` and ``bridge.plugins.discovery.find`` do.
    """
    adapters: list[type] = []
    plugins: list[Manifest] = []
    for spec in specs:
        if Path(spec).suffix in _MANIFESTS:
            plugins.append(load_manifest(Path(spec)))
        elif spec.startswith(_BY_NAME):
            plugins.append(find(spec.removeprefix(_BY_NAME), plugins_folder(os.environ)))
        else:
            adapters += load_adapters(spec)
    return adapters, plugins
