"""What a zygote calls in a plugin's interpreter: ``preload`` once, ``run`` in each worker."""

from __future__ import annotations

import _thread
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from .adapter import Adapter
from .adapters import AdapterPlugin
from .loading import load_class
from .objects import ObjectPlugin
from .pipe import Interruption
from .plugins import Plugin
from .worker import TERMINATED, Worker

__all__ = ["Prepared", "preload", "run"]

STOP_TIME = 0.4
"""Seconds after SIGTERM that calls and the plugin have to end; SIGKILL follows soon."""


class Prepared(NamedTuple):
    """What all workers of a plugin start with."""

    plugin: Plugin
    config: Mapping[str, Any] | None


def preload(argument: str) -> Prepared:
    """Imports a plugin and reads its tools.

    Args:
        argument: JSON: ``adapter`` (``package.module:Class`` or ``path/to/file.py:Class``), ``path`` (folders to search
            for modules, before all others), ``config`` (an object; ``null``: there is none).

    Raises ``BridgeError`` FAILED_PRECONDITION that says what to do.
    """
    given = json.loads(argument)
    sys.path[:0] = given.get("path") or []
    spec = given["adapter"]
    cls = load_class(spec)
    plugin = AdapterPlugin(cls, spec) if issubclass(cls, Adapter) else ObjectPlugin(cls, spec)
    if plugin.needs_loop:
        from . import loops  # noqa: F401 - here once, instead of in every worker
    return Prepared(plugin, given.get("config"))


def run(sock: socket.socket, prepared: Prepared) -> NoReturn:
    """Runs a worker in a process of its own, which ends with it.

    Args:
        sock: its end of the pipe.
        prepared: what ``preload`` returned.
    """
    code = 1
    try:
        worker = Worker(prepared.plugin, sock, _orphaned)
        _obey_sigterm(worker)
        os.register_at_fork(after_in_child=worker.pipe.forget)
        code = worker.serve(prepared.config)
    except BaseException:  # noqa: BLE001 - the process ends, and says why
        import traceback

        _last_words(traceback.format_exc())
    # Threads of tools that do not end must not keep the process, nor may what was registered before the fork run.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001, S110 - closed, or nobody reads it
            pass
    os._exit(code)


def _obey_sigterm(worker: Worker) -> None:
    def terminate(number: int, at: object) -> None:
        _thread.start_new_thread(_exit_soon, ())  # without the locks of ``threading``, which we may be in the middle of
        worker.terminate()
        if worker.pipe.is_waiting:
            worker.pipe.is_waiting = False
            raise Interruption

    def hold() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def let_go() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def forget() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        let_go()

    signal.signal(signal.SIGTERM, terminate)
    # A child that a tool has forked dies of SIGTERM, as everybody expects, however early it comes.
    os.register_at_fork(before=hold, after_in_parent=let_go, after_in_child=forget)


def _exit_soon() -> None:
    import time

    time.sleep(STOP_TIME)
    os._exit(TERMINATED)


def _orphaned(error: BaseException | None) -> None:
    """Ends the process and its group at once."""
    if error is not None and not isinstance(error, OSError):  # no end of the server, but nonsense on the pipe
        import traceback

        _last_words("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _last_words(text: str) -> None:
    """Writes to stderr as much as there is room for; never blocks and never raises."""
    try:
        os.set_blocking(2, False)
        os.write(2, text.encode("utf-8", "replace"))
    except OSError:
        pass  # nobody is there to read it
