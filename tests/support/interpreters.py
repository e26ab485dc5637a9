"""The Pythons of this machine, for what has to run in others than the one that runs the tests."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["OLD", "VERSIONS", "find", "interpreter", "needed", "old_interpreter"]

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
"""Those that plugins may use."""
OLD = ("2.7", "3.6", "3.7", "3.8")
"""Those that are too old."""

_SECONDS = 20
"""That one may take to say its version, or uv to look for one."""


@functools.cache
def find(version: str) -> str | None:
    """The path of an interpreter of this version (``3.9``), without packages if there is such a one."""
    return next((path for path in _candidates(version) if _says(path) == version), None)


def needed(version: str) -> str:
    """As ``find``; the test is skipped if there is none."""
    path = find(version)
    if path is None:
        pytest.skip(f"there is no Python {version} here")
    return path


@pytest.fixture(params=VERSIONS)
def interpreter(request: pytest.FixtureRequest) -> str:
    """The path of an interpreter, one of each version that is here."""
    return needed(request.param)


@pytest.fixture(params=OLD)
def old_interpreter(request: pytest.FixtureRequest) -> str:
    """The path of an interpreter that is too old, one of each version that is here."""
    return needed(request.param)


def _candidates(version: str) -> Iterator[str]:
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield getattr(sys, "_base_executable", sys.executable)
    for folder in sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*"), reverse=True):
        yield str(folder / "bin" / "python")
    if found := shutil.which(f"python{version}"):
        yield found
    if uv := shutil.which("uv"):
        yield _output(uv, "python", "find", "--no-python-downloads", version)


def _says(path: str) -> str:
    return _output(path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])") if path else ""


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
