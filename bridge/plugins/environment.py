"""Virtual environments for plugins.

The name of an environment is a link to the folder that was built, so that it means all of an environment or none: it
is set, at one stroke, when everything is installed. What an interrupted build leaves goes with the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code, invalid_argument
from bridge.plugins.discovery import data_folder
from bridge.plugins.installers import Plan, build, check_plan, version_of

__all__ = ["Environment", "create", "environment_path"]

RECORD = "bridge-env.json"
"""File in an environment that says what it was made from."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Environment(msgspec.Struct, frozen=True):
    """An environment that is complete."""

    path: Path
    """Its name, for the manifest."""
    version: str
    """Of its Python."""
    made: bool
    """False: it was there, made from the same."""


def environment_path(name: str, environ: Mapping[str, str]) -> Path:
    """The path of an environment: as it is if it has a slash, else below ``envs`` of the user's data folder."""
    if "/" in name:
        return Path(os.path.normpath(Path(name).expanduser().absolute()))
    if not _NAME.fullmatch(name):
        raise invalid_argument("name", "letters, digits and `.`, `_`, `-`; or a path with a slash in it, such as ./env")
    return data_folder(environ) / "envs" / name


def create(path: Path, plan: Plan, *, recreate: bool = False, tell: Callable[[str], None]) -> Environment:
    """Builds an environment.

    Args:
        path: its name; the folder it lies in is made if it is missing.
        plan: what it is made from.
        recreate: build it again if it is there. The old one is there until the new one is complete.
        tell: told each command before it runs. What the command prints goes to stderr.

    Raises:
        BridgeError: INVALID_ARGUMENT for a plan that cannot be; ALREADY_EXISTS, reason ``ENV_EXISTS``, if something
            else is at the path or it was made from another plan; FAILED_PRECONDITION, reason ``ENV_FAILED``, if a
            command fails. Nothing is at the path then that was not there before.
    """
    check_plan(plan)
    record = _record(plan)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path, tell):
            if not recreate and (there := _there(path, record)) is not None:
                return there
            _check_place(path)
            return _build(path, plan, record, tell)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}; choose another place"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="FILE_NOT_WRITTEN") from error


def _build(path: Path, plan: Plan, record: dict[str, Any], tell: Callable[[str], None]) -> Environment:
    _remove_folders(path)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.env-", dir=path.parent))
    try:
        folder.chmod(0o755)  # other users may use it, as any that venv makes
        build(folder, plan, tell)
        version = version_of(folder / "bin" / "python")
        (folder / RECORD).write_text(json.dumps({**record, "version": version}), "utf-8")
        link = folder / ".link"
        link.symlink_to(folder.name)
        link.replace(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _remove_folders(path)
    return Environment(path, version, made=True)


def _there(path: Path, record: dict[str, Any]) -> Environment | None:
    """The environment that is there, if one is. Raises ALREADY_EXISTS if it was made from something else."""
    if not _is_ours(path) or not path.exists():
        return None
    try:
        found = json.loads((path / RECORD).read_text("utf-8"))
        version = str(found.pop("version"))
    except (OSError, ValueError, KeyError, AttributeError):
        found, version = None, ""
    if found != record or not (path / "bin" / "python").exists():
        raise _exists(path, "was made from something else, or is damaged; --recreate builds it again")
    return Environment(path, version, made=False)


def _check_place(path: Path) -> None:
    if os.path.lexists(path) and not _is_ours(path):
        raise _exists(path, "is there and was not made by this command; choose another name, or remove it")


def _is_ours(path: Path) -> bool:
    return path.is_symlink() and _folder_name(path).fullmatch(str(path.readlink())) is not None


def _folder_name(path: Path) -> re.Pattern[str]:
    """What the folders behind a name are called; no folder is behind two names."""
    return re.compile(rf"\.{re.escape(path.name)}\.env-[a-z0-9_]{{8}}")


def _remove_folders(path: Path) -> None:
    """Removes what interrupted builds and replaced environments have left."""
    used = str(path.readlink()) if path.is_symlink() else ""
    for folder in path.parent.iterdir():
        if _folder_name(path).fullmatch(folder.name) and folder.name != used:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Lets nobody else build the same environment. The kernel drops the lock of a process that dies."""
    with path.with_name(f".{path.name}.lock").open("a") as file:  # not "w": it may be a link to what is not ours
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"waiting for another build of {path}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _record(plan: Plan) -> dict[str, Any]:
    files = [*plan.requirements, *([plan.lock] if plan.lock else [])]
    return {
        "python": plan.python,
        "files": [_digest(file) for file in files],
        "require_hashes": plan.require_hashes,
        "extra": list(plan.extra),
    }


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
        raise BridgeError(Code.INVALID_ARGUMENT, message, reason="REQUIREMENTS") from error


def _exists(path: Path, problem: str) -> BridgeError:
    return BridgeError(Code.ALREADY_EXISTS, f"{path} {problem}", reason="ENV_EXISTS")
