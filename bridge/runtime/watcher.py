"""The thread that reads the pipe while the main thread runs a tool.

Handing each call to a thread would cost more than the rest of the call. So the main thread reads, and runs the tools;
the watcher looks now and then, and takes over the reading only when a tool has run for some milliseconds, or when
another thread waits for an answer. When no calls come it sleeps.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import Callable

__all__ = ["Watcher"]

TICK = 0.01
"""Seconds between two looks while calls come. A tool that has run from one look to the next is a long one."""
IDLE_TICKS = 5
"""Looks without any call after which it sleeps."""


class Watcher:
    """Reads when the main thread does not.

    Args:
        sock: what is read.
        receive: reads what is there, without waiting, and acts upon it; returns whether more may come.
    """

    def __init__(self, sock: socket.socket, receive: Callable[[], bool]) -> None:
        self._receive = receive
        self._lock = threading.Lock()
        """Held while it is decided who reads, and by the watcher while it reads."""
        self._main_reads = True
        self._is_watching = False
        self._turns = 0
        """How often the main thread has begun to do something else than to read."""
        self._needed = 0
        """Threads that wait for an answer."""
        self._is_parked = True
        self._kick = threading.Lock()
        """Free: there is something to do."""
        self._kick.acquire()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._wake, self._wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wake_write, False)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    # -- the main thread -----------------------------------------------------------------------------------------

    def claim(self) -> None:
        """From here on the main thread reads; what the watcher has read is acted upon."""
        with self._lock:
            self._main_reads = True
            was_watching, self._is_watching = self._is_watching, False
        if was_watching:
            os.write(self._wake_write, b"\0")

    def resign(self) -> None:
        """From here on the main thread does something else."""
        self._turns += 1
        self._main_reads = False
        if self._is_parked or self._needed:
            self._go()

    def close(self) -> None:
        """Ends the watcher."""
        self._is_closed = True
        if self._thread is not None:
            self._go()
            os.write(self._wake_write, b"\0")
            self._thread.join()
        os.close(self._wake)
        os.close(self._wake_write)

    # -- other threads -------------------------------------------------------------------------------------------

    @property
    def is_current_thread(self) -> bool:
        """Whether this is the watcher, which must not wait for what it has to read itself."""
        return self._thread is threading.current_thread()

    def need(self) -> None:
        """This thread is going to wait for something that comes by the pipe: somebody has to read."""
        with self._lock:
            self._needed += 1
        if not self._main_reads:
            self._go()

    def no_need(self) -> None:
        """It waits no longer."""
        with self._lock:
            self._needed -= 1

    # -- the watcher ---------------------------------------------------------------------------------------------

    def _go(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="bridge-watcher", daemon=True)
            self._thread.start()
        try:
            self._kick.release()
        except RuntimeError:
            pass  # it has been told, and has not looked yet

    def _run(self) -> None:
        while not self._is_closed:
            self._kick.acquire()
            self._is_parked = False
            self._look_now_and_then()

    def _look_now_and_then(self) -> None:
        turns, idle = -1, 0
        while not self._is_closed:
            self._kick.acquire(timeout=TICK)
            if not self._main_reads and (self._needed or turns == self._turns):
                if not self._watch():
                    return
                idle = 0
            idle = idle + 1 if turns == self._turns else 0
            turns = self._turns
            if idle >= IDLE_TICKS:
                self._is_parked = True
                if self._main_reads:
                    return
                self._is_parked = False  # a call has come in the last moment, and nobody was told

    def _watch(self) -> bool:
        """Reads until the main thread does. Returns whether more may come."""
        with self._lock:
            if self._main_reads:
                return True
            self._is_watching = True
        while True:
            ready = self._poll.poll()
            with self._lock:
                if any(fd == self._wake for fd, _ in ready):
                    os.read(self._wake, 4096)
                if not self._is_watching or self._is_closed:
                    return True
                if not self._receive():
                    self._is_watching = False
                    return False
