"""No worker outlives its BEAM, and nothing that it has started does.

A BEAM that is gone closes the pipe that is the worker's stdin, and takes the process along that has started the worker
(``erl_child_setup`` of Erlang's ports). Both are waited for by a thread, so that neither an import nor a tool has to
end before somebody looks.
"""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path
from typing import NoReturn

from bridge.parent_watch import ParentWatch
from bridge.runtime.death import adopt_orphans, die_with_parent
from bridge.worker.memory import tree

__all__ = ["become_group_leader", "end_everything", "watch_beam"]

GRACE = 0.5
"""Seconds that running tools have when the BEAM is gone."""
_LAST_RESORT = 1
"""Seconds after which the kernel ends a worker whose interpreter does nothing."""


def watch_beam() -> ParentWatch:
    """Watches the BEAM: from here on this process does not outlive it by more than ``GRACE``.

    stdin is taken: what the process reads from it afterwards is empty.
    """
    _end_even_if_stuck(os.getppid())
    return ParentWatch(_take_stdin(), reads=True, limit=GRACE, end=end_everything)


def become_group_leader() -> None:
    """Makes this process the leader of a session and of a process group, if it is none yet."""
    if os.getpgrp() != os.getpid():
        os.setsid()


def end_everything() -> NoReturn:
    """Kills all that this process has started and is not cut off from it, and then itself, by SIGKILL."""
    signal.alarm(_LAST_RESORT)  # the kernel may keep a process for longer than anybody wants to wait
    adopt_orphans()  # so that nothing is lost whose parent is killed before it
    own = os.getpid()
    while others := [pid for pid in tree(own) if pid != own]:
        for pid in others:
            _kill(pid)
        for pid in others:
            _reap(pid)
    try:
        os.write(2, b"bridge: the BEAM is gone, and so is its worker\n")
    except OSError:
        pass  # usually nobody reads that any more
    if os.getpgrp() == own:
        os.killpg(own, signal.SIGKILL)
    os.kill(own, signal.SIGKILL)
    raise AssertionError  # for type checkers


def _take_stdin() -> int | None:
    """The pipe from the BEAM, if stdin is one. Nobody else reads it, nor inherits it."""
    try:
        mode = os.fstat(0).st_mode
        own = os.dup(0) if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None
    except OSError:
        return None  # stdin is closed
    if own is not None:
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
    return own


def _end_even_if_stuck(parent: int) -> None:
    """Has the kernel end this process a second after its parent, though a tool may hold the interpreter by then.

    "Parent" is a thread for the kernel. Where the parent has one only, the end of that is the end of the process; with
    others we might be ended too soon, and rely on our own thread alone.
    """
    import ctypes

    try:
        if len(os.listdir(f"/proc/{parent}/task")) != 1:  # noqa: PTH208 - names are enough
            return
        libc = ctypes.CDLL(None)
        handler = ctypes.cast(libc.alarm, ctypes.c_void_p)
    except (OSError, AttributeError):
        return
    # A handler that is no Python: alarm(2) gets the signal's number for seconds, and that of SIGHUP is 1.
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal(signal.SIGHUP, handler)
    die_with_parent(parent, signal.SIGHUP)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or took another user's identity


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # not our child, or not any more
