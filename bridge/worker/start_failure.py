"""What is said when a process that workers are forked from cannot be started, or is gone."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.runtime.death import Exit
from bridge.worker.obituary import excerpt
from bridge.worker.recipe import Recipe, interpreter

__all__ = ["failed", "gone", "no_room", "not_run", "timed_out"]

_OF_THE_RECIPE = frozenset((errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC, errno.ELOOP, errno.EPERM))
"""Errors of exec(2) and chdir(2) that another path would not have."""


def failed(
    recipe: Recipe, what: str, output: Sequence[str] = (), *, cause: str = "", trace: str | None = None
) -> BridgeError:
    """FAILED_PRECONDITION, reason ``WORKER_START_FAILED``.

    Args:
        recipe: of what was to be started.
        what: the problem.
        output: what was printed last.
        cause: the reason of the problem.
        trace: its traceback.
    """
    python = f" on {recipe.python}" if recipe.python else ""
    return BridgeError(
        Code.FAILED_PRECONDITION,
        f"a process with {recipe.about}{python} cannot be started: {what}{_last(output)}",
        reason="WORKER_START_FAILED",
        details=ErrorDetails(metadata={"cause": cause} if cause else {}, debug=trace),
    )


def not_run(recipe: Recipe, error: OSError) -> BridgeError:
    """The interpreter was not even begun: as ``failed``, or as ``no_room``."""
    if error.errno not in _OF_THE_RECIPE:
        return no_room(str(error))
    if recipe.cwd is not None and error.filename == recipe.cwd:
        return failed(recipe, f"it cannot work in {recipe.cwd}: {error.strerror}", cause="BAD_WORKING_DIRECTORY")
    path = Path(interpreter(recipe.python))
    link = f", it leads to {path.readlink()}" if path.is_symlink() else ""
    return failed(recipe, f"{path} cannot be run: {error.strerror}{link}", cause="BAD_INTERPRETER")


def timed_out(recipe: Recipe, output: Sequence[str]) -> BridgeError:
    """DEADLINE_EXCEEDED, reason ``WORKER_START_TIMEOUT``."""
    return BridgeError(
        Code.DEADLINE_EXCEEDED,
        f"importing {recipe.about} takes more than {recipe.start_timeout:g} seconds: do long work in "
        f"lifespan, or allow more time{_last(output)}",
        reason="WORKER_START_TIMEOUT",
    )


def no_room(problem: str) -> BridgeError:
    """RESOURCE_EXHAUSTED, reason ``WORKER_START_FAILED``."""
    return BridgeError(
        Code.RESOURCE_EXHAUSTED,
        f"the system starts no more processes ({problem}): raise its limits, or have fewer workers",
        reason="WORKER_START_FAILED",
    )


def gone(exit_: Exit | None = None) -> BridgeError:
    """UNAVAILABLE, reason ``ZYGOTE_GONE``."""
    how = f"has ended with {exit_.describe()}" if exit_ is not None else "is not running"
    return BridgeError(Code.UNAVAILABLE, f"the process that workers are forked from {how}", reason="ZYGOTE_GONE")


def _last(output: Sequence[str]) -> str:
    text = excerpt(output)
    return f"; its last output:\n{text}" if text else ""
