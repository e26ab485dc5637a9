"""Programs in Go that tests talk to, built once from what is in the checkout into a folder that all sessions share."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["MODULE", "build", "cache_folder", "go_environment"]

MODULE = Path(__file__).parent.parent / "goplugin"
"""The module of programs for tests."""

_FETCHING = 120
_BUILDING = 600
"""Seconds at most: a build from nothing compiles all of gRPC."""
_KEPT = 14 * 86400
"""Seconds that a program nobody has asked for is kept."""


def build(program: str, module: Path = MODULE) -> Path:
    """The executable of a program, a folder of a module.

    Skips the test where Go, or what it fetches, is missing. Raises ``AssertionError`` with the compiler's words.
    """
    built = _built(program, module)
    if isinstance(built, str):
        pytest.skip(built)
    return built


def go_environment() -> dict[str, str]:
    """The environment in which tests run Go: nothing changes go.mod, no other Go is fetched, git is not asked."""
    return {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local"}


def cache_folder() -> Path:
    """Where tests keep what takes long to make; the user's, outside of the checkout."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "tool-bridge-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def _built(program: str, module: Path) -> Path | str:
    """The executable, or why there is none: who has no network finds out once."""
    if shutil.which("go") is None:
        return "needs Go"
    places = cache_folder() / "go"
    places.mkdir(exist_ok=True)
    executable = places / f"{program}-{_digest(module)}"
    with _alone(executable.with_suffix(".lock")):
        if not executable.exists():
            try:
                _go(module, "mod", "download", seconds=_FETCHING)
            except subprocess.TimeoutExpired:
                return f"needs the network, or Go's cache, for the modules of {module.name}"
            except subprocess.CalledProcessError as error:
                said = error.stderr.strip().rpartition("\n")[2]
                return f"needs the modules of {module.name}, and Go says: {said}"
            _build(program, module, executable)
            _forget(places)
        os.utime(executable)
    return executable


def _build(program: str, module: Path, executable: Path) -> None:
    with tempfile.TemporaryDirectory(dir=executable.parent) as folder:
        made = Path(folder) / program
        try:
            _go(module, "build", "-o", str(made), f"./{program}", seconds=_BUILDING)
        except subprocess.CalledProcessError as error:
            raise AssertionError(error.stderr) from error
        made.rename(executable)


def _go(module: Path, *arguments: str, seconds: float) -> str:
    done = subprocess.run(
        ["go", *arguments],
        cwd=module,
        env=go_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=True,
    )
    return done.stdout


def _digest(module: Path) -> str:
    """Of all that a program is made from."""
    digest = hashlib.sha256(
        _go(module, "env", "GOVERSION", "GOOS", "GOARCH", "CGO_ENABLED", seconds=_FETCHING).encode()
    )
    for path in sorted([*module.rglob("*.go"), *module.glob("go.*")]):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(module)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lets one process at a time build. The kernel drops the lock of one that dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _forget(places: Path) -> None:
    """Removes programs of sources that are gone, with their locks."""
    for path in places.iterdir():
        if path.is_file() and path.suffix != ".lock" and path.stat().st_mtime < time.time() - _KEPT:
            path.unlink()
            path.with_suffix(".lock").unlink(missing_ok=True)
