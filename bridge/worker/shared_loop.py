"""An event loop for code that blocks: whoever calls drives it.

A thread that waits for a coroutine runs the loop itself until the coroutine is done, so a call costs no change of
threads. Threads that call meanwhile hand their coroutine over and wait; when the driver's own is done, one of them
drives on. If nobody calls for a while, or a coroutine is there that no thread waits for, the loop's own thread drives,
until the next caller takes its place. At every moment at most one thread drives.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import Future as ThreadFuture
from contextlib import suppress
from typing import Any, TypeVar

from bridge.errors import BridgeError, Code

__all__ = ["SharedLoop"]

T = TypeVar("T")

IDLE = 0.05
"""Seconds without a call after which, and at most twice as late, the loop's own thread drives."""
LOOK_UP = 0.5
"""Seconds after which a thread that waits looks for signals: one that comes when it begins to wait does not wake it."""
STOP_TIMEOUT = 5.0
"""Seconds that coroutines have to end when the loop is closed."""

log = logging.getLogger("bridge.worker")

# What ``signal`` is made of, without the enums around it: they would cost more than all else that a call does here.
_signal: Any = sys.modules.get("_signal", signal)
_SIGINT, _raise = int(signal.SIGINT), signal.default_int_handler


class _Loop(asyncio.SelectorEventLoop):
    def __del__(self) -> None:
        """Nothing: it is closed by its owner. In a forked child that would take the parent's descriptors out of the
        set that both wait for."""


class _Turn:
    """A coroutine, and a thread that waits for it and drives the loop if it has to."""

    __slots__ = ("coroutine", "error", "interrupts", "is_over", "result", "task", "told")

    def __init__(self, coroutine: Any = None) -> None:
        self.coroutine: Coroutine[Any, Any, Any] = coroutine
        self.task: asyncio.Task[Any] | None = None
        """In which it runs; there when it has begun to."""
        self.told: threading.Lock | None = None
        """Held while another thread drives; let go of when the coroutine is done, or its thread is to drive."""
        self.interrupts = 0
        """How often its thread was interrupted."""
        self.is_over = False
        """Its thread waits no longer: there is a result, or an error, or it has given up."""
        self.result: Any = None
        self.error: BaseException | None = None

    def tell(self) -> None:
        """Lets its thread go on."""
        if self.told is not None:
            self.told.release()


class SharedLoop:
    """Runs coroutines for threads that wait for them.

    In a process that was forked it refuses everything: its connections are the parent's.

    Args:
        name: of its thread.
        last: what is run when it is closed, at the latest at the end of the interpreter.
    """

    def __init__(self, name: str, last: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._last = last
        self._loop = _Loop()
        self._lock = threading.Lock()
        self._driver: _Turn | None = None
        """Whose turn it is. Taken under the lock if it is nobody's; passed on by the driver only."""
        self._waiting: dict[_Turn, None] = {}
        """Those that wait while another one drives, first come first."""
        self._background = _Turn()
        """The turns of the loop's own thread."""
        self._turns = 0
        self._submitted = 0
        """Coroutines that no thread waits for."""
        self._wake = threading.Event()
        self._refusal: tuple[str, str] | None = None
        """Reason and message, once no more coroutines are taken."""
        self._is_ended = False
        _loops.add(self)
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it takes no more coroutines."""
        return self._refusal is not None

    @property
    def is_here(self) -> bool:
        """Whether this is code that runs in the loop."""
        return asyncio._get_running_loop() is self._loop

    # -- for callers ---------------------------------------------------------------------------------------------

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the context of the caller and returns its result.

        Ctrl-C cancels it, and is ``KeyboardInterrupt`` when it has ended, or at once if it comes again. A thread whose
        own event loop runs, as in a notebook, may call too: that loop stands still meanwhile.

        Raises ``BridgeError`` FAILED_PRECONDITION, reason ``CLOSED``, before or meanwhile; ``FORKED``; ``WOULD_BLOCK``
        in the loop itself.
        """
        running = asyncio._get_running_loop()
        if running is None:
            result: T = self._run(_Turn(coroutine), self._join)
            return result
        if running is self._loop:
            coroutine.close()
            raise _refused("WOULD_BLOCK", "a blocking call in a callback would wait for itself: use the async one")
        return _wait_for(self.submit(coroutine))

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> ThreadFuture[T]:
        """Runs a coroutine in the context of the caller, who goes on. Raises as ``run`` does."""
        with self._lock:
            if self._refusal is not None:
                coroutine.close()
                raise _refused(*self._refusal)
            future = self._submit(coroutine)
        future.add_done_callback(self._forget)
        return future

    def call_soon(self, function: Callable[[], object]) -> None:
        """Calls a function in the loop, within two times ``IDLE`` if nobody drives; not at all once it is closed.

        Takes no lock and does not wait, so it is for finalizers, which run wherever the collector finds them.
        """
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Runs the last coroutine, cancels all others, and ends the thread. Repeating it is harmless, from any thread
        but in the loop itself."""
        with self._lock:
            if self._refusal is not None:
                return
            self._refusal = _CLOSED
        try:
            if asyncio._get_running_loop() is None:
                self._run(_Turn(self._end()), self._queue)
            else:
                with self._lock:
                    future = self._submit(self._end())
                _wait_for(future)
        finally:
            self._let_end()
            self._thread.join(STOP_TIMEOUT)

    def abandon(self) -> None:
        """Closes it without waiting, from a finalizer (see ``call_soon``)."""
        if self._refusal is None:
            self._refusal = _CLOSED
            self.call_soon(self._end_alone)

    # -- taking turns --------------------------------------------------------------------------------------------

    def _run(self, turn: _Turn, enter: Callable[[_Turn], None]) -> Any:
        if threading.get_ident() != threading.main_thread().ident or _signal.getsignal(_SIGINT) is not _raise:
            return self._take_turn(turn, enter)
        # An exception in the middle of what the loop does could lose what other threads wait for.
        _signal.signal(_SIGINT, lambda *_: self._interrupt(turn))
        try:
            return self._take_turn(turn, enter)
        finally:
            _signal.signal(_SIGINT, _raise)
            if turn.interrupts:
                raise KeyboardInterrupt

    def _take_turn(self, turn: _Turn, enter: Callable[[_Turn], None]) -> Any:
        try:
            with self._lock:
                enter(turn)
            if turn.told is not None:
                while not turn.told.acquire(timeout=LOOK_UP):  # until it is done, or ours to drive
                    pass
            if self._driver is turn:
                self._drive(turn)
                self._pass_on()
        except BaseException:  # also of a signal handler that raises wherever we are
            self._leave(turn)
            raise
        if turn.error is None:
            return turn.result
        try:
            raise turn.error
        except asyncio.CancelledError:
            if self._refusal is not None:
                raise _refused(*self._refusal) from None
            raise
        finally:
            turn.error = None  # else it would hold itself, by its traceback

    def _join(self, turn: _Turn) -> None:
        if self._refusal is not None:
            raise _refused(*self._refusal)
        self._queue(turn)

    def _queue(self, turn: _Turn) -> None:
        self._turns += 1
        if self._driver is None:
            self._driver = turn
        else:
            turn.told = threading.Lock()
            turn.told.acquire()
            self._waiting[turn] = None
            self._loop.call_soon_threadsafe(self._begin, turn)

    def _begin(self, turn: _Turn) -> None:
        self._loop.create_task(self._serve(turn))
        if self._driver is self._background:
            self._loop.stop()  # there is somebody now who drives anyway

    async def _serve(self, turn: _Turn) -> None:
        turn.task = asyncio.current_task()
        if turn.interrupts or turn.is_over:
            turn.task.cancel()  # type: ignore[union-attr]
        try:
            turn.result = await turn.coroutine
        except BaseException as error:  # noqa: BLE001 - the one who waits raises it
            turn.error = error
        if not turn.is_over:
            self._done(turn)

    def _drive(self, turn: _Turn) -> None:
        if turn.told is None:
            self._begin(turn)
        while not turn.is_over:
            self._loop.run_forever()

    def _done(self, turn: _Turn) -> None:
        """Lets its thread go on, which drives or waits."""
        turn.is_over = True
        if self._driver is turn:
            self._loop.stop()
        else:
            with self._lock:
                if turn in self._waiting:
                    del self._waiting[turn]
                    turn.tell()

    def _pass_on(self) -> None:
        with self._lock:
            turn = next(iter(self._waiting), None)
            if turn is not None:
                del self._waiting[turn]
                self._driver = turn
                turn.tell()
            else:
                self._driver = None
                if self._submitted:
                    self._call_background()

    def _leave(self, turn: _Turn) -> None:
        """Its thread goes, whatever has become of it."""
        turn.is_over = True
        with self._lock:
            self._waiting.pop(turn, None)
            is_driver = self._driver is turn
        if turn.task is not None:
            self.call_soon(turn.task.cancel)
        elif turn.told is None:
            turn.coroutine.close()
        if is_driver:
            self._pass_on()

    # -- Ctrl-C --------------------------------------------------------------------------------------------------

    def _interrupt(self, turn: _Turn) -> None:
        """In a signal handler, so without the lock, which this very thread may hold."""
        turn.interrupts += 1
        self.call_soon(lambda: self._on_interrupt(turn))

    def _on_interrupt(self, turn: _Turn) -> None:
        if turn.task is None or turn.is_over:
            return  # it is looked at when it begins
        if turn.interrupts == 1:
            turn.task.cancel()
        else:
            turn.error = asyncio.CancelledError()
            self._done(turn)

    # -- the loop's own thread -----------------------------------------------------------------------------------

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> ThreadFuture[T]:
        self._submitted += 1
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        if self._driver is None:
            self._call_background()
        return future

    def _forget(self, future: ThreadFuture[Any]) -> None:
        with self._lock:
            self._submitted -= 1

    def _call_background(self) -> None:
        self._driver = self._background
        self._wake.set()

    def _live(self) -> None:
        turns = 0
        while True:
            self._wake.wait(IDLE)
            self._wake.clear()
            with self._lock:
                if self._driver is None and turns == self._turns:
                    self._driver = self._background
                turns = self._turns
                if self._driver is not self._background:
                    continue
                if self._is_ended:
                    break
            try:
                self._loop.run_forever()
            except BaseException:  # what a callback has raised; others wait
                log.exception("a callback failed")
            self._pass_on()
        self._loop.close()

    # -- its end -------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        try:
            await self._last()
        finally:
            await asyncio.sleep(0)  # one that is cancelled before it has begun does not tell its thread
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
            await self._loop.shutdown_asyncgens()

    def _end_alone(self) -> None:
        self._ending = self._loop.create_task(self._end())
        self._ending.add_done_callback(lambda _: self._let_end())

    def _let_end(self) -> None:
        with self._lock:
            self._is_ended = True
            for turn in self._waiting:
                turn.is_over, turn.error = True, asyncio.CancelledError()
                turn.tell()
            self._waiting.clear()
            if self._driver is None:
                self._call_background()
            elif self._driver is self._background:
                self._loop.call_soon_threadsafe(self._loop.stop)
            else:
                self._loop.call_soon_threadsafe(self._dismiss, self._driver)

    def _dismiss(self, turn: _Turn) -> None:
        """Lets a driver go whose coroutine does not end."""
        if self._driver is turn and not turn.is_over:
            turn.error = asyncio.CancelledError()
            self._done(turn)

    def _forked(self) -> None:
        self._lock = threading.Lock()  # some thread may have held it
        self._refusal = ("FORKED", "it was made before a fork: make one in each process")


_CLOSED = ("CLOSED", "it is closed: make another one")
_loops: weakref.WeakSet[SharedLoop] = weakref.WeakSet()


def _close_all() -> None:
    for loop in tuple(_loops):
        loop.close()


def _after_fork() -> None:
    for loop in tuple(_loops):
        loop._forked()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)


def _wait_for(future: ThreadFuture[T]) -> T:
    try:
        return future.result()
    except CancelledError:
        raise _refused(*_CLOSED) from None
    except BaseException:
        future.cancel()
        raise


def _refused(reason: str, message: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, message, reason=reason)
