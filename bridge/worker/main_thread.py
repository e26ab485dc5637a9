"""The main thread of a worker, which runs its event loop and its plain tools, in turns.

A call that goes to another thread and back costs more than all else that a worker does for it. So the loop stands
still while a plain tool runs, as nearly all do, for a moment. If one takes longer, or somebody needs the loop, be it
the tool itself, another thread goes on with the loop, the deputy, until the tool has ended.

    main     loop ─▶ tool ─▶ loop ─▶ tool that takes long ───────▶ loop
    deputy                               └─▶ loop ────────────────┘
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

from bridge.executors._jobs import Job, JobPlace
from bridge.invocation import Invocation

__all__ = ["MainThread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PATIENCE = 0.005
"""Seconds that the loop stands still, if nobody asks for it; little beside the grace of a cancelled tool."""


class MainThread(JobPlace):
    """Runs an event loop, and the blocking code of one invocation at a time. An ``Executor``."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.is_free = True
        """Whether it can be given an invocation."""
        self._loop = _Loop(self._want)
        self._job: Job | None = None
        """What comes next."""
        self._lock = threading.Lock()
        self._is_away = False
        """A job runs, and the loop does not, unless the deputy has it."""
        self._is_deputized = False
        self._is_wanted = False
        self._since = 0.0
        """When the last job began."""
        self._back = threading.Lock()
        """Held by the main thread; let go of by the deputy when it gives the loop back."""
        self._back.acquire()
        self._failure: BaseException | None = None
        """What has ended the loop while the deputy had it."""
        self._alarm = _Alarm()
        self._is_watched = False
        """The alarm is set. It is left to go off even if the job ends before: to set it costs more than to be woken now
        and then."""
        self._deputy: threading.Thread | None = None
        self._is_over = False

    def live(self, main: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end, once; to be called in the main thread. What it leaves behind is not ended."""
        # Not made the loop of this thread: a tool that asks for one must not get this.
        try:
            task = self._loop.create_task(main)
            task.add_done_callback(lambda _: self._loop.stop())
            while not task.done():
                self._loop.run_forever()
                if self._job is not None:
                    self._do()
            return task.result()
        finally:
            self._end()

    async def run(self, invocation: Invocation) -> Any:
        """Runs an invocation, as all executors do."""
        self.is_free = False
        self.cancelled = invocation.context.cancelled
        try:
            return await invocation.run(self)
        finally:
            self.is_free = True

    async def aclose(self) -> None:
        """Lets go whoever waits for a job that does not end."""
        self.abandon()

    # -- the main thread -----------------------------------------------------------------------------------------

    def _take(self, job: Job) -> None:
        if self._deputy is None:
            self._deputy = threading.Thread(target=self._live_as_deputy, name="bridge-deputy", daemon=True)
            self._deputy.start()
        self._job = job
        self._loop.stop()

    def _do(self) -> None:
        job, self._job = self._job, None
        assert job is not None  # noqa: S101 - the caller has looked
        with self._lock:
            self._is_away, self._since = True, time.monotonic()
            if not self._is_watched:
                self._is_watched = True
                self._alarm.set(PATIENCE)
        job.run()
        with self._lock:
            self._is_away = False
            was_deputized = self._is_deputized
        if was_deputized:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._back.acquire()
            self._is_deputized = False
            if self._failure is not None:
                raise self._failure
        job.finish()

    def _end(self) -> None:
        self._is_over = True
        if self._deputy is not None:
            self._alarm.set(0.0)
            self._deputy.join()
        self._alarm.close()
        self._loop.close()

    # -- the deputy ----------------------------------------------------------------------------------------------

    def _want(self) -> None:
        """Somebody needs the loop."""
        if self._is_away and not self._is_deputized:
            self._is_wanted = True
            self._alarm.set(0.0)

    def _live_as_deputy(self) -> None:
        while True:
            self._alarm.wait()
            if self._is_over:
                return
            with self._lock:
                if not self._takes_over():
                    continue
                self._is_deputized = True
            try:
                self._loop.run_forever()
            except BaseException as error:  # noqa: BLE001 - the main thread raises it
                self._failure = error
            self._back.release()

    def _takes_over(self) -> bool:
        is_wanted, self._is_wanted = self._is_wanted, False
        left = self._since + PATIENCE - time.monotonic()
        if self._is_away and left > 0 and not is_wanted:
            self._alarm.set(left)
            return False
        self._is_watched = False
        return self._is_away and not self._is_deputized


class _Loop(asyncio.SelectorEventLoop):
    """Tells when somebody needs it who is not in it."""

    def __init__(self, on_wanted: Callable[[], None]) -> None:
        self._on_wanted = on_wanted
        super().__init__()

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        self._on_wanted()
        return handle


class _TimerSpec(ctypes.Structure):
    """``struct itimerspec``: an interval, and the time to the first end."""

    _fields_ = [("every", ctypes.c_long * 2), ("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Alarm:
    """A clock that wakes a thread, and costs nobody a change of threads until then: timerfd_create(2)."""

    def __init__(self) -> None:
        libc = ctypes.PyDLL(None, use_errno=True)  # without letting go of the interpreter: it is over at once
        self._fd: int = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._settime = libc.timerfd_settime
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.POINTER(_TimerSpec), ctypes.c_void_p)

    def set(self, seconds: float) -> None:
        """Goes off after so many seconds instead of any other time."""
        nanoseconds = max(1, round(seconds * 1e9))  # 0 would be never
        self._settime(self._fd, 0, _TimerSpec(nanoseconds=nanoseconds), None)

    def wait(self) -> None:
        """Blocks until it has gone off."""
        os.read(self._fd, 8)

    def close(self) -> None:
        """Lets go of it."""
        os.close(self._fd)
