"""What a manifest can hold: its fields, what each may be, and what it means.

``docs/plugins.md`` has the reference, which is made from the descriptions here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

__all__ = ["VERSION", "Environ", "Limits", "ManifestFields", "Resources", "SecretFile", "json_schema", "markdown"]

VERSION = 1
"""Of the format; a file of another one is refused."""
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_ADAPTER = r"^[^:]+:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*\*?$"
_DAY, _TIB = 86400.0, 1024**4

_Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
_Bytes = Annotated[int, Meta(ge=0, le=1024 * _TIB)]
_Seconds = Annotated[float, Meta(ge=0.0, le=365 * _DAY)]


class SecretFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that is read from a file when the plugin starts."""

    file: Annotated[
        str, Meta(pattern=r"^[^\x00]+$", description="The file, mode 600; its last line break does not count.")
    ]


class Environ(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a plugin finds in its environment."""

    allow: Annotated[
        list[Annotated[str, Meta(pattern=_VARIABLE)]],
        Meta(
            description="Variables of the server that are passed on, beside those every plugin gets; `HF_*`: a group."
        ),
    ] = []
    set: Annotated[
        dict[Annotated[str, Meta(pattern=r"^[^=\x00]+$")], Annotated[str, Meta(pattern=r"^[^\x00]*$")] | SecretFile],
        Meta(description='Variables of its own, as text, or from a file: `TOKEN = { file = "/path" }`.'),
    ] = {}

    def __repr__(self) -> str:
        return f"Environ(allow={self.allow!r}, set=<{', '.join(self.set)}>)"  # values may be secrets


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much of everything a plugin gets. What is left out is as the server has it for its own workers."""

    workers: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None, Meta(description="Worker processes, started when needed.")
    ] = None
    queue_size: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)] | None,
        Meta(description="Calls that may wait for a worker; one more is refused."),
    ] = None
    start_timeout: Annotated[
        Annotated[float, Meta(ge=0.1, le=_DAY)], Meta(description="Seconds that importing everything may take.")
    ] = 30.0
    call_timeout: Annotated[
        Annotated[float, Meta(gt=0.0, le=30 * _DAY)] | None, Meta(description="Most seconds a call may take.")
    ] = None
    grace: Annotated[
        Annotated[float, Meta(ge=0.0, le=3600.0)] | None,
        Meta(description="Seconds a cancelled call has to end before its process is killed."),
    ] = None
    max_calls: Annotated[_Count | None, Meta(description="Calls after which a worker is replaced; 0: never.")] = None
    ttl: Annotated[_Seconds | None, Meta(description="Seconds after which a worker is replaced; 0: never.")] = None
    max_rss: Annotated[
        _Bytes | None,
        Meta(description="Resident bytes after which a worker, with all it has started, is replaced; 0: any."),
    ] = None
    memory: Annotated[
        _Bytes | None, Meta(description="Address space of a worker in bytes, held by the kernel (RLIMIT_AS).")
    ] = None
    cpu_seconds: Annotated[
        _Count | None, Meta(description="CPU seconds of a worker's life; then the kernel kills it (RLIMIT_CPU).")
    ] = None
    open_files: Annotated[_Count | None, Meta(description="Open files of a worker (RLIMIT_NOFILE).")] = None
    processes: Annotated[
        _Count | None, Meta(description="Processes and threads of the user, all programs together (RLIMIT_NPROC).")
    ] = None


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one worker needs to be there. It is a statement, not a limit."""

    cpus: Annotated[Annotated[float, Meta(ge=0.0)] | None, Meta(description="CPU cores.")] = None
    gpus: Annotated[Annotated[float, Meta(ge=0.0)] | None, Meta(description="GPUs; half a one is 0.5.")] = None
    memory: Annotated[_Bytes | None, Meta(description="Bytes of memory.")] = None
    gpu_memory: Annotated[_Bytes | None, Meta(description="Bytes of memory of a GPU.")] = None


class ManifestFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file of a plugin."""

    bridge_manifest: Annotated[int, Meta(description=f"Version of this format: {VERSION}.")] = VERSION
    name: Annotated[
        str,
        Meta(
            pattern=_NAME, description="Name: letters, digits and `.`, `_`, `-`, at most 64; a letter or digit first."
        ),
    ]
    version: Annotated[str, Meta(max_length=128, description="Version of the plugin, for people.")] = "0"
    description: Annotated[str, Meta(max_length=4096, description="What it is for, for people.")] = ""
    adapter: Annotated[
        str,
        Meta(
            pattern=_ADAPTER, description="The class: `package.module:Class`, or `file.py:Class` beside the manifest."
        ),
    ]
    python: Annotated[
        str,
        Meta(
            description="Absolute path of an interpreter or of a venv's folder, `~` allowed; empty: the server's own."
        ),
    ] = ""
    isolation: Annotated[
        Literal["process", "call"],
        Meta(description="`process`: workers are kept and used again; `call`: a process for each call."),
    ] = "process"
    env: Environ = Environ()
    working_directory: Annotated[
        str,
        Meta(description="Folder it runs in, absolute or from the manifest's folder; empty: the manifest's folder."),
    ] = ""
    path: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        Meta(description="Folders to import from, absolute or from the manifest's folder."),
    ] = []
    limits: Limits = Limits()
    resources: Resources = Resources()
    config: Annotated[
        dict[str, Any], Meta(description="What the adapter is initialised with; its own config schema checks it.")
    ] = {}


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the file, for editors and other programs."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": "Manifest of a plugin", **msgspec.json.schema(ManifestFields)}


def markdown() -> str:
    """The tables of the reference in ``docs/plugins.md``."""
    definitions = json_schema()["$defs"]
    tables = {"": ManifestFields, "env": Environ, "limits": Limits, "resources": Resources}
    lines: list[str] = []
    for name, kind in tables.items():
        about = "The file" if not name else f"`[{name}]`: {_lower(definitions[kind.__name__]['description'])}"
        lines += ["", f"### {about.rstrip('.')}", "", "| field | value | default | meaning |", "|---|---|---|---|"]
        properties = definitions[kind.__name__]["properties"]
        required = definitions[kind.__name__]["required"]
        lines += [_row(field, schema, field in required) for field, schema in properties.items() if field not in tables]
    return "\n".join(lines).strip() + "\n"


def _row(field: str, schema: dict[str, Any], required: bool) -> str:
    default = schema.get("default")
    shown = "required" if required else "" if default in (None, "", [], {}) else f"`{default}`"
    return f"| `{field}` | {_allowed(schema)} | {shown} | {schema['description']} |"


def _allowed(schema: dict[str, Any]) -> str:
    """What a value may be, in a few words."""
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    own = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    noun = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "array": "list of texts",
        "object": "table",
    }
    low, above, high = own.get("minimum"), own.get("exclusiveMinimum"), own.get("maximum")
    begin = f" from {low:g}" if low is not None else f" above {above:g}" if above is not None else ""
    return noun[own["type"]] + begin + (f" to {high:,}".removesuffix(".0") if high is not None and high < _TIB else "")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
