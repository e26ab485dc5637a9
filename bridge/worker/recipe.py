"""How a zygote is started: which interpreter, what it prepares, what its workers run and may take."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bridge import runtime

__all__ = ["Recipe", "adapters_recipe", "command", "environment", "interpreter"]

_BOOTSTRAP = str(Path(runtime.__file__).absolute().parent / "bootstrap.py")
_PROGRAM = """\
import sys
sys.path[:] = sys.argv[2:] or [entry for entry in sys.path if entry]
from bridge.runtime.zygote import main
main(int(sys.argv[1]))
"""

_OF_THE_INTERPRETER = ("PYTHONHOME", "PYTHONPATH", "PYTHONPLATLIBDIR")
"""Variables that tell an interpreter where its modules are: ours are wrong for another one."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How to start a zygote."""

    preload: str
    """``module:function``; called once with ``argument``. What it returns is there in all workers."""
    run: str
    """``module:function``; called in each worker with its socket and what ``preload`` has returned."""
    argument: str
    about: str
    """What it holds, for error messages: ``my.module:Adapter``, ``plugin ocr``."""
    python: str = ""
    """An interpreter or the folder of a venv; empty: the interpreter of this process, with the same ``sys.path``."""
    runtime: bool = False
    """Only ``bridge.runtime`` is there, as the package ``bridge``; else the whole of it has to be installed."""
    environ: Mapping[str, str] | None = None
    """All of its environment; by default that of this process."""
    cwd: str | None = None
    limits: Mapping[str, int] = {}
    """Of each worker: names of ``RLIMIT_*`` without that prefix (getrlimit(2)), and their values."""
    start_timeout: float = 30.0
    """Seconds that ``preload`` may take."""


def adapters_recipe(specs: Sequence[str], isolation: str = "", *, everything_in_processes: bool = False) -> Recipe:
    """For adapters of this process.

    Args:
        specs: their names, as ``bridge.loader.load_adapters`` takes them.
        isolation: as for ``Registry``; and the last argument too.
    """
    options = {"isolation": isolation, "everything_in_processes": everything_in_processes}
    return Recipe(
        preload="bridge.worker.preload:adapters",
        run="bridge.worker.agent:run",
        argument=json.dumps({"adapters": list(specs), **options}),
        about=", ".join(specs),
    )


def command(recipe: Recipe, control: int) -> list[str]:
    """What to run.

    Args:
        recipe: for what.
        control: the descriptor of the zygote's socket.
    """
    program = [_BOOTSTRAP] if recipe.runtime else ["-c", _PROGRAM]
    path = [] if recipe.python else sys.path
    return [interpreter(recipe.python), *program, str(control), *path]


def environment(recipe: Recipe) -> dict[str, str] | None:
    """In what to run it; ``None``: in ours."""
    if recipe.environ is not None:
        return dict(recipe.environ)
    if not recipe.python:
        return None
    return {name: value for name, value in os.environ.items() if name not in _OF_THE_INTERPRETER}


def interpreter(python: str) -> str:
    """The absolute path of an interpreter, which need not exist.

    Args:
        python: as in ``Recipe``; a mere name is searched in ``PATH``.
    """
    if not python:
        return sys.executable
    if os.sep not in python:
        import shutil  # with all that it takes to unpack archives

        python = shutil.which(python) or python
    # Links stay: that of a venv leads out of it.
    path = Path(python).expanduser().absolute()
    return str(path / "bin" / "python") if path.is_dir() else str(path)
