"""The configuration of a server, settled once at the entrance of the process.

Defaults < TOML file < ``BRIDGE_*`` environment < flags. Nothing else in the package reads the environment: the command
line passes ``os.environ`` to ``settle``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bridge.errors import BridgeError, FieldViolation
from bridge.listeners import BRIDGE_SOCKET, JSONRPC_SOCKET, default_socket
from bridge.server_config import DAY, MIB, SETTINGS, ServerConfig
from bridge.settings import (
    Setting,
    Source,
    convert,
    read_environment,
    read_file,
    read_flags,
    refuse,
    show,
    tables,
    unknown,
)
from bridge.stores import without_password

__all__ = [
    "DAY",
    "DEFAULT_FILE",
    "MIB",
    "SETTINGS",
    "ServerConfig",
    "Setting",
    "Settled",
    "Source",
    "markdown",
    "settle",
]

DEFAULT_FILE = "bridge.toml"
"""Read from the current folder if it is there and no other file is named."""

_BY_KEY = {setting.key: setting for setting in SETTINGS}


class Settled(msgspec.Struct, frozen=True):
    """A configuration and where each value of it came from."""

    config: ServerConfig
    provenance: Mapping[str, Source]

    def describe(self) -> list[tuple[str, str, str, str]]:
        """Key, value, source and help of every setting, for people."""
        return [
            (
                setting.key,
                without_password(show(getattr(self.config, setting.key))),
                str(self.provenance[setting.key]),
                setting.help,
            )
            for setting in SETTINGS
        ]


def settle(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
) -> Settled:
    """Settles the configuration.

    Args:
        file: TOML file with a table ``[server]``; without it the one that ``BRIDGE_CONFIG`` names, and without that
            ``bridge.toml`` in ``folder`` if there is one. Relative paths in it begin at its own folder.
        environ: usually ``os.environ``. Variables that are empty count as not set.
        flags: by key; ``None`` and empty lists count as not given.
        folder: where to look for ``bridge.toml``; the current one by default.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``CONFIG``, naming every wrong key and where it was set.
    """
    environ = environ or {}
    values: dict[str, Any] = {}
    provenance = {setting.key: Source("default") for setting in SETTINGS}
    problems: list[FieldViolation] = []
    for key, raw, source in _given(_choose_file(file, environ, folder), environ, flags or {}):
        if (setting := _BY_KEY.get(key)) is None:
            problems.append(FieldViolation(key, unknown(key, source, _BY_KEY)))
            continue
        name = JSONRPC_SOCKET if key == "jsonrpc" else BRIDGE_SOCKET
        value = _expand(convert(setting, raw, source), environ, name)
        if problem := setting.problem(value):
            problems.append(FieldViolation(key, f"set by {source}: {problem}"))
        values[key], provenance[key] = value, source
    refuse(problems)
    if values.get("jsonrpc"):
        values.setdefault("listen", ())
    try:
        config = ServerConfig(**values)
    except BridgeError as error:
        # Only contradictions are left, and they name the settings that do not go together.
        refuse([FieldViolation(v.field, v.description + _origins(v, provenance)) for v in error.violations])
        raise
    return Settled(config, provenance)


def _given(
    file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Source]]:
    """Key, value and source of all that is set, what counts most at the end."""
    if file is not None:
        yield from read_file(file, "server")
    yield from read_environment(environ, _BY_KEY)
    yield from read_flags(flags, _BY_KEY)


def _choose_file(file: Path | None, environ: Mapping[str, str], folder: Path | None) -> Path | None:
    if file is not None:
        return file
    if named := environ.get("BRIDGE_CONFIG"):
        return Path(named)
    usual = (folder or Path()) / DEFAULT_FILE
    return usual if usual.exists() else None


def _expand(value: Any, environ: Mapping[str, str], name: str) -> Any:
    """``unix:`` as the path it means in this environment; no setting that is no address looks like it."""
    if isinstance(value, tuple):
        return tuple(_expand(item, environ, name) for item in value)
    return f"unix:{default_socket(environ, name)}" if value == "unix:" else value


def _origins(violation: FieldViolation, provenance: Mapping[str, Source]) -> str:
    words = dict.fromkeys(re.findall(r"\w+", f"{violation.field} {violation.description}"))
    named = [f"{word} from {provenance[word]}" for word in words if word in provenance]
    return f" ({', '.join(named)})"


def markdown() -> str:
    """The tables of ``docs/configuration.md``."""
    return tables(SETTINGS)
