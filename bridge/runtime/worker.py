"""A worker: runs the calls that come by its pipe, one at a time, in the main thread."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Callable

from . import frames
from .asking import Asking
from .calls import NO_VALUE, pack_result, pack_tools, read_request
from .context import SessionContext
from .errors import BridgeError, Code, ErrorDetails
from .failures import Settings, began, cancelled, tool_failure
from .frames import frame
from .invocation import Invocation
from .logs import PipeHandler, installed
from .packing import packed_frame
from .pipe import Pipe
from .plugins import CONTROLS, Plugin
from .questions import Questions
from .running import RunningCall
from .shared import Memory, borrowing
from .status import to_status

if TYPE_CHECKING:
    import socket

    from .loops import Loop

__all__ = ["TERMINATED", "Worker"]

TERMINATED = 128 + 15
"""Exit code after SIGTERM, as shells show it."""

log = logging.getLogger("bridge.worker")


class Worker:
    """Runs calls for the server at the other end of a pipe. It belongs to the thread that makes it.

    Args:
        plugin: whose tools it runs.
        sock: the pipe.
        orphaned: called when the pipe has ended, with the error, if it was one; need not return.
    """

    def __init__(self, plugin: Plugin, sock: socket.socket, orphaned: Callable[[BaseException | None], object]) -> None:
        self._plugin = plugin
        self._orphaned = orphaned
        self._settings = Settings()
        self._calls: deque[RunningCall] = deque()
        """Those that wait for their turn."""
        self._current: RunningCall | None = None
        self._is_stopping = self._is_terminated = False
        self._loop: Loop | None = None
        self.pipe = Pipe(sock, self._on_message, self._on_lost)
        self._questions = Questions(self.pipe)
        self._handlers: dict[int, Callable[[list[Any]], None]] = {
            frames.CALL: self._on_call,
            frames.CANCEL: self._on_cancel,
            frames.CREDIT: self._on_credit,
            frames.ANSWER: self._questions.answered,
            frames.ANSWER_END: self._questions.answered,
            frames.SHUTDOWN: self._on_shutdown,
            frames.SETTINGS: self._on_settings,
            frames.PING: self._on_ping,
        }

    def serve(self, config: Mapping[str, Any] | None) -> int:
        """Begins the plugin's life and takes calls until it is told to end; returns an exit code.

        Args:
            config: the plugin's configuration, as its manifest has it.
        """
        with installed(PipeHandler(self.pipe, self._current_call)):
            logging.getLogger().setLevel(self._settings.log_level.upper())
            try:
                return self._live(config)
            finally:
                if self._loop is not None:
                    self._loop.close()

    def _live(self, config: Mapping[str, Any] | None) -> int:
        self.pipe.leave_to_watcher()
        try:
            self._plugin.start(self, config)
        except BaseException as error:  # noqa: BLE001 - also what an author's sys.exit raises
            _print(error)  # first: upon the other the server ends this process
            self.pipe.send(frame(frames.FAILED, _status(_start_failure(self._plugin, error))))
            return 1
        tools = pack_tools([tool.spec for tool in self._plugin.tools.values()])
        self.pipe.send(frame(frames.READY, os.getpid(), tools))
        while True:
            self._wait()
            if not self._calls:
                break
            self._current = self._calls[0]  # before it leaves the others: a cancel is looked up in another thread
            self._run(self._calls.popleft())
        try:
            self._plugin.stop(self)
        except BaseException:
            log.exception("the worker could not end in order")
            return 1
        return TERMINATED if self._is_terminated else 0

    def _wait(self) -> None:
        """Returns when there is a call, or none will come."""
        if self._calls:
            return
        if self._loop is not None and self._loop.must_run:
            self._loop.run_until(self._has_news)
        else:
            self.pipe.read_until(self._has_news)

    def _has_news(self) -> bool:
        return bool(self._calls) or self._is_stopping

    def terminate(self) -> None:
        """Ends soon: nobody waits for what runs any more. For signal handlers, in the main thread."""
        self._is_terminated = self._is_stopping = True
        message = "the worker was told to end while the tool was running"
        for call in (*self._calls, *((self._current,) if self._current is not None else ())):
            call.stop(BridgeError(Code.UNAVAILABLE, message, reason="SHUTDOWN"))
        if self._loop is not None:
            self._loop.wake()

    # -- a home for the plugin -----------------------------------------------------------------------------------

    @property
    def loop(self) -> Loop:
        """The event loop; made when it is needed."""
        if self._loop is None:
            from .loops import Loop

            self._loop = Loop(self.pipe)
        return self._loop

    def settle(self, value: Any) -> Any:
        """A value; awaited, if it can be, as long as somebody waits for the call."""
        if not hasattr(value, "__await__"):
            return value
        call = self._current
        if call is not None and call.failure is not None:
            if hasattr(value, "close"):
                value.close()
            raise call.failure
        return self.loop.run(_awaited(value), call)

    def finish(self, value: Any) -> Any:
        """A value; awaited to its end, if it can be, whoever waits for the call."""
        return self.loop.run(_awaited(value)) if hasattr(value, "__await__") else value

    def hold(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Starts a task that waits until it is told."""
        return self.loop.hold(coroutine)

    # -- what the server says, in whatever thread reads -------------------------------------------------------------

    def _on_message(self, message: list[Any]) -> None:
        self._handlers[message[0]](message)

    def _on_lost(self, error: BaseException | None) -> None:
        self._orphaned(error)
        self._questions.end(BridgeError(Code.UNAVAILABLE, "the server is gone", reason="SERVER_GONE"))
        self.terminate()

    def _on_settings(self, message: list[Any]) -> None:
        self._settings = Settings(*message[1:6])
        self._questions.max_bytes = self._settings.max_message_bytes
        logging.getLogger().setLevel(self._settings.log_level.upper())

    def _on_shutdown(self, message: list[Any]) -> None:
        self._is_stopping = True

    def _on_ping(self, message: list[Any]) -> None:
        self.pipe.send(frame(frames.PONG, message[1]))

    def _on_call(self, message: list[Any]) -> None:
        shared = message[7] if len(message) > 7 else 0
        descriptor = self.pipe.take_descriptor() if shared else -1
        memory = Memory(descriptor, shared) if shared else None
        call = RunningCall(message, memory, self.pipe.send)
        if self._is_stopping:
            details = ErrorDetails(retry_after=0.1)
            self._refuse(
                call, BridgeError(Code.UNAVAILABLE, "the worker is ending", reason="DRAINING", details=details)
            )
        else:
            self._calls.append(call)

    def _on_cancel(self, message: list[Any]) -> None:
        current = self._current
        if current is not None and current.number == message[1]:
            current.stop(cancelled())
        for call in tuple(self._calls):
            if call.number == message[1]:
                call.stop(cancelled())
        # Otherwise it has ended, and its answer is on its way.

    def _on_credit(self, message: list[Any]) -> None:
        current = self._current
        if current is not None and current.number == message[1]:
            for _ in range(message[2]):
                current.credits.put(None)

    # -- calls ---------------------------------------------------------------------------------------------------

    def _current_call(self) -> int:
        current = self._current
        return 0 if current is None else current.number

    def _run(self, call: RunningCall) -> None:
        fd = -1
        try:
            if call.failure is not None:
                raise call.failure
            value = self._value(call)
            if value is NO_VALUE:
                answer = frame(frames.RESULT, call.number, b"")
            else:
                answer, fd = packed_frame(
                    frames.RESULT, call.number, call.request.tool, self._settings, pack_result, value
                )
        except BaseException as error:  # noqa: BLE001 - whatever it is, the call is answered
            answer = frame(frames.ERROR, call.number, _status(error))
        call.is_over = True
        self._current = None
        self.pipe.send(answer, fd)
        if fd >= 0:
            os.close(fd)

    def _refuse(self, call: RunningCall, error: BridgeError) -> None:
        self.pipe.send(frame(frames.ERROR, call.number, _status(error)))

    def _value(self, call: RunningCall) -> Any:
        call.request = self._read(call)
        name = call.request.tool
        control = CONTROLS.get(name)
        if control is not None:
            self._plugin.enter(SessionContext(call, Asking(self._questions, call)))
            return self._control(name, control, call)
        tool = self._plugin[name]
        if not self._plugin.is_initialized:
            self._control(name, lambda plugin, home, _: plugin.get_ready(home), call)
        asking = Asking(self._questions, call)
        invocation = Invocation(self._plugin, tool, call, asking, self.pipe, self._settings)
        if tool.is_async:
            return self.loop.run(invocation.run_async(), call)
        if self._loop is not None and self._loop.must_run:
            return self._loop.run_beside(lambda: invocation.run(self))
        return invocation.run(self)

    def _read(self, call: RunningCall) -> Any:
        data, memory = call.data, call.memory
        call.data, call.memory = b"", None
        if memory is None:
            return read_request(data)
        with memory, borrowing(memory):
            return read_request(data, self._views)

    def _views(self, name: str) -> frozenset[str]:
        tool = self._plugin.tools.get(name)
        return frozenset() if tool is None else tool.views

    def _control(self, name: str, control: Any, call: RunningCall) -> Any:
        try:
            return control(self._plugin, self, call.request.arguments)
        except BridgeError as error:
            raise began(error) from error
        except BaseException as error:
            raise tool_failure(name, error, self._settings) from error


async def _awaited(value: Any) -> Any:
    return await value


def _start_failure(plugin: Plugin, error: BaseException) -> BridgeError:
    if isinstance(error, BridgeError):
        return error
    message = f"{plugin.name} could not be initialized: {type(error).__name__}: {error}"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="INITIALIZE_FAILED")


def _print(error: BaseException) -> None:
    """Says it on stderr, whose last lines the server shows."""
    import sys
    import traceback

    try:
        traceback.print_exception(type(error), error, error.__traceback__)
        sys.stderr.flush()
    except Exception:  # noqa: BLE001, S110 - nobody reads it
        pass


def _status(error: BaseException) -> bytes:
    """What a failure looks like on the pipe; a bug looks like one."""
    try:
        if isinstance(error, BridgeError):
            return to_status(error)
    except Exception as failure:  # noqa: BLE001 - an error that a tool has made of what an error may not hold
        error = failure
    log.error("a worker failed", exc_info=error)
    message = f"the worker failed by a bug: {type(error).__name__}; the server's log says where"
    return to_status(BridgeError(Code.INTERNAL, message, reason="INTERNAL"))
