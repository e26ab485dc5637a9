"""The manifest of a plugin: an adapter that runs in an interpreter and an environment of its own.

One file, TOML or JSON, says all there is to know to start it. It decides what runs with our rights, so it is read only
if nobody else can change it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation
from bridge.manifest_format import VERSION, Environ, Limits, ManifestFields, Resources, SecretFile
from bridge.manifest_problems import not_plain, problems_of
from bridge.trusted_files import alterable, exposed, read_text

if TYPE_CHECKING:
    from bridge.worker.recipe import Recipe

__all__ = [
    "ALWAYS_ALLOWED",
    "Environ",
    "Limits",
    "Manifest",
    "Resources",
    "SecretFile",
    "load_manifest",
    "manifest_recipe",
    "parse_manifest",
]

ALWAYS_ALLOWED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
)
"""Variables that every plugin gets: where programs and files are, language and time zone, which GPUs are ours. No
secrets, and nothing made for the server's own interpreter: ``LD_LIBRARY_PATH`` and ``PYTHONPATH`` would give another
Python the wrong libraries."""

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class Manifest(ManifestFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plugin: what its file says, and where that lies."""

    folder: str = ""
    """Where it lies, behind all links."""
    file: str = ""
    """The path it was read by, for messages."""

    @property
    def interpreter(self) -> str:
        """Path of the interpreter; empty: the server's own. A link to it stays one: that is what makes a venv."""
        if not self.python:
            return ""
        path = _expand(self.python)
        return str(path / "bin" / "python" if _is_folder(path) else path)

    @property
    def adapter_file(self) -> Path | None:
        """The file with the adapter; ``None`` if it is a module."""
        location = self.adapter.rpartition(":")[0]
        return None if _MODULE.fullmatch(location) and not location.endswith(".py") else self.at(location)

    @property
    def adapter_spec(self) -> str:
        """``package.module:Class`` or ``/absolute/file.py:Class``."""
        file = self.adapter_file
        return self.adapter if file is None else f"{file}:{self.adapter.rpartition(':')[2]}"

    @property
    def search_path(self) -> list[str]:
        """The folders to import from, absolute."""
        return [str(self.at(folder)) for folder in self.path]

    @property
    def runs_in(self) -> str:
        """The working directory, absolute."""
        return str(self.at(self.working_directory))

    def at(self, path: str) -> Path:
        """A path that is absolute, or begins at the manifest's folder."""
        return Path(os.path.normpath(self.folder / _expand(path)))


def load_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Reads a manifest, TOML or JSON by its suffix.

    Nothing that it names has to be there yet, except for its own folder.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``MANIFEST``, naming the file and every wrong field; also if the file or
            its folder, behind all links, can be changed by somebody else.
    """
    return parse_manifest(_read_table(Path(path)), Path(path))


def parse_manifest(data: Mapping[str, Any], path: Path) -> Manifest:
    """A manifest from what a file holds. Raises as ``load_manifest`` does; the file itself is not looked at."""
    if {"python_path", "module", "class"} & data.keys() or "format_version" in data:
        raise _error(path, "is a manifest of cjm-plugin-system; `bridge manifest convert` makes one of ours")
    version = data.get("bridge_manifest", VERSION)
    if type(version) is not int or version != VERSION:  # before anything else: another version has other fields
        problem = f"this release of tool-bridge reads version {VERSION} of the format only"
        _refuse(path, [FieldViolation("bridge_manifest", problem)])
    _refuse(path, problems_of(data, ManifestFields))
    manifest = msgspec.convert({**data, "folder": str(path.resolve().parent), "file": str(path)}, Manifest)
    _refuse(path, [*_wrong_together(manifest), *_not_plain(data)])
    return manifest


def _read_table(path: Path) -> dict[str, Any]:
    if path.suffix not in (".toml", ".json"):
        raise _error(path, "a manifest ends with .toml or .json")
    real = _real(path)
    try:
        problem = alterable(real.parent.stat())
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if problem:
        raise _error(path, f"its folder {real.parent} {problem}")
    try:
        text, _ = read_text(real, "the manifest", reason="MANIFEST", problem=alterable)
    except BridgeError as error:
        if real == path:
            raise
        raise _error(path, error.message) from error
    try:
        data = _parse(text, path.suffix)
    except (ValueError, RecursionError) as error:
        raise _error(path, f"is not {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(data, dict):
        raise _error(path, "has to hold one object")
    return data


def _real(path: Path) -> Path:
    """The file behind all links: who can change that one can change the manifest."""
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise _error(path, f"cannot read the manifest: {getattr(error, 'strerror', None) or error}") from error


def _parse(text: str, suffix: str) -> Any:
    if suffix == ".json":
        return json.loads(text)
    import tomllib  # slow to import, and many servers have no plugin

    return tomllib.loads(text)


def _not_plain(data: Mapping[str, Any]) -> Iterator[FieldViolation]:
    for name, value in data.items():
        yield from not_plain(value, name)


def _wrong_together(manifest: Manifest) -> list[FieldViolation]:
    """What the types do not say."""
    found = []
    if manifest.python and not _expand(manifest.python).is_absolute():
        advice = "the current folder must not decide which program runs; write an absolute path, or one that begins ~/"
        found.append(FieldViolation("python", f"is relative: {advice}"))
    location = manifest.adapter.rpartition(":")[0]
    if not _MODULE.fullmatch(location) and not location.endswith(".py"):
        found.append(FieldViolation("adapter", "write package.module:Class or path/to/file.py:Class"))
    return found


def manifest_recipe(manifest: Manifest, environ: Mapping[str, str] | None = None, *, initialize: bool = True) -> Recipe:
    """How to start the plugin.

    Args:
        manifest: as ``load_manifest`` has read it.
        environ: the server's environment, of which the plugin gets what it may have; by default that of the process.
        initialize: workers begin with the manifest's ``config``, also if it is empty; else an empty one means that
            somebody gives them theirs later, by ``$initialize``.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``MANIFEST``: something that it names is not there, or the adapter's file,
            a folder to import from or the file of a secret is open to other users.
    """
    from bridge.worker.recipe import Recipe  # what only reads manifests starts nothing

    _refuse(Path(manifest.file), list(_missing(manifest)))
    limits = manifest.limits
    kernel = {"AS": limits.memory, "CPU": limits.cpu_seconds, "NOFILE": limits.open_files, "NPROC": limits.processes}
    argument = {
        "adapter": manifest.adapter_spec,
        "path": manifest.search_path,
        "config": manifest.config if initialize or manifest.config else None,
    }
    return Recipe(
        preload="bridge.plugin:preload",
        run="bridge.plugin:run",
        argument=json.dumps(argument),
        about=f"plugin {manifest.name}",
        python=manifest.interpreter,
        runtime=True,
        environ=_environ(manifest, os.environ if environ is None else environ),
        cwd=manifest.runs_in,
        limits={name: value for name, value in kernel.items() if value},
        start_timeout=limits.start_timeout,
    )


def _missing(manifest: Manifest) -> Iterator[FieldViolation]:
    """What is not there, or in the wrong hands."""
    if (interpreter := manifest.interpreter) and not (_is_file(Path(interpreter)) and os.access(interpreter, os.X_OK)):
        yield FieldViolation("python", f"there is no interpreter {interpreter}{_how_to_make(Path(interpreter))}")
    if (file := manifest.adapter_file) is not None:
        if not _is_file(file):
            yield FieldViolation("adapter", f"there is no file {file}")
        elif problem := alterable(file.stat()) or alterable(file.resolve().parent.stat()):
            yield FieldViolation("adapter", f"{file}, or its folder, {problem}")
    for index, folder in enumerate(map(Path, manifest.search_path)):
        if not _is_folder(folder):
            yield FieldViolation(f"path[{index}]", f"there is no folder {folder}")
        elif problem := alterable(folder.stat()):
            yield FieldViolation(f"path[{index}]", f"{folder} {problem}")
    if not _is_folder(Path(manifest.runs_in)):
        yield FieldViolation("working_directory", f"there is no folder {manifest.runs_in}")


def _how_to_make(interpreter: Path) -> str:
    venv = interpreter.parent.parent if interpreter.parent.name == "bin" else interpreter
    return "" if _status(venv) else f"; `bridge env create {shlex.quote(str(venv))}` makes a venv"


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # ValueError: a path with a NUL
        return None


def _is_file(path: Path) -> bool:
    return (status := _status(path)) is not None and stat.S_ISREG(status.st_mode)


def _is_folder(path: Path) -> bool:
    return (status := _status(path)) is not None and stat.S_ISDIR(status.st_mode)


def _environ(manifest: Manifest, environ: Mapping[str, str]) -> dict[str, str]:
    allowed = (*ALWAYS_ALLOWED, *manifest.env.allow)
    passed = {name: text for name, text in environ.items() if any(fnmatchcase(name, like) for like in allowed)}
    own = {name: _value(manifest, name, value) for name, value in manifest.env.set.items()}
    return {**passed, **own}


def _value(manifest: Manifest, name: str, value: str | SecretFile) -> str:
    if isinstance(value, str):
        return value
    try:
        text, _ = read_text(manifest.at(value.file), "the file of a secret", reason="MANIFEST", problem=exposed)
    except BridgeError as error:
        problem = error.message
    else:
        if "\0" not in text:
            return text.removesuffix("\n").removesuffix("\r")
        problem = f"{manifest.at(value.file)} holds a zero byte, which no variable can"
    raise _wrong(Path(manifest.file), [FieldViolation(f"env.set.{name}", problem)])


def _expand(path: str) -> Path:
    """``~`` as the home directory; where there is none the path stays as it is, a relative one."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):  # ValueError: what can be the name of no user
        return Path(path)


def _refuse(path: Path, problems: Sequence[FieldViolation]) -> None:
    if problems:
        raise _wrong(path, problems)


def _wrong(path: Path, problems: Sequence[FieldViolation]) -> BridgeError:
    text = "\n".join(f"{problem.field}: {problem.description}" for problem in problems)
    message = f"{path}: {text}" if len(problems) == 1 else f"{path}: {len(problems)} things are wrong:\n{text}"
    details = ErrorDetails(violations=tuple(problems))
    return BridgeError(Code.INVALID_ARGUMENT, message, reason="MANIFEST", details=details)


def _error(path: Path, problem: str) -> BridgeError:
    return BridgeError(Code.INVALID_ARGUMENT, f"{path}: {problem}", reason="MANIFEST")
