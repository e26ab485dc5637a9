"""The process that workers are forked from.

It is prepared once, which imports what is to be imported, and then only forks, kills and reaps. It has one thread and
runs no event loop, so a fork of it is a healthy process; and it is the parent of all workers, so no number it kills can
be another process's. A nursery starts it (``bridge.worker.nursery``) and talks to it by ``zygote_messages``.

When the server is gone, even by SIGKILL, the control socket ends, and the kernel tells. Then all workers are killed,
with their groups, before anything else happens; then what had left a group, and was adopted when its worker ended. A
worker and its group are killed by the kernel when the zygote is gone.
"""

from __future__ import annotations

import atexit
import faulthandler
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

from .death import (
    adopt_orphans,
    children,
    die_as_group_with,
    die_with_parent,
    kill_group,
    prefer_as_oom_victim,
)
from .limits import check_limits, set_limits
from .zygote_messages import (
    MAX_PACKET,
    Begun,
    Born,
    Exited,
    Fork,
    Kill,
    Message,
    NotBorn,
    Ready,
    Setup,
    StartFailed,
    read,
    write,
)

__all__ = ["main"]

_LAST_WORDS = 1
"""Seconds that the end may take, with what the preparation has registered with ``atexit``."""

Run = Callable[[socket.socket, Any], Any]


def main(control: int) -> None:
    """Runs a zygote; returns in a worker, too, when that has done its work.

    Args:
        control: descriptor of the socket to the nursery.
    """
    parent = os.getppid()
    die_with_parent(parent)  # an import may hang
    faulthandler.enable()
    _print_by_lines()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server
    sys.argv[:] = ["bridge-worker"]
    sock = socket.socket(fileno=control)
    packet, fds = _receive(sock)
    setup = read(packet) if packet else None
    if not isinstance(setup, Setup):
        return  # the server was gone before we began
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # who started us may have blocked some
    try:
        _send(sock, Begun(".".join(map(str, sys.version_info[:3]))))
        if setup.parent != parent:
            raise RuntimeError("its parent is not the server: the interpreter is a script that starts another one")
        run, prepared = _prepare(setup, fds[0])
    except BaseException as error:  # noqa: BLE001 - whatever an import raises, such as SystemExit
        _send(sock, _start_failed(error))
        sys.exit(1)
    born = Zygote(sock, parent, setup.limits).serve()
    if born is not None:
        run(born, prepared)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    try:
        packet, fds, _, _ = socket.recv_fds(sock, MAX_PACKET, 2)
    except ConnectionError:
        return b"", []
    for fd in fds:
        os.set_inheritable(fd, False)  # ``recv_fds`` of Python takes flags for that, and does not pass them on
    return packet, fds


def _print_by_lines() -> None:
    """Native code, too, lets go of what it prints at the end of a line, so that it is known whose it was."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(libc, "stdout")
    except (ImportError, ValueError):
        return  # a Python that was built without it, or a library of C that calls it something else
    libc.setvbuf(stdout, None, 1, ctypes.c_size_t(0))  # _IOLBF of glibc and musl


def _send(sock: socket.socket, message: Message) -> None:
    try:
        sock.send(write(message))
    except ConnectionError:
        pass  # the next read tells


def _prepare(setup: Setup, argument: int) -> tuple[Run, Any]:
    with open(argument, encoding="utf-8") as file:
        text = file.read()
    check_limits(setup.limits)
    run: Run = _function(setup.run)
    prepared = _function(setup.preload)(text)
    # Native libraries start threads when they are imported, and look after them at a fork; those of Python are told
    # about in ``Ready``.
    warnings.filterwarnings("ignore", r"This process \(pid=\d+\) is multi-threaded", DeprecationWarning)
    gc.collect()
    gc.freeze()  # what the collector does not touch stays shared with the workers
    return run, prepared


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _start_failed(error: BaseException) -> StartFailed:
    import traceback

    reason, message = getattr(error, "reason", None), getattr(error, "message", None)
    if not isinstance(reason, str) or not isinstance(message, str):  # it is not one of ours
        reason, message = type(error).__name__, "".join(traceback.format_exception_only(type(error), error)).strip()
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    # Four bytes is the longest character, and three texts share a packet.
    return StartFailed(*map(_sendable, (message[:2048], reason[:256], trace[-8192:])))


def _sendable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


class Zygote:
    """Forks, kills and reaps for a nursery.

    Args:
        control: the socket to the nursery.
        parent: process id of the server.
        limits: of each worker, as in ``Setup``.
    """

    def __init__(self, control: socket.socket, parent: int, limits: dict[str, int]) -> None:
        self._control = control
        self._parent = parent
        self._limits = limits
        self._workers: set[int] = set()
        self._wake, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._life, self._life_write = os.pipe2(os.O_CLOEXEC)  # nobody writes; it ends with us

    def serve(self) -> socket.socket | None:
        """Returns when the server is gone; and in each worker with its socket."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _only_wake)
        # From here on the death of the parent has to be told to the workers. A service manager that stops the server
        # sends SIGTERM to each process: ours does not mean us, the server has calls to end.
        signal.signal(signal.SIGTERM, _only_wake)
        adopt_orphans()
        die_with_parent(self._parent, signal.SIGTERM)
        names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        _send(self._control, Ready([name[:128] for name in names[:16]]))

        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while os.getppid() == self._parent:
            ready = {fd for fd, _ in poll.poll()}
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._reap()
            if self._control.fileno() in ready:
                packet, fds = _receive(self._control)
                if not packet:
                    break
                born = self._obey(packet, fds)
                if born is not None:
                    return born
        self._end()
        return None

    def _obey(self, packet: bytes, fds: list[int]) -> socket.socket | None:
        message = read(packet)
        if isinstance(message, Fork):
            return self._fork(message.id, *fds)
        if isinstance(message, Kill) and message.pid in self._workers:
            kill_group(message.pid, message.signal)
        return None

    def _fork(self, number: int, sock: int, output: int) -> socket.socket | None:
        sys.stdout.flush()
        sys.stderr.flush()
        zygote = os.getpid()
        # A signal for the worker waits until it has handlers of its own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
        except OSError as error:
            pid = -1
            _send(self._control, NotBorn(number, str(error)[:1024]))
        if pid == 0:
            self._become_worker(zygote, output)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if pid == 0:
            return socket.socket(fileno=sock)
        if pid > 0:
            self._adopt(pid)
            _send(self._control, Born(number, pid))
        os.close(sock)  # the end of a worker must be the end of its socket
        os.close(output)
        return None

    def _adopt(self, pid: int) -> None:
        try:
            os.setpgid(pid, pid)  # the worker does so, too: nobody knows who is first, and a kill may come next
        except OSError:
            pass  # it has ended
        self._workers.add(pid)

    def _become_worker(self, zygote: int, output: int) -> None:
        die_with_parent(zygote)
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_as_group_with(self._life)
        for fd in (self._wake, self._wake_write, self._life, self._life_write):
            os.close(fd)
        self._control.close()
        for fd in (1, 2):
            os.dup2(output, fd)
        os.close(output)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)  # a crash loses no complete line
        atexit._clear()  # what the preparation has opened is the zygote's to close
        prefer_as_oom_victim()
        _reseed()
        set_limits(self._limits)

    def _reap(self) -> None:
        """Reaps who has ended: workers, and orphans of theirs."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            if pid in self._workers:
                kill_group(pid, signal.SIGKILL)  # the number is taken as long as nobody has reaped it
                self._workers.remove(pid)
                _send(self._control, _exited(pid, os.waitpid(pid, 0)[1]))
            else:
                os.waitpid(pid, 0)

    def _end(self) -> None:
        """Kills everything, the workers first; what left its worker's group has become our child meanwhile."""
        for pid in self._workers:
            kill_group(pid, signal.SIGKILL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_LAST_WORDS)
        while left := children():
            for pid in left:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _exited(pid: int, status: int) -> Exited:
    if os.WIFSIGNALED(status):
        return Exited(pid, None, os.WTERMSIG(status))
    return Exited(pid, os.WEXITSTATUS(status), None)


def _only_wake(number: int, frame: object) -> None:
    """Wakes the loop, as each signal with a handler does (``signal.set_wakeup_fd``)."""


def _reseed() -> None:
    """Workers must not draw the same numbers. Python sees to ``random`` at each fork; numpy's has to be told."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
