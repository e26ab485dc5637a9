"""Plugins by name: the folder that holds their manifests.

Never the current folder: what lies there would run without having been asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from bridge.errors import BridgeError, Code
from bridge.manifest import Manifest, load_manifest
from bridge.plugins.settled import as_text, settled, without_defaults
from bridge.runtime.hints import suggest
from bridge.security import write_atomically
from bridge.trusted_files import alterable

__all__ = ["Discovered", "Rejected", "add", "data_folder", "discover", "find", "plugins_folder", "remove"]

SUFFIXES = (".toml", ".json")


class Rejected(msgspec.Struct, frozen=True):
    """A file that is no plugin."""

    file: Path
    problem: str


class Discovered(msgspec.Struct, frozen=True):
    """What a folder holds, in the order of the files' names."""

    plugins: tuple[Manifest, ...]
    rejected: tuple[Rejected, ...]


def data_folder(environ: Mapping[str, str]) -> Path:
    """Where what belongs to the user is kept: ``$XDG_DATA_HOME/bridge``, usually ``~/.local/share/bridge``.

    Raises ``BridgeError`` INVALID_ARGUMENT if the user has no home directory.
    """
    base = environ.get("XDG_DATA_HOME", "")
    if Path(base).is_absolute():  # others are to be ignored (XDG Base Directory Specification)
        return Path(base) / "bridge"
    try:
        return Path.home() / ".local" / "share" / "bridge"
    except RuntimeError as error:
        message = "there is no home directory; name the folder with --plugins-dir or BRIDGE_PLUGINS_DIR"
        raise BridgeError(Code.INVALID_ARGUMENT, message, reason="NO_HOME") from error


def plugins_folder(environ: Mapping[str, str], named: str | None = None) -> Path:
    """The folder of manifests: the one that is named, that of ``BRIDGE_PLUGINS_DIR``, or ``plugins`` below
    ``data_folder``."""
    chosen = named or environ.get("BRIDGE_PLUGINS_DIR")
    return Path(chosen).absolute() if chosen else data_folder(environ) / "plugins"


def discover(folder: Path) -> Discovered:
    """Reads all manifests of a folder; one that is not there holds none. Of two with the same name the first counts.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``PLUGINS_FOLDER``, for a folder that others can change.
    """
    plugins: dict[str, Manifest] = {}
    rejected = []
    for file in _files(folder):
        try:
            manifest = load_manifest(file)
        except BridgeError as error:
            rejected.append(Rejected(file, error.message))
            continue
        if (first := plugins.setdefault(manifest.name, manifest)) is not manifest:
            problem = f"{file}: name: {first.file} has the name {manifest.name!r} already"
            rejected.append(Rejected(file, problem))
    return Discovered(tuple(plugins.values()), tuple(rejected))


def find(name: str, folder: Path) -> Manifest:
    """A plugin by its name. Raises ``BridgeError``: NOT_FOUND, reason ``PLUGIN_NOT_FOUND``; what ``discover`` does."""
    found = discover(folder)
    plugins = {manifest.name: manifest for manifest in found.plugins}
    if name in plugins:
        return plugins[name]
    rejected = next((one.problem for one in found.rejected if one.file.stem == name), None)
    hint = rejected or suggest(name, plugins)
    message = f"there is no plugin {name!r} in {folder}; {hint}"
    raise BridgeError(Code.NOT_FOUND, message, reason="PLUGIN_NOT_FOUND")


def add(manifest: Manifest, folder: Path, *, force: bool = False) -> Path:
    """Copies a manifest into the folder, with the paths that began at its own folder made absolute.

    Args:
        manifest: what to copy.
        folder: made, with mode 0700, if it is missing.
        force: replace a plugin of the same name.

    Returns:
        The file.

    Raises:
        BridgeError: ALREADY_EXISTS, reason ``PLUGIN_EXISTS``; FAILED_PRECONDITION, reason ``FILE_NOT_WRITTEN``; what
            ``discover`` does.
    """
    target = folder / f"{manifest.name}{Path(manifest.file).suffix}"
    there = _files_of(manifest.name, folder)
    if there and not force:
        message = f"there is a plugin {manifest.name!r} already ({there[0]}); --force replaces it"
        raise BridgeError(Code.ALREADY_EXISTS, message, reason="PLUGIN_EXISTS")
    text = as_text(without_defaults(settled(manifest)), target.suffix)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make {folder}: {error.strerror}"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="FILE_NOT_WRITTEN") from error
    _check(folder)
    # Values of variables may be secrets: who could not read them shall not read the copy.
    write_atomically(target, text, mode=Path(manifest.file).stat().st_mode & 0o644)
    for file in there:
        if file != target:
            file.unlink(missing_ok=True)
    return target


def remove(name: str, folder: Path) -> list[Path]:
    """Removes a plugin, or a file that was to be one. Its environment stays.

    Returns:
        The files removed.

    Raises:
        BridgeError: NOT_FOUND, reason ``PLUGIN_NOT_FOUND``.
    """
    files = _files_of(name, folder)
    if not files:
        files = [Path(find(name, folder).file)]
    for file in files:
        file.unlink(missing_ok=True)
    return files


def _files(folder: Path) -> list[Path]:
    if not folder.exists():
        return []
    _check(folder)
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))


def _files_of(name: str, folder: Path) -> list[Path]:
    """The files that are a plugin of this name, or have it as theirs."""
    named = [Path(manifest.file) for manifest in discover(folder).plugins if manifest.name == name]
    return sorted({*named, *(file for file in _files(folder) if file.stem == name)})


def _check(folder: Path) -> None:
    try:
        problem = alterable(folder.stat())
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if problem is None and not folder.is_dir():
        problem = "is no folder"
    if problem:
        message = f"the folder of plugins {folder} {problem}"
        raise BridgeError(Code.INVALID_ARGUMENT, message, reason="PLUGINS_FOLDER")
