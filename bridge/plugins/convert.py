"""Manifests of cjm-plugin-system as ours.

Its format 1 is one flat object; its format 2.0 has the same in ``install`` and ``code``. What ours have no place for is
said, never dropped in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code
from bridge.manifest import parse_manifest
from bridge.manifest_format import VERSION
from bridge.trusted_files import alterable, read_text

__all__ = ["Converted", "convert"]

_MIB = 1024 * 1024
_CARRIED = {
    *("name", "version", "description", "module", "class", "resources"),
    *("python_path", "env_vars", "format_version"),
    *("requires_gpu", "min_gpu_vram_mb", "min_system_ram_mb"),
}
_ADVICE = {
    "author": "write it into the description if it matters",
    "category": "tools are found by their names and descriptions",
    "taxonomy": "tools are found by their names and descriptions",
    "interface": "what the class can do is read from its methods",
    "structural_surface": "what the class can do is read from its methods",
    "config_schema": "the plugin itself is asked for it",
    "drift_tracking": "the plugin itself is asked for its config schema",
    "conda_env": "the path of the interpreter says it",
    "db_path": "give it to the plugin in `config` or `env.set`",
    "worker_env": "put these variables into `env.set`, secrets as { file = ... }, or name them in `env.allow`",
    "overrides": "write what they change into the manifest",
    "platforms": "there is one manifest for each machine",
    "accelerators": "there is one manifest for each machine",
}
"""What to do about fields that have no place in ours."""
_WHOLE_ENVIRONMENT = (
    "the server's environment: cjm-plugin-system hands on all of it, ours hand on little; name what else the plugin "
    "needs in `env.allow`"
)


class Converted(msgspec.Struct, frozen=True):
    """A manifest of ours, and what could not be carried over."""

    fields: dict[str, Any]
    """Of the file."""
    left_out: tuple[str, ...]
    """In a sentence each."""


def convert(path: Path) -> Converted:
    """Reads a manifest of cjm-plugin-system.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``MANIFEST``: it is none, others can change it, or what it says may not
            be in one of ours, such as a relative path of an interpreter.
    """
    data = _read(path)
    install, code, rest = _nested(data, path) if "format_version" in data else (data, data, {})
    said = [*_left_out({**rest, **install, **code}), _WHOLE_ENVIRONMENT]
    resources = code.get("resources")
    resources = resources if isinstance(resources, dict) else {}
    said += _left_out(resources)
    fields = {"bridge_manifest": VERSION, **_described(code, said), **_started(install, code, path)}
    if needs := _resources(resources):
        fields["resources"] = needs
    parse_manifest(fields, path)
    return Converted(fields, tuple(said))


def _read(path: Path) -> dict[str, Any]:
    text, _ = read_text(path, "a manifest of cjm-plugin-system", reason="MANIFEST", problem=alterable)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(path, f"is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise _refusal(path, "has to hold one object")
    if "bridge_manifest" in data:
        raise _refusal(path, "is one of ours already")
    return data


def _nested(data: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    if data["format_version"] != "2.0":
        raise _refusal(path, "format_version: formats 1 and 2.0 can be converted")
    install, code = data.get("install"), data.get("code")
    if not isinstance(install, dict) or not isinstance(code, dict):
        raise _refusal(path, "format 2.0 has the objects `install` and `code`")
    return install, code, {key: value for key, value in data.items() if key not in ("install", "code")}


def _described(code: Mapping[str, Any], said: list[str]) -> dict[str, Any]:
    name = code.get("name")
    fields = {"name": name}
    if isinstance(name, str):
        fields["name"] = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")[:64]
        if fields["name"] != name:
            said.append(f"name: {name!r} became {fields['name']!r}, which can be the name of a file")
    return fields | {key: code[key] for key in ("version", "description") if code.get(key)}


def _started(install: Mapping[str, Any], code: Mapping[str, Any], path: Path) -> dict[str, Any]:
    for key, table in (("python_path", install), ("module", code), ("class", code)):
        if not isinstance(table.get(key), str) or not table[key]:
            raise _refusal(path, f"{key}: is required, as text")
    variables = install.get("env_vars") or {}
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise _refusal(path, "env_vars: has to be an object of texts")
    fields = {"adapter": f"{code['module']}:{code['class']}", "python": install["python_path"]}
    return {**fields, "env": {"set": variables}} if variables else fields


def _resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {"memory": resources.get("min_system_ram_mb"), "gpu_memory": resources.get("min_gpu_vram_mb")}
    needs = {key: int(size * _MIB) for key, size in sizes.items() if isinstance(size, int | float) and size > 0}
    return {"gpus": 1, **needs} if resources.get("requires_gpu") else needs


def _left_out(data: Mapping[str, Any]) -> Iterator[str]:
    """A sentence about each field that has no place in ours and is not empty."""
    for key, value in data.items():
        if key in _CARRIED or not _says_something(value):
            continue
        names = ""
        if key == "worker_env" and isinstance(value, list):
            names = f" ({', '.join(str(one.get('name')) for one in value if isinstance(one, dict))})"
        yield f"{key}{names}: {_ADVICE.get(key, 'has no place in ours')}"


def _says_something(value: Any) -> bool:
    return any(map(_says_something, value.values())) if isinstance(value, dict) else bool(value)


def _refusal(path: Path, problem: str) -> BridgeError:
    return BridgeError(Code.INVALID_ARGUMENT, f"{path}: {problem}", reason="MANIFEST")
