"""What builds an environment: uv if it is there, else venv and pip. Lists of arguments, never a shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from bridge.errors import BridgeError, Code, invalid_argument

__all__ = ["OLDEST", "Installer", "Plan", "build", "check_plan", "parse_installer", "version_of"]

OLDEST = (3, 9)
"""The oldest Python a plugin can run in."""

Installer = Literal["auto", "uv", "pip"]

_VERSION = re.compile(r"(\d+\.\d+)(\.\d+)?")
_PYLOCK = re.compile(r"pylock(\.[^.]+)?\.toml")  # PEP 751
_ASK_VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment is made from."""

    python: str = ""
    """``3.11``, or the path of an interpreter; empty: the one that runs this."""
    requirements: tuple[Path, ...] = ()
    """Files as ``pip install -r`` takes them."""
    lock: Path | None = None
    """``uv.lock`` of a project, or ``pylock.toml`` (PEP 751)."""
    require_hashes: bool = False
    """Install nothing that has no hash in the requirements."""
    extra: tuple[str, ...] = ()
    """Further arguments of the installer, packages among them."""
    installer: Installer = "auto"


def parse_installer(text: str) -> Installer:
    """``auto``, ``uv`` or ``pip``. Raises ``BridgeError`` INVALID_ARGUMENT."""
    for installer in get_args(Installer):
        if text == installer:
            return installer  # type: ignore[no-any-return]
    raise invalid_argument("installer", f"is one of {', '.join(get_args(Installer))}")


def check_plan(plan: Plan) -> None:
    """Raises ``BridgeError`` INVALID_ARGUMENT for a plan that contradicts itself or needs what is not here."""
    if plan.lock is not None and plan.requirements:
        raise invalid_argument("lock", "is given beside requirements; choose one of them")
    if plan.lock is not None and plan.lock.name != "uv.lock" and not _PYLOCK.fullmatch(plan.lock.name):
        raise invalid_argument("lock", "a lock file is called uv.lock, pylock.toml or pylock.NAME.toml")
    if plan.python.startswith("-"):
        raise invalid_argument("python", "write a version such as 3.11, or the path of an interpreter")
    if _uv(plan) is None:
        if plan.installer == "uv":
            raise invalid_argument(
                "installer", "there is no uv on the PATH; https://docs.astral.sh/uv says how to get it"
            )
        if plan.lock is not None:
            raise invalid_argument("lock", "lock files need uv, and there is none on the PATH; requirements do without")
        _find_python(plan)


def build(folder: Path, plan: Plan, tell: Callable[[str], None]) -> None:
    """Makes an environment in an empty folder.

    Raises ``BridgeError``: FAILED_PRECONDITION, reason ``ENV_FAILED``, if a command fails or the Python is too old.
    """
    uv = _uv(plan)
    steps = iter(_with_pip(folder, plan) if uv is None else _with_uv(uv, folder, plan))
    _run(next(steps), folder, tell)
    version = version_of(folder / "bin" / "python")
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise _failed(f"this is Python {version}, and a plugin needs {'.'.join(map(str, OLDEST))} or newer")
    for step in steps:
        _run(step, folder, tell)


def version_of(python: Path) -> str:
    """Version of an interpreter, such as ``3.11.7``. Raises FAILED_PRECONDITION, reason ``ENV_FAILED``."""
    try:
        command: list[str | Path] = [python, "-I", "-c", _ASK_VERSION]
        done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise _failed(f"the interpreter {python} does not start") from error
    return done.stdout.strip()


def _with_uv(uv: str, folder: Path, plan: Plan) -> Iterator[Sequence[str | Path]]:
    python = folder / "bin" / "python"
    yield [uv, "venv", "--no-project", "--allow-existing", "--python", plan.python or sys.executable, folder]
    if plan.lock is not None and plan.lock.name == "uv.lock":
        # The project as well, as files of its own: its folder may go.
        project = plan.lock.absolute().parent
        yield [uv, "sync", "--active", "--frozen", "--no-dev", "--no-editable", "--project", project, *plan.extra]
    elif wanted := _wanted(plan):
        yield [uv, "pip", "install", "--python", python, *wanted]


def _with_pip(folder: Path, plan: Plan) -> Iterator[Sequence[str | Path]]:
    wanted = _wanted(plan)
    # -I: no variable of ours, such as PYTHONPATH, decides what ends up in there.
    yield [_find_python(plan), "-I", "-m", "venv", *([] if wanted else ["--without-pip"]), folder]
    if wanted:
        python = folder / "bin" / "python"
        yield [python, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install", *wanted]


def _wanted(plan: Plan) -> list[str | Path]:
    """What to install, as uv and pip both understand it."""
    files = [*plan.requirements, *([plan.lock] if plan.lock else [])]
    wanted: list[str | Path] = [part for file in files for part in ("-r", file.absolute())]
    if plan.require_hashes:
        wanted.append("--require-hashes")
    return [*wanted, *plan.extra]


def _uv(plan: Plan) -> str | None:
    return None if plan.installer == "pip" else shutil.which("uv")


def _find_python(plan: Plan) -> str:
    if not plan.python:
        return sys.executable
    if version := _VERSION.fullmatch(plan.python):
        found = shutil.which(f"python{version[1]}")
        if found is None:
            text = f"there is no python{version[1]} on the PATH; write the path of one, or install uv, which fetches it"
            raise invalid_argument("python", text)
        return found
    path = Path(plan.python).expanduser()
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise invalid_argument("python", f"{path} is no interpreter; write a version such as 3.11, or a path")
    return str(path.absolute())


def _run(arguments: Sequence[str | Path], folder: Path, tell: Callable[[str], None]) -> None:
    tell(shlex.join(map(str, arguments)))
    try:
        # stdout is for our own result.
        environ = _environ(os.environ, folder)
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=2, env=environ, check=False)  # noqa: S603
    except OSError as error:
        raise _failed(f"{arguments[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        raise _failed(f"{Path(arguments[0]).name} failed (exit code {done.returncode}); what it printed says why")


def _environ(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Ours, with the environment that is built as the active one."""
    return {**environ, "VIRTUAL_ENV": str(folder)}


def _failed(problem: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, problem, reason="ENV_FAILED")
