"""How commands are told which plugin is meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from bridge.manifest import Manifest

__all__ = ["PluginsDir", "folder_of_plugins", "named_plugin"]

PluginsDir = Annotated[
    Optional[str],  # noqa: UP045 - typer knows it in all the versions we support
    typer.Option(
        metavar="DIR",
        help="Folder with the manifests of plugins.",
        show_default="$BRIDGE_PLUGINS_DIR, or bridge/plugins in $XDG_DATA_HOME, usually ~/.local/share",
    ),
]


def folder_of_plugins(plugins_dir: str | None) -> Path:
    """The folder that is meant."""
    from bridge.plugins.discovery import plugins_folder

    return plugins_folder(os.environ, plugins_dir)


def named_plugin(plugin: str, plugins_dir: str | None) -> Manifest:
    """A plugin by the file of its manifest or by its name.

    Raises ``BridgeError``: what ``load_manifest`` and ``find`` do.
    """
    from bridge.manifest import load_manifest
    from bridge.plugins.discovery import find

    if "/" in plugin or plugin.endswith((".toml", ".json")):
        return load_manifest(plugin)
    return find(plugin, folder_of_plugins(plugins_dir))
