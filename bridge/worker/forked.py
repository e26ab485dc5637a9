"""A zygote that is a fork of its server, and so has what that has imported: it costs no time, and hardly any memory.

Only a process that has nothing but its imports yet can be forked into one: no event loop, no gRPC, and no threads that
a fork would miss.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import traceback
import warnings
from pathlib import Path
from typing import NoReturn

import msgspec

from bridge.worker.pipes import open_pipes
from bridge.worker.recipe import Recipe

__all__ = ["Forked", "count_threads", "fork_zygote", "take"]

_NEEDED = ("bridge.worker.preload", "bridge.worker.agent")
"""What every zygote imports; this one as long as it is not told what to prepare."""
_NAME = b"bridge-worker"


class Forked(msgspec.Struct):
    """A process, as much of a ``subprocess.Popen`` as is asked of a zygote."""

    pid: int
    control: socket.socket
    """Our end of its socket; the next two belong to who takes this."""
    output: int
    """Read end of what it prints to."""
    returncode: int | None = None

    def wait(self) -> int:
        """What ``Popen.wait`` returns."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


_spare: Forked | None = None


def count_threads() -> int:
    """How many threads this process has, also those that Python knows nothing of; 0: nobody tells."""
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are enough
    except OSError:
        return 0


def fork_zygote(threads: int) -> None:
    """Forks one; the first zygote that the server's own adapters need will be this.

    If it cannot be had, or what was imported has started threads, which a fork would be without, that first one is
    started as any other.

    Args:
        threads: ``count_threads()`` of before the adapters were imported.
    """
    global _spare
    if not 0 < count_threads() <= threads:
        return
    try:
        _spare = _fork()
    except OSError:
        pass  # who needs it will say so


def take(recipe: Recipe) -> Forked | None:
    """The zygote that was forked, if it is one for a recipe and nobody else has it."""
    global _spare
    if recipe.python or recipe.runtime or recipe.environ is not None or recipe.cwd is not None:
        return None
    spare, _spare = _spare, None
    return spare


def _fork() -> Forked:
    control, theirs, output, output_write = open_pipes(socket.SOCK_SEQPACKET)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # The other threads wait in the kernel.
            warnings.filterwarnings("ignore", r"This process \(pid=\d+\) is multi-threaded", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            control.close()
            os.close(output)
            _live(theirs.fileno(), output_write)
    except OSError:
        control.close()
        os.close(output)
        raise
    finally:
        theirs.close()
        os.close(output_write)
    return Forked(pid, control, output)


def _live(control: int, output: int) -> NoReturn:
    """The life of the child. Nothing of its parent's is left to be done."""
    code = 1
    try:
        _become_another(output)
        for name in _NEEDED:
            importlib.import_module(name)
        from bridge.runtime.zygote import main

        main(control)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - the process ends, and says why
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _become_another(output: int) -> None:
    """What an ``exec`` would have done, and a new interpreter."""
    os.setsid()  # Ctrl-C and the end of a terminal are for the server
    _rename()
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for fd in (1, 2):
        os.dup2(output, fd)
    os.close(output)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    atexit._clear()  # what was opened is the server's to close
    gc.enable()


def _rename() -> None:
    """Takes the server's name from the process: who counts servers by their command lines shall not count it."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5)
    except (OSError, ValueError, IndexError):
        return
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, _NAME, min(len(_NAME), end - start - 1))
