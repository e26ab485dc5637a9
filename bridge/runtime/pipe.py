"""The worker's end of the pipe to its server."""

from __future__ import annotations

import select
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Callable

from .cancel_event import CancelEvent
from .frames import FrameReader
from .mailbox import Mailbox
from .shared import ANCILLARY_SIZE, CLOEXEC, descriptors
from .shared import send as send_some
from .watcher import Watcher

__all__ = ["Interruption", "Pipe"]

_READ = 64 * 1024
_MOST_READ = 1024 * 1024


class Interruption(BaseException):
    """Raised by a signal handler where the main thread waits for the server."""


class Pipe:
    """Sends and receives messages. It belongs to the thread that makes it, the main one; others may use it, too.

    Args:
        sock: a connected stream socket, which from now on is the pipe's.
        on_message: acts upon a message, quickly, in whatever thread reads.
        on_lost: called when nothing will come any more, with the error, if it was one.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[list[Any]], None],
        on_lost: Callable[[BaseException | None], None],
    ) -> None:
        sock.setblocking(True)
        sock.set_inheritable(False)
        self._sock = sock
        self._on_message = on_message
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._sending = threading.Lock()
        self._thread = threading.get_ident()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._watcher = Watcher(sock, self._receive_now)
        self._descriptors: deque[int] = deque()
        self.waiting: deque[bytes] = deque()
        """Frames that go before the next one that is sent: what was logged."""
        self.is_lost = False
        self.is_waiting = False
        """Whether the main thread waits for the server, and may be interrupted."""

    def forget(self) -> None:
        """In a child that a tool has forked: it must not talk in the name of the worker, nor keep its pipe open."""
        self.is_lost = True
        self._sock.close()

    def fileno(self) -> int:
        """The descriptor, for event loops."""
        return self._sock.fileno()

    def close(self) -> None:
        """Ends the pipe. For its own thread, when no other uses it any more; a process that ends need not."""
        self.is_lost = True
        self._watcher.close()
        self._sock.close()

    # -- sending, in any thread ------------------------------------------------------------------------------------

    def send(self, data: bytes, fd: int = -1) -> None:
        """Sends a frame, maybe with a descriptor, which stays the caller's. Waits until there is room for it; does
        nothing if the server is gone, which reading tells."""
        with self._sending:
            while self.waiting:
                self._write(self.waiting.popleft())
            self._write(data, fd)
        if self.waiting:  # came meanwhile, and whoever brought it has left it to us
            self.send_waiting()

    def send_waiting(self) -> None:
        """Sends what waits, unless somebody sends something just now, who then takes it along."""
        while self.waiting and self._sending.acquire(blocking=False):
            try:
                while self.waiting:
                    self._write(self.waiting.popleft())
            finally:
                self._sending.release()

    def _write(self, data: bytes, fd: int = -1) -> None:
        try:
            sent = send_some(self._sock, [data], fd) if fd >= 0 else 0
            self._sock.sendall(memoryview(data)[sent:] if sent else data)
        except OSError:
            pass

    # -- receiving -------------------------------------------------------------------------------------------------

    def take_descriptor(self) -> int:
        """The descriptor that came with the message at hand. Raises ``ValueError`` if there is none."""
        if not self._descriptors:
            raise ValueError("the message came without the memory that it announces")
        return self._descriptors.popleft()

    @property
    def is_own_thread(self) -> bool:
        """Whether this is the thread that runs the tools."""
        return threading.get_ident() == self._thread

    def read_until(self, done: Callable[[], Any], deadline: float | None = None) -> None:
        """Reads until something is so, in the main thread; also returns when its ``time.monotonic()`` has come, or
        nothing will."""
        self._watcher.claim()
        try:
            while True:
                # Before it is looked whether to wait at all: a signal comes before or interrupts. And it is put back
                # before this block is left, so that no interruption gets out of it.
                self.is_waiting = True
                if done() or self.is_lost or not self._may_read(deadline):
                    self.is_waiting = False
                    return
                self._receive(0)
        except Interruption:
            pass
        finally:
            self._watcher.resign()

    def leave_to_watcher(self) -> None:
        """The main thread has something else to do, which may take long."""
        self._watcher.resign()

    @contextmanager
    def reading_elsewhere(self) -> Iterator[None]:
        """While an event loop reads, in the main thread, by ``read_now``."""
        self._watcher.claim()
        try:
            yield
        finally:
            self._watcher.resign()

    @contextmanager
    def being_read(self) -> Iterator[None]:
        """While this thread waits for something that comes by the pipe, which somebody has to read."""
        self._watcher.need()
        try:
            yield
        finally:
            self._watcher.no_need()

    def read_now(self) -> None:
        """Reads what is there."""
        self._receive_now()

    def wait(self, mailbox: Mailbox, deadline: float | None, cancelled: CancelEvent | None) -> None:
        """Returns when there is something in a mailbox, its time has come, nothing will, or the call is cancelled.
        Blocks."""
        if self._watcher.is_current_thread:
            raise RuntimeError("this blocks, and here is the thread that would have to read the answer")
        if mailbox.by_pipe and self.is_own_thread:
            self.read_until(lambda: mailbox.items or (cancelled is not None and cancelled.is_set()), deadline)
            return
        ready = threading.Event()
        mailbox.wake = ready.set
        if cancelled is not None:
            cancelled.add_callback(ready.set)
        try:
            with self.being_read():
                if not mailbox.items and not self.is_lost:
                    ready.wait(None if deadline is None else max(0.0, deadline - monotonic()))
        finally:
            if cancelled is not None:
                cancelled.discard_callback(ready.set)
            mailbox.wake = None

    def _may_read(self, deadline: float | None) -> bool:
        """Waits for something to read if there is a deadline; whether there is."""
        if deadline is None:
            return True
        remaining = deadline - monotonic()
        return remaining > 0 and bool(self._poll.poll(max(1, int(remaining * 1000))))

    def _receive_now(self) -> bool:
        return self._receive(socket.MSG_DONTWAIT)

    def _receive(self, flags: int) -> bool:
        """Reads once. Returns whether more may come."""
        if self.is_lost:
            return False
        size = min(max(_READ, self._reader.missing), _MOST_READ)
        try:
            data, ancillary, _, _ = self._sock.recvmsg(size, ANCILLARY_SIZE, flags | CLOEXEC)
            self.is_waiting = False
            if data:
                if ancillary:
                    self._descriptors += descriptors(ancillary)
                for message in self._reader.feed(data):
                    self._on_message(message)
                return True
            error: BaseException | None = None
        except BlockingIOError:
            return True
        except Exception as failure:  # noqa: BLE001 - the pipe is broken, or nonsense came by it
            error = failure
        self.is_lost = True
        self._on_lost(error)
        return False
