"""One worker, as the server sees it: a pipe, a process that can be killed, and at most one call."""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Self

from bridge.call import ToolCall, time_remaining
from bridge.call_path import CALL_PATH, name_in_headers, path_below
from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.status import read_status
from bridge.telemetry.propagation import TRACE_HEADERS, outgoing
from bridge.tool_messages import pack_call
from bridge.worker import frames, lending
from bridge.worker.connection import Connection
from bridge.worker.journal import Journal
from bridge.worker.obituary import died, excerpt, with_output
from bridge.worker.output import Output
from bridge.worker.pulse import Pulse
from bridge.worker.questions import Questions
from bridge.worker.running import RunningCall

if TYPE_CHECKING:
    from bridge.worker.nursery import Newborn

__all__ = ["NotTaken", "Worker"]

TERM_GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL."""
TELL_WITHIN = 0.05
"""Seconds that a call of a dead worker waits to learn how it died."""
SHUTDOWN_GRACE = 2.0
"""Seconds a worker that is told to end has to leave the lifespans of its adapters."""
FRAME_MARGIN = 1024 * 1024
"""Bytes that a frame may be longer than the longest message: headers, log records."""

log = logging.getLogger("bridge.worker")
_tool_log = logging.getLogger("bridge.tool")


@lru_cache(maxsize=1)
def _attributes(factory: Callable[..., logging.LogRecord]) -> frozenset[str]:
    """Attributes that records have by themselves, also those of a library with a record factory of its own."""
    return frozenset(vars(factory("", 0, "", 0, "", (), None))) | {"message", "asctime"}


class NotTaken(BridgeError):
    """A worker has died before it got the call, which is still to be run."""

    def __init__(self, pid: int) -> None:
        super().__init__(Code.UNAVAILABLE, f"worker {pid} died before it got the call", reason="WORKER_DIED")


class Worker:
    """A process that runs one call at a time.

    Args:
        newborn: the process, as its nursery has made it.
        kill: sends a signal to the group of a process.
        grace: seconds a cancelled tool has to end before it is killed.
        redact: hide what it printed from the callers of a worker that died.
        journal: where all that it prints and logs goes, too; what it printed at last is then a note of its errors.
    """

    def __init__(
        self,
        newborn: Newborn,
        kill: Callable[[int, int], None],
        grace: float,
        *,
        redact: bool = False,
        journal: Journal | None = None,
    ) -> None:
        self.pid = newborn.pid
        self.exited = newborn.exited
        """Done when the process is reaped: how it ended."""
        self.since = time.monotonic()
        self.calls = 0
        """Calls it was given."""
        self.tools = b""
        """``bridge.v1.ListToolsResponse``: what it can run; there when it was started."""
        self.is_ending = False
        """Whether it is to end: its death will be none of its own."""
        self._kill, self._grace, self._redact = kill, grace, redact
        self._journal = journal
        self._output = Output(newborn.output, newborn.pid, journal)
        self._pulse = Pulse(self._send_ping, self._on_pulse)
        self._connection: Connection
        self._max_shared = 0
        self._questions: Questions
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._numbers = itertools.count(1)
        self._call: RunningCall | None = None
        self._last_call = 0
        self._lost = asyncio.Event()
        """Nothing will come by the pipe any more."""
        self._failure: BridgeError | None = None
        self._burial: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        newborn: Newborn,
        kill: Callable[[int, int], None],
        settings: frames.Settings,
        *,
        grace: float = 1.0,
        timeout: float = 30.0,
        journal: Journal | None = None,
    ) -> Self:
        """A worker that takes calls.

        Raises ``BridgeError``: what an adapter's lifespan failed with; UNAVAILABLE, reason ``WORKER_DIED``;
        DEADLINE_EXCEEDED, reason ``WORKER_START_TIMEOUT``, after ``timeout`` seconds. No process is left then.
        """
        worker = cls(newborn, kill, grace, redact=settings.redact, journal=journal)
        worker._max_shared = settings.max_shared_bytes
        worker._connection = await Connection.open(
            newborn.sock,
            frames.FromWorker,
            settings.max_message_bytes + FRAME_MARGIN,
            worker._on_message,
            worker._on_lost,
            settings.max_shared_bytes,
        )
        worker._questions = Questions(worker._connection)
        newborn.exited.add_done_callback(lambda _: worker._begin_burial())
        worker._connection.send(settings)
        try:
            async with asyncio.timeout(timeout):
                await worker._ready
        except BaseException as error:
            worker.kill()
            await worker.shut_down()
            if isinstance(error, TimeoutError):
                raise with_output(_too_late(worker.pid, timeout), worker._output.tail()) from None
            worker._note_output(error)
            raise
        return worker

    @property
    def usable(self) -> bool:
        """Whether it can be given a call."""
        return self._burial is None and not self.is_ending and self._connection.is_open

    @property
    def is_unresponsive(self) -> bool:
        """Whether it runs a call and does not hear what it is told: something holds its interpreter, or blocks its
        event loop. It may end by itself."""
        return self._pulse.is_silent

    async def ping(self, timeout: float) -> bool:
        """Whether it answers within so many seconds, whatever it runs."""
        return self.usable and await self._pulse.ping(timeout)

    # -- calls ---------------------------------------------------------------------------------------------------

    async def run(self, request: ToolCall) -> Any:
        """Runs a call. After a cancel it returns when the worker has answered or is reaped.

        Raises ``BridgeError``: what the tool raised; UNAVAILABLE, reason ``WORKER_DIED``, if the worker dies first;
        DATA_LOSS, reason ``BAD_FRAME``, if it talks nonsense; ``NotTaken``.
        """
        message, fd, shared = await lending.pack(
            partial(pack_call, request.tool, request.arguments, request.session_id, request.metadata),
            request.arguments.values(),
            self._max_shared,
            f"a call of tool {request.tool!r}",
        )
        call = self._begin(request, message, fd, shared)
        try:
            if not self._connection.is_open:
                raise NotTaken(self.pid)
            return await call.relay(self._connection.send, self._misbehaved)
        except NotTaken:
            raise
        except BaseException as error:
            if call.end is None:
                await self._stop(call)
            if error is self._failure:
                self._output.drain()
                lines = [] if self._redact else self._output.tail()
                raise with_output(self._failure, lines, request.tool) from None
            self._note_output(error)
            raise
        finally:
            self._call = None
            self._pulse.end()
            self._output.end()

    def _note_output(self, error: BaseException) -> None:
        if self._journal is not None and error.__class__ is BridgeError:
            self._output.drain()
            if text := excerpt(self._output.tail()):
                error.add_note(f"it printed at last:\n{text}")

    def _begin(self, request: ToolCall, message: bytes, fd: int, shared: int) -> RunningCall:
        # No other header: credentials of the caller are not the tool's business.
        headers = dict(outgoing(request.headers))
        if path := request.headers.get(CALL_PATH):
            headers[CALL_PATH] = path
        number = self._last_call = next(self._numbers)
        call = self._call = RunningCall(number, request, self._failure)
        self.calls += 1
        self._output.begin(number, request, headers)
        self._pulse.begin(number)
        remaining = time_remaining(request.deadline)
        streaming, plain = request.streaming, request.plain
        frame = frames.Call(number, message, headers, remaining, request.principal, streaming, shared, plain)
        self._connection.send(frame, fd)
        return call

    async def _stop(self, call: RunningCall) -> None:
        """Ends a call whose result nobody wants. Returns when it has ended, however often it is cancelled."""
        call.stop()
        ending = asyncio.ensure_future(self._end(call))
        cancelled: asyncio.CancelledError | None = None
        while not ending.done():
            try:
                await asyncio.wait((ending,))
            except asyncio.CancelledError as error:
                cancelled = error
        ending.result()
        if cancelled is not None:
            raise cancelled

    async def _end(self, call: RunningCall) -> None:
        self._connection.send(frames.Cancel(call.id))
        try:
            async with asyncio.timeout(0 if self.is_unresponsive else self._grace):
                await call.wait()
        except TimeoutError:
            log.warning("worker %d did not end a cancelled call of %s", self.pid, call.request.tool)
            self.is_ending = True
            await self._terminate()
        if self._burial is not None:
            await asyncio.wait((self._burial,))

    # -- what the worker says ------------------------------------------------------------------------------------

    def _on_message(self, message: Any) -> None:
        call = self._call
        match message:
            case frames.Result() | frames.Error():
                if call is None or message.id != call.id or call.end is not None:
                    self._misbehaved(f"ended call {message.id}, which was not running")
                else:
                    call.ended(message, self._connection.claim())
            case frames.Chunk():
                self._on_chunk(call, message)
            case frames.Ask():
                self._on_ask(call, message)
            case frames.AskCancel():
                self._questions.cancel(message.id)
            case frames.AskCredit():
                self._questions.credit(message.id, message.answers)
            case frames.Log():
                self._on_log(call, message)
            case frames.Pong():
                self._pulse.answered(message.id)
            case frames.Ready() if not self._ready.done():
                self.tools = message.tools
                self._ready.set_result(None)
            case frames.Failed() if not self._ready.done():
                self._ready.set_exception(read_status(message.status))
            case _:
                self._misbehaved(f"sent {type(message).__name__} out of turn")

    def _on_chunk(self, call: RunningCall | None, message: frames.Chunk) -> None:
        if call is not None and message.id == call.id:
            problem = call.add(message.chunk, self._connection.claim())
        elif message.id > self._last_call:
            problem = f"sent a chunk of call {message.id}, which was never made"
        else:
            problem = ""  # a note of progress from a thread that outlived its call
        if problem:
            self._misbehaved(problem)

    def _on_ask(self, call: RunningCall | None, ask: frames.Ask) -> None:
        if call is not None and ask.call == call.id:
            self._questions.ask(ask, call.request.host, _scope(call.request, ask))
        elif 0 < ask.call <= self._last_call:
            message = "the call has ended: await what a tool asks its host before it returns"
            self._questions.refuse(ask, BridgeError(Code.FAILED_PRECONDITION, message, reason="CALL_ENDED"))
        else:
            self._misbehaved(f"asked on behalf of call {ask.call}, which was never made")

    def _on_log(self, call: RunningCall | None, message: frames.Log) -> None:
        if self._journal is not None:
            text = f"{logging.getLevelName(message.level)} {message.logger}: {message.message}\n"
            self._journal.write(text.encode("utf-8", "replace"))
        if _tool_log.isEnabledFor(message.level) and self._output.allowance.take():
            taken = _attributes(logging.getLogRecordFactory())
            fields: dict[str, Any] = {key: value for key, value in message.fields.items() if key not in taken}
            is_of_call = call is not None and message.call == call.id
            fields |= self._output.fields if is_of_call else {"pid": self.pid}
            fields["worker_logger"] = message.logger
            _tool_log.log(message.level, "%s", message.message, extra=fields)

    def _send_ping(self, number: int) -> None:
        self._connection.send(frames.Ping(number))

    def _on_pulse(self) -> None:
        problem = (
            "is unresponsive: the tool holds its interpreter or blocks its event loop; it is killed at the deadline of "
            "the call, if that does not end before"
        )
        what = problem if self.is_unresponsive else "is responsive again"
        log.warning("worker %d %s", self.pid, what, extra=self._output.fields)

    # -- how it ends ---------------------------------------------------------------------------------------------

    def shut_down(self) -> asyncio.Task[None]:
        """Tells it to end, and ends it if it does not or runs a call. Returns at once; the task is done when it is
        reaped and nothing of it is left."""
        self.is_ending = self.is_ending or self.usable  # what dies already does so by itself
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._shut_down())
        return self._ending

    async def _shut_down(self) -> None:
        if self._call is None:
            self._connection.send(frames.Shutdown())
            await asyncio.wait((self.exited,), timeout=SHUTDOWN_GRACE)
        await self._terminate()
        if self._burial is not None:
            await asyncio.wait((self._burial,))

    async def _terminate(self) -> None:
        if not self.exited.done() and not self.is_unresponsive:  # else it would not hear that either
            self._kill(self.pid, signal.SIGTERM)
            await asyncio.wait((self.exited,), timeout=TERM_GRACE)
        if not self.exited.done():
            self.kill()
            await asyncio.wait((self.exited,))

    def kill(self) -> None:
        """Kills it and all that it has started."""
        self._kill(self.pid, signal.SIGKILL)

    def _misbehaved(self, problem: str) -> None:
        self._fail(BridgeError(Code.DATA_LOSS, f"worker {self.pid} {problem}", reason="BAD_FRAME"))
        self.kill()

    def _on_lost(self, error: BaseException | None) -> None:
        self._lost.set()
        if isinstance(error, BridgeError):
            self._fail(error)
        self._begin_burial()

    def _begin_burial(self) -> None:
        if self._burial is None:
            self._burial = asyncio.get_running_loop().create_task(self._bury())

    async def _bury(self) -> None:
        """Waits for both signs of its death, the end of the pipe and the reaped process: the first tells that nothing
        more will come, the second why. A call does not wait for long."""
        lost = asyncio.ensure_future(self._lost.wait())
        await asyncio.wait((self.exited, lost), timeout=TELL_WITHIN)
        lost.cancel()
        if not self.exited.done():
            self.kill()  # it has closed its pipe, and so is of no use
        self._questions.cancel_all()
        self._pulse.close()
        self._fail(died(self.pid, self.exited.result() if self.exited.done() else None))
        self._connection.close()
        await asyncio.wait((self.exited,))
        self._output.close()

    def _fail(self, error: BridgeError) -> None:
        """Ends what waits for the worker; the first error counts."""
        self._failure = self._failure or error
        if not self._ready.done():
            self._output.drain()
            self._ready.set_exception(with_output(self._failure, self._output.tail()))
        if self._call is not None:
            self._call.ended(self._failure)


def _scope(request: ToolCall, ask: frames.Ask) -> CallScope:
    """On whose behalf a worker asks: who calls and in which session is known here; its word counts for the way that a
    call has come, and for the time."""
    headers = {key: value for key, value in ask.headers.items() if key in TRACE_HEADERS}
    path, claimed = path_below(request), ask.headers.get(CALL_PATH, "")
    headers[CALL_PATH] = claimed if claimed.startswith(f"{path},") else path
    deadline = None if ask.remaining is None else time.monotonic() + ask.remaining
    return CallScope(request.session_id, deadline, headers, f"tool:{name_in_headers(request)}", request.principal)


def _too_late(pid: int, seconds: float) -> BridgeError:
    message = f"worker {pid} was not ready after {seconds:g} s: what do the lifespans of its adapters wait for?"
    return BridgeError(Code.DEADLINE_EXCEEDED, message, reason="WORKER_START_TIMEOUT")
