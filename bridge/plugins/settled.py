"""A manifest as a file again: with every path absolute, so that it means the same wherever it lies."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bridge.manifest import Manifest, SecretFile
from bridge.plugins.toml_text import toml_text

__all__ = ["as_text", "settled", "without_defaults"]


def settled(manifest: Manifest, *, hide: bool = False) -> dict[str, Any]:
    """The fields of the file.

    Args:
        manifest: as it was read.
        hide: leave out the values of variables, which may be secrets.
    """
    fields: dict[str, Any] = msgspec.to_builtins(manifest)
    del fields["folder"], fields["file"]
    fields["adapter"] = manifest.adapter_spec
    fields["python"] = manifest.interpreter
    fields["working_directory"] = manifest.runs_in
    fields["path"] = manifest.search_path
    fields["env"]["set"] = {name: _value(manifest, value, hide) for name, value in manifest.env.set.items()}
    return fields


def without_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something; the plugin's own configuration stays as it is."""
    kept = {}
    for name, value in fields.items():
        if name in ("env", "limits", "resources"):
            value = {key: item for key, item in value.items() if item not in (None, [], {})}
        if value:
            kept[name] = value
    return kept


def as_text(fields: dict[str, Any], suffix: str) -> str:
    """The fields as TOML, or for ``.json`` as JSON, which has ``null`` as well."""
    if suffix == ".json":
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
    return toml_text(fields)


def _value(manifest: Manifest, value: str | SecretFile, hide: bool) -> Any:
    if isinstance(value, SecretFile):
        return {"file": str(manifest.at(value.file))}
    return "(hidden)" if hide else value
