"""The worker's end of the pipe: runs the calls that come, as a server runs them inside itself.

A worker lives as long as its server. When the pipe ends it kills itself and all that its tools have started, before
anything else: there is nobody to tell, and what would be told might block.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, NoReturn

import msgspec

from bridge.call import NO_VALUE, ToolCall
from bridge.call import Chunk as ToolChunk
from bridge.call_path import ENCLOSING, Enclosing
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.executors.base import Executor
from bridge.executors.inline import InlineExecutor
from bridge.executors.thread import ThreadExecutor
from bridge.hosts.grpc import GrpcHost
from bridge.invocation import ErrorPolicy, Invocation
from bridge.registry import Entry, Registry
from bridge.runtime.shared import Memory
from bridge.session import SessionContext
from bridge.status import to_status
from bridge.tool_messages import message_too_large, pack_chunk, pack_result, read_call, unsupported_result
from bridge.tool_specs import pack_tools
from bridge.v1.bridge_pb2 import ExecuteToolRequest
from bridge.worker import frames, lending
from bridge.worker.connection import Connection
from bridge.worker.lending import viewed
from bridge.worker.logs import CURRENT_CALL, PipeHandler, installed
from bridge.worker.main_thread import MainThread
from bridge.worker.pipe_channel import OpenQuestions, PipeChannel

__all__ = ["Agent", "run"]

MAX_FRAME = 2**32 - 1
"""Bytes of a frame from the server, which has its own limits and is trusted."""
STOP_TIME = 0.2
"""Seconds that calls have to end after SIGTERM, and then lifespans; SIGKILL follows soon."""
FLUSH_TIME = 1.0
"""Seconds that the last messages have to go on their way."""
THREADS = 32
"""Plain tools at once. The server gives one call at a time; a thread that was given up is still there."""

TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM, as shells show it."""

log = logging.getLogger("bridge.worker")


def run(sock: socket.socket, registry: Registry) -> NoReturn:
    """Runs a worker in a process of its own, which ends with it.

    Args:
        sock: its end of the pipe.
        registry: the tools.
    """
    main_thread = MainThread()
    try:
        main_thread.live(_run(sock, registry, main_thread))
    except BaseException:  # noqa: BLE001 - the process ends, and says why
        _last_words(traceback.format_exc())
    _leave(1)


def _leave(code: int) -> NoReturn:
    """Ends the process. Threads of tools that do not end must not keep it, nor may what was registered before the fork
    run."""
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001, S110 - closed, not there, or nobody reads it
            pass


async def _run(sock: socket.socket, registry: Registry, main_thread: MainThread) -> None:
    agent = Agent(registry, _orphaned, main_thread)
    loop = asyncio.get_running_loop()

    def terminate() -> None:
        agent.stop()
        loop.call_later(2 * STOP_TIME, os._exit, TERMINATED)

    loop.add_signal_handler(signal.SIGTERM, terminate)
    _leave(await agent.serve(sock))  # from here: the main thread may have a tool that does not end


def _orphaned(error: BaseException | None) -> None:
    """Ends the process and its group at once."""
    if error is not None and not isinstance(error, OSError):  # no end of the server, but nonsense on the pipe
        _last_words("".join(traceback.format_exception(error)))
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


class _Running:
    """A call that has not been answered."""

    __slots__ = ("context", "credit", "error", "has_begun", "id", "is_batched", "sequence", "task")

    def __init__(self, number: int) -> None:
        self.id = number
        self.task: asyncio.Task[None]
        self.has_begun = False
        self.context: SessionContext | None = None
        self.credit = asyncio.Semaphore(frames.CREDIT)
        """Chunks that may be sent."""
        self.sequence = 0
        self.is_batched = False
        """Its chunks come several at once, while the tool goes on anyway. Those of others are sent before it does."""
        self.error: BridgeError | None = None
        """Why the worker itself has cancelled it."""

    def cancel(self) -> None:
        """Tells the tool that nobody waits for it."""
        if self.context is not None:
            self.context.cancelled.set()
        if not self.task.cancelling():  # one cancel is enough
            self.task.cancel()


class Agent:
    """Runs calls for the server at the other end of a pipe.

    Args:
        registry: the tools.
        orphaned: called when the pipe has ended, with the error, if it was one; need not return.
        main_thread: what runs the event loop, if it can run plain tools, too.
    """

    def __init__(
        self,
        registry: Registry,
        orphaned: Callable[[BaseException | None], object],
        main_thread: MainThread | None = None,
    ) -> None:
        self._registry = registry
        self._orphaned = orphaned
        self._settings = frames.Settings()
        self._policy = ErrorPolicy()
        self._inline = InlineExecutor()
        self._threads = ThreadExecutor(THREADS, 0)
        self._main_thread = main_thread
        self._calls: dict[int, _Running] = {}
        self._questions = OpenQuestions(self._send)
        self._connection: Connection
        self._log: PipeHandler
        self._stopping = self._terminated = self._closing = False
        self._idle = asyncio.Event()
        """No call is running that is waited for, and none will be."""
        self._gone = asyncio.Event()
        self._handlers: dict[type, Callable[[Any], None]] = {
            frames.Call: self._begin,
            frames.Cancel: self._cancel,
            frames.Credit: self._credit,
            frames.Answer: self._questions.answered,
            frames.AnswerEnd: self._questions.answered,
            frames.Settings: self._configure,
            frames.Ping: self._ping,
            frames.Shutdown: self._drain,
        }

    async def serve(self, sock: socket.socket) -> int:
        """Opens the adapters' lifespans and takes calls until it is told to end; returns an exit code."""
        self._connection = await Connection.open(sock, frames.FromServer, MAX_FRAME, self._on_message, self._on_lost)
        with installed(self._connection) as self._log:
            self._configure(self._settings)
            code = await self._live()
        await self._threads.aclose()
        if self._main_thread is not None:
            await self._main_thread.aclose()
        self._closing = True
        self._connection.close()
        try:
            async with asyncio.timeout(FLUSH_TIME):
                await self._gone.wait()
        except TimeoutError:
            pass  # the server does not read
        return code

    async def _live(self) -> int:
        is_ready = False
        try:
            before = asyncio.all_tasks()
            async with self._registry.open():
                if asyncio.all_tasks() != before:
                    self._main_thread = None  # what an adapter does on the loop stays in one thread
                self._send(frames.Ready(os.getpid(), pack_tools(self._registry.tools)))
                is_ready = True
                await self._idle.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if is_ready:
                log.error("the worker could not end in order", exc_info=error)
            else:
                traceback.print_exception(error)
                self._send(frames.Failed(_status(_start_failure(error))))
            return 1
        return TERMINATED if self._terminated else 0

    def _look(self) -> None:
        if self._stopping and not self._calls:
            self._idle.set()

    def _drain(self, _: object = None) -> None:
        self._stopping = True
        self._look()

    def stop(self) -> None:
        """Ends soon: cancels what runs, and gives it a short time."""
        self._terminated = True
        self._drain()
        for running in tuple(self._calls.values()):
            message = "the worker was told to end while the tool was running"
            running.error = BridgeError(Code.UNAVAILABLE, message, reason="SHUTDOWN")
            self._end_early(running)
        asyncio.get_running_loop().call_later(STOP_TIME, self._idle.set)

    # -- the pipe ------------------------------------------------------------------------------------------------

    def _send(self, message: frames.FromWorker) -> None:
        self._connection.send(message)

    def _on_message(self, message: Any) -> None:
        self._handlers[type(message)](message)

    def _on_lost(self, error: BaseException | None) -> None:
        self._gone.set()
        if not self._closing:
            self._orphaned(error)
            self._questions.end(BridgeError(Code.UNAVAILABLE, "the server is gone", reason="SERVER_GONE"))
            self.stop()

    def _configure(self, settings: frames.Settings) -> None:
        self._settings = settings
        self._policy = ErrorPolicy(settings.redact, settings.debug)
        self._questions.max_bytes = settings.max_message_bytes
        logging.getLogger().setLevel(settings.log_level.upper())

    def _ping(self, frame: frames.Ping) -> None:
        self._send(frames.Pong(frame.id))

    # -- calls ---------------------------------------------------------------------------------------------------

    def _begin(self, frame: frames.Call) -> None:
        if self._stopping:
            details = ErrorDetails(retry_after=0.1)
            error = BridgeError(Code.UNAVAILABLE, "the worker is ending", reason="DRAINING", details=details)
            self._send(frames.Error(frame.id, _status(error)))
            return
        running = self._calls[frame.id] = _Running(frame.id)
        memory = self._connection.claim()
        running.task = asyncio.get_running_loop().create_task(self._run(frame, running, memory))

    def _cancel(self, frame: frames.Cancel) -> None:
        running = self._calls.get(frame.id)
        if running is not None:  # else it has ended, and its answer is on its way
            self._end_early(running)

    def _end_early(self, running: _Running) -> None:
        running.cancel()
        if not running.has_begun:  # a task that is cancelled before its first step never makes one
            self._answer(running, frames.Error(running.id, _status(running.error or _cancelled())))

    def _credit(self, frame: frames.Credit) -> None:
        running = self._calls.get(frame.id)
        if running is not None:
            for _ in range(frame.chunks):
                running.credit.release()

    async def _run(self, frame: frames.Call, running: _Running, memory: Memory | None) -> None:
        running.has_begun = True
        answer: frames.Result | frames.Error
        fd = -1
        try:
            response, fd, shared = await self._execute(frame, running, memory)
            answer = frames.Result(frame.id, response, shared)
        except BaseException as error:  # noqa: BLE001 - a cancel, too, is answered
            failure = _cancelled() if isinstance(error, asyncio.CancelledError) else error
            answer = frames.Error(frame.id, _status(running.error or failure))
        self._answer(running, answer, fd)

    def _answer(self, running: _Running, answer: frames.Result | frames.Error, fd: int = -1) -> None:
        """Answers a call whose tool is dead."""
        del self._calls[running.id]
        _flush()  # what a call has printed and logged goes before its answer
        self._log.send_waiting()
        self._connection.send(answer, fd)
        self._look()

    async def _execute(self, frame: frames.Call, running: _Running, memory: Memory | None) -> tuple[bytes, int, int]:
        CURRENT_CALL.set(frame.id)
        request, arguments = await lending.read(memory, partial(read_call, frame.request, self._views))
        call = self._tool_call(frame, running, request, arguments)
        entry = self._registry[call.tool]
        context = running.context = SessionContext(call, asyncio.get_running_loop(), _task=running.task)
        enclosing = Enclosing(call, context.cancelled)
        ENCLOSING.set(enclosing)  # never reset: the task ends with the call
        running.is_batched = not entry.tool.is_async
        executor = self._executor(entry)
        try:
            value = await executor.run(Invocation(entry, call, context, self._policy))
            if value is NO_VALUE:
                return b"", -1, 0
            if call.plain:
                value = _carried(value, call.plain, call.streaming)
            return await self._packed(call.tool, value, partial(_pack, call.tool, value))
        except BaseException as error:
            context.cancelled.set()
            if call.streaming and isinstance(error, BridgeError) and error.reason == "UNSUPPORTED_VALUE":
                raise unsupported_result(call.tool, error) from error
            raise
        finally:
            enclosing.call = running.context = None  # no circle keeps large arguments

    def _executor(self, entry: Entry) -> Executor:
        if entry.tool.is_async:
            return self._inline
        if self._main_thread is not None and self._main_thread.is_free:
            return self._main_thread
        return self._threads

    def _views(self, tool: str) -> frozenset[str]:
        """Parameters that take a ``memoryview``."""
        return viewed(self._registry[tool].tool.arguments_type)

    def _tool_call(
        self, frame: frames.Call, running: _Running, request: ExecuteToolRequest, arguments: dict[str, Any]
    ) -> ToolCall:
        call = ToolCall(
            tool=request.tool_name,
            arguments=arguments,
            host=GrpcHost(PipeChannel(self._questions, frame.id)),
            session_id=request.session_id,
            metadata=request.metadata,
            headers=frame.headers,
            deadline=None if frame.remaining is None else monotonic() + frame.remaining,
            streaming=frame.streaming,
            plain=frame.plain,
            size=len(frame.request),
            principal=frame.principal,
            frontend="worker",
        )
        if frame.streaming:
            call.emit = partial(self._emit, call.tool, call.plain, running)  # not the call: no circle keeps arguments
        return call

    async def _emit(self, tool: str, plain: str, running: _Running, chunk: ToolChunk) -> None:
        """Sends a chunk when there is room for it; returns when it is on its way."""
        if chunk.value is not NO_VALUE:
            await running.credit.acquire()
            if plain:
                chunk = msgspec.structs.replace(chunk, value=_carried(chunk.value, plain, True))
        sequence = running.sequence
        running.sequence += 1
        make = partial(pack_chunk, chunk, sequence, final=False)
        message, fd, shared = await self._packed(tool, chunk.value, make)
        send = self._connection.send_later if running.is_batched else self._connection.send
        send(frames.Chunk(running.id, message, shared), fd)
        await self._connection.drain()

    async def _packed(self, tool: str, value: Any, make: Callable[[], bytes]) -> tuple[bytes, int, int]:
        limit = self._settings.max_shared_bytes
        return await lending.pack(lambda: self._checked(tool, make()), (value,), limit, f"tool {tool!r}")

    def _checked(self, tool: str, message: bytes) -> bytes:
        limit = self._settings.max_message_bytes
        if len(message) > limit:
            raise message_too_large(tool, len(message), limit)
        return message


def _pack(tool: str, value: Any) -> bytes:
    try:
        return pack_result(value)
    except BridgeError as error:
        raise unsupported_result(tool, error) from error


def _carried(value: Any, rules: str, streaming: bool) -> Any:
    from bridge.snakepit.carrying import carried  # for calls by that wire only

    return carried(value, rules, streaming=streaming)


def _start_failure(error: BaseException) -> BridgeError:
    if isinstance(error, BridgeError):
        return error
    message = f"a lifespan of the adapters ended the worker: {type(error).__name__}: {error}"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="LIFESPAN_FAILED")


def _cancelled() -> BridgeError:
    return BridgeError(Code.CANCELLED, "the call was cancelled", reason="CANCELLED")


def _status(error: BaseException | None) -> bytes:
    """What a failure looks like on the pipe; a bug looks like one."""
    try:
        if isinstance(error, BridgeError):
            return to_status(error)
    except Exception as failure:  # noqa: BLE001 - an error that a tool has made of what an error may not hold
        error = failure
    log.error("a worker failed", exc_info=error)
    message = f"the worker failed by a bug: {type(error).__name__}; the server's log says where"
    return to_status(BridgeError(Code.INTERNAL, message, reason="INTERNAL"))
