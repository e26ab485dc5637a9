"""When a plugin ends, and that it does.

Why it ends: its host asks for it, SIGTERM, the end of its terminal (SIGHUP), a file that appears, or the host is gone.
SIGINT is ignored, as Ctrl-C in a terminal reaches plugins too, and it is for their host to say what it means.

The host is gone when the process that has started the plugin has ended, or when nobody reads the plugin's real stderr
any more, which tells also where a shell lies between the two. A plugin that nobody is connected to then ends
``linger`` seconds later; one that somebody is connected to, as hosts can take over a plugin of another one, when that
one has been gone for as long. A host that was connected, lives on and does not come back ends it after
``disconnect_timeout``.

Whoever has to end does: after ``limit`` seconds a thread ends the process, whatever the event loop is busy with. So it
does when the host is gone and the event loop has not answered for ``STUCK_LIMIT``, or, where nobody else is connected
either, for ``STUCK_ALONE_LIMIT``. Only code in C that keeps Python's
global lock can prevent it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from bridge.goplugin.output.output_buffer import STDERR
from bridge.goplugin.serving.shutdown_file import wait_for_file
from bridge.parent_watch import ParentWatch

__all__ = ["FORCED_EXIT", "LIMIT", "STUCK_LIMIT", "EndRules", "Lifetime", "limit_exit"]

LIMIT = 1.8
"""Seconds from the wish that a plugin ends to its end by force. go-plugin's hosts kill after two, and then nobody would
remove its sockets."""
STUCK_LIMIT = 5.0
"""Seconds that an event loop may be blocked when the host is gone, and another one is connected."""
STUCK_ALONE_LIMIT = 0.3
"""The same when none is."""
LOOK_INTERVAL = 1.0
"""Seconds between two looks at the event loop of a plugin whose host is gone, but not all who are connected."""
FORCED_EXIT = 1
"""Exit code of a plugin that was ended by force."""

log = logging.getLogger("bridge.goplugin")

_launcher = os.getppid()
"""Who has started us: looked at before anything is imported that takes long, as it may end meanwhile."""


def _find_launcher() -> None:
    global _launcher
    _launcher = os.getppid()


os.register_at_fork(after_in_child=_find_launcher)


class EndRules(msgspec.Struct, frozen=True, kw_only=True):
    """What ends a plugin beside its host's wish."""

    exit_with_host: bool = True
    """Whether it ends when its host is gone."""
    linger: float = 1.0
    """Seconds that it waits for another host then."""
    disconnect_timeout: float = 60.0
    """Seconds that it waits for a host that is disconnected and still alive; 0: for ever."""
    shutdown_file: str = ""
    """A file that ends it when it appears, and is removed; empty: none."""
    limit: float = LIMIT
    """Seconds that it has for its end."""


class Lifetime:
    """Decides when this process ends as a plugin. From ``start`` on, in a running event loop.

    Args:
        rules: of one's own, instead of the usual ones.
        test: whether nothing ends it but ``request``, and signals are left alone: for tests and debuggers.
        log_out: descriptor of the real stderr, where a forced end is told, and which tells of the host's end if it is a
            pipe; open until ``close``. -1: none.
        cleanup: removes what must not stay behind, before a forced end; called from a thread.
        is_connected: says whether a host is connected that has none of the streams that ``connected`` counts; called
            from a thread, too.
    """

    def __init__(
        self,
        rules: EndRules | None = None,
        *,
        test: bool = False,
        log_out: int = -1,
        cleanup: Callable[[], object] = lambda: None,
        is_connected: Callable[[], bool] = lambda: False,
    ) -> None:
        self._rules = rules or EndRules()
        self._test, self._log_out = test, log_out
        self._cleanup, self._is_connected = cleanup, is_connected
        self._streams = 0
        self._was_connected = self._host_is_gone = False
        self._timer: asyncio.TimerHandle | None = None
        self._watch: ParentWatch | None = None
        self._file_task: asyncio.Task[None] | None = None
        self._handlers: dict[int, Any] = {}
        self._over, self._ending = threading.Event(), threading.Lock()
        self._guard: threading.Thread | None = None

    def start(self) -> None:
        """Begins to watch. Signals are taken over if this is the main thread."""
        self._loop = asyncio.get_running_loop()
        self._why: asyncio.Future[str] = self._loop.create_future()
        if self._test:
            return
        if threading.current_thread() is threading.main_thread():
            self._take_signals()
        if self._rules.shutdown_file:
            self._file_task = self._loop.create_task(self._end_by_file(Path(self._rules.shutdown_file)))
        if self._rules.exit_with_host:
            self._watch = ParentWatch(
                _pipe(self._log_out), reads=True, limit=self._rules.linger, end=self._end_if_stuck, parent=_launcher
            )
            self._watch.tell(lambda: self._call_soon(self._lose_host))

    def close(self) -> None:
        """Lets the process live on: it has ended as a plugin. Signals do what they did before."""
        self._over.set()
        if self._watch is not None:
            self._watch.close()
        if self._file_task is not None:
            self._file_task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._handlers.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, handler)
        self._handlers.clear()

    async def wait(self) -> str:
        """Returns when the plugin has to end; why: ``sigterm``, ``sighup``, ``shutdown_file``, ``host_gone``,
        ``disconnected``, or what ``request`` was given."""
        return await asyncio.shield(self._why)

    def request(self, why: str) -> None:
        """Has the plugin end. Only the first reason counts. In the event loop."""
        self._begin_limit()
        if not self._why.done():
            log.debug("the plugin ends: %s", why)
            self._why.set_result(why)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """In which a host is connected: around the streams that it has open as long as that."""
        self._streams += 1
        self._was_connected = True
        try:
            yield
        finally:
            self._streams -= 1
            self._look()

    def _lose_host(self) -> None:
        self._host_is_gone = True
        self._look()

    def _look(self) -> None:
        """Begins to wait for a host, if there is none and that is to have an end."""
        if self._watch is None or self._streams or self._over.is_set():
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._host_is_gone:
            self._timer = self._loop.call_later(self._rules.linger, self._give_up, "host_gone")
        elif self._was_connected and self._rules.disconnect_timeout:
            self._timer = self._loop.call_later(self._rules.disconnect_timeout, self._give_up, "disconnected")

    def _give_up(self, why: str) -> None:
        if self._streams:
            return  # somebody has come, and the last to go begins anew
        if self._is_connected():
            self._look()
        else:
            self.request(why)

    async def _end_by_file(self, path: Path) -> None:
        await wait_for_file(path)
        self.request("shutdown_file")

    def _take_signals(self) -> None:
        handled: tuple[tuple[int, Callable[[], None]], ...] = (
            (signal.SIGINT, lambda: log.debug("SIGINT is ignored: it is for the host to end its plugins")),
            (signal.SIGTERM, lambda: self.request("sigterm")),
            (signal.SIGHUP, lambda: self.request("sighup")),
        )
        for number, act in handled:
            before = signal.getsignal(number)
            if before is None or (number != signal.SIGTERM and before is signal.SIG_IGN):
                continue  # somebody else's in C; or the host wants it ignored, by all that we start, too
            if number == signal.SIGHUP and before is not signal.SIG_DFL:
                continue  # to the author it means something else, such as to read a configuration again
            self._handlers[number] = before
            self._loop.add_signal_handler(number, act)
            if number != signal.SIGINT:
                # Where Python runs signal handlers, as the loop may be blocked; the loop is woken all the same.
                signal.signal(number, self._on_end)

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        self._begin_limit()

    def _begin_limit(self) -> None:
        if self._guard is None and not self._test:
            self._guard = threading.Thread(target=self._enforce, name="plugin-end", daemon=True)
            self._guard.start()

    def _enforce(self) -> None:
        if not self._over.wait(self._rules.limit):
            self._end("did not end in time")

    def _end_if_stuck(self) -> None:
        """Returns when the process need not be ended for being stuck without its host."""
        answered = threading.Event()
        while not self._over.is_set():
            self._call_soon(answered.set)
            limit = STUCK_LIMIT if self._is_connected() else STUCK_ALONE_LIMIT
            if not answered.wait(limit) and not self._over.is_set():
                self._end("has lost its host, and its event loop is blocked")
            answered.clear()
            self._over.wait(LOOK_INTERVAL)

    def _call_soon(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function)

    def _end(self, why: str) -> None:
        self._ending.acquire()  # once
        _end_by_force(self._log_out, why, self._cleanup)


def limit_exit() -> None:
    """Has a process that was a plugin end by force if it has not ended after ``LIMIT`` seconds: threads that are no
    daemons and functions registered with ``atexit`` would keep it for ever, and its host may be gone."""
    guard = threading.Timer(LIMIT, _end_by_force, (STDERR, "did not end in time"))
    guard.daemon = True
    guard.start()


def _end_by_force(log_out: int, why: str, cleanup: Callable[[], object] = lambda: None) -> None:
    try:
        _say(log_out, f"the plugin {why}; it is ended by force")
        cleanup()
    finally:
        os._exit(FORCED_EXIT)


def _pipe(fd: int) -> int | None:
    """A descriptor of its own for a pipe; None for anything else."""
    try:
        return os.dup(fd) if stat.S_ISFIFO(os.fstat(fd).st_mode) else None
    except OSError:
        return None


def _say(fd: int, text: str) -> None:
    """Writes a line, unless nobody reads or has read enough for it not to wait. Not by logging, whose locks may be held
    by who is stuck."""
    poll = select.poll()
    try:
        poll.register(fd, select.POLLOUT)
        if poll.poll(0):
            os.write(fd, f"[ERROR] bridge: {text}\n".encode())
    except (OSError, ValueError):
        pass
