"""How processes end: with their parent, as a group, and what is told about it.

The calls are Linux's: prctl(2), fcntl(2) for the signal of a pipe, and pid_namespaces(7) for who becomes the parent of
an orphan.
"""

from __future__ import annotations

import os
import signal
from typing import NamedTuple

__all__ = [
    "Exit",
    "adopt_orphans",
    "children",
    "die_as_group_with",
    "die_with_parent",
    "kill_group",
    "prefer_as_oom_victim",
]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_OOM_SCORE = 300
"""Thousandths of the memory of the machine that a worker seems to need on top of what it does (proc(5))."""


class Exit(NamedTuple):
    """How a process ended."""

    code: int | None = None
    """What it exited with."""
    signal: int | None = None
    """What killed it."""

    @classmethod
    def from_returncode(cls, returncode: int) -> Exit:
        """From ``subprocess.Popen.returncode``."""
        return cls(signal=-returncode) if returncode < 0 else cls(code=returncode)

    def describe(self) -> str:
        """For people: ``exit code 3``, ``signal SIGSEGV (Segmentation fault)``."""
        if self.signal is None:
            return f"exit code {self.code}"
        try:
            name = signal.Signals(self.signal).name
        except ValueError:  # a real-time signal
            name = str(self.signal)
        meaning = signal.strsignal(self.signal)
        return f"signal {name} ({meaning})" if meaning else f"signal {name}"


def die_with_parent(parent: int, sig: int = signal.SIGKILL) -> None:
    """Asks the kernel for a signal when the parent is gone, however it went; ends at once if it is gone already.

    "Parent" is the *thread* that started this process: the end of that thread alone is enough for the kernel.

    Args:
        parent: process id of the parent.
        sig: what to get; another one takes the place of an earlier one.
    """
    _prctl(_PR_SET_PDEATHSIG, sig)
    if os.getppid() != parent:  # it was gone before we asked
        os._exit(1)


def die_as_group_with(pipe: int) -> None:
    """Asks the kernel to kill all of our process group when the last write end of a pipe is closed.

    Which is also when all who held one were killed in the same instant, and nobody is left to kill for them. Keeps a
    descriptor open. Best effort: /proc may be missing.

    Args:
        pipe: a read end; others may ask for their groups by the same one.
    """
    import fcntl

    try:
        own = os.open(f"/proc/self/fd/{pipe}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    fcntl.fcntl(own, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)


def adopt_orphans() -> None:
    """Makes this process the parent of all below it that lose theirs, so that it can reap them.

    Otherwise they go to the first process of the machine or container, which may be a server that reaps nothing.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """Our child processes, zombies and adopted ones too; none, if this kernel does not tell (proc(5))."""
    try:
        with open("/proc/thread-self/children", "rb") as file:  # noqa: PTH123 - as little as possible
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def kill_group(pid: int, sig: int) -> None:
    """Sends a signal to all processes of the group that ``pid`` leads; does nothing if there are none.

    Only for a group whose leader the caller has not reaped yet, or whose number cannot have been given again.
    """
    try:
        os.killpg(pid, sig)
    except ProcessLookupError:
        pass
    except PermissionError:
        pass  # each of them took another user's identity


def prefer_as_oom_victim() -> None:
    """When memory runs out the kernel takes a worker rather than its server. Best effort: /proc may be missing."""
    try:
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:  # noqa: PTH123 - once in each worker
            score = min(1000, int(file.read()) + _OOM_SCORE)
            file.write(str(score).encode())
    except (OSError, ValueError):
        pass


def _prctl(option: int, value: int) -> None:
    try:
        import ctypes
    except ImportError:  # a Python that was built without it; the ends of sockets tell, too
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
