"""Blocking servicers, written for ``grpc.server``, on grpc.aio: each call has a thread and a context of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import grpc
import grpc.aio

from bridge.engines.daemon_threads import DaemonThreads
from bridge.engines.grpcio.messages import Messages, is_failing
from bridge.engines.service_callbacks import Callbacks

__all__ = ["CallOverError", "blocking_answer"]


_OVER = "the call is over: its client cancelled it, or its deadline has passed"


class CallOverError(grpc.RpcError):  # type: ignore[misc]
    """Nobody waits for what the servicer does."""


class _Aborted(Exception):
    """Raised by ``abort`` in the servicer's thread."""


class BlockingContext(grpc.ServicerContext):  # type: ignore[misc]
    """What a blocking servicer sees of its call.

    What grpc.aio's context does with the connection is done in the event loop, and only while the call is there:
    grpc.aio frees the call when it ends, and reading it after that takes the process down. ``abort`` and ``cancel``
    leave a note for the end of the thread.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._metadata = context.invocation_metadata()
        self._callbacks = Callbacks()
        self.aborted: tuple[grpc.StatusCode, str, tuple[Any, ...]] | None = None
        """Code, message and trailing metadata, once the servicer has given up."""

    def end(self) -> None:
        """The call is over. In the event loop."""
        self._callbacks.run()

    def is_active(self) -> bool:
        return not self._callbacks.have_run and self.aborted is None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """The callback runs in the event loop, and must not block."""
        return self._callbacks.add(callback)

    def time_remaining(self) -> float | None:
        remaining: float | None = self._context.time_remaining()
        return remaining

    def cancel(self) -> None:
        self.aborted = (grpc.StatusCode.CANCELLED, "the servicer cancelled the call", ())

    def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[Any, ...] = ()) -> None:
        if code is grpc.StatusCode.OK:
            code, details = grpc.StatusCode.UNKNOWN, "the servicer aborted the call with OK, which is no failure"
        self.aborted = (code, details, trailing_metadata)
        raise _Aborted

    def abort_with_status(self, status: Any) -> None:
        self.abort(status.code, status.details, tuple(status.trailing_metadata or ()))

    def invocation_metadata(self) -> Any:
        return self._metadata

    def peer(self) -> str:
        return str(self._ask(self._context.peer))

    def peer_identities(self) -> Any:
        return self._ask(self._context.peer_identities)

    def peer_identity_key(self) -> Any:
        return self._ask(self._context.peer_identity_key)

    def auth_context(self) -> Any:
        return self._ask(self._context.auth_context)

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        self._wait(lambda: self._context.send_initial_metadata(initial_metadata))

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._context.set_trailing_metadata(trailing_metadata)

    def trailing_metadata(self) -> Any:
        return self._context.trailing_metadata()

    def set_code(self, code: Any) -> None:
        self._context.set_code(code)

    def code(self) -> Any:
        return self._context.code()

    def set_details(self, details: str) -> None:
        self._context.set_details(details)

    def details(self) -> Any:
        return self._context.details()

    def set_compression(self, compression: Any) -> None:
        self._context.set_compression(compression)

    def disable_next_message_compression(self) -> None:
        self._context.disable_next_message_compression()

    def write(self, data: bytes) -> None:
        """Sends a message of the answer; returns when flow control has room for more."""
        self._wait(lambda: self._context.write(data))

    def requests(self, messages: Messages) -> Iterator[Any]:
        """The requests, as they come.

        When the client cancels they may just end, a moment before ``is_active`` turns false, as on a ``grpc.server``: a
        method to which that matters needs a last message that says so.
        """
        while (data := self._wait(self._context.read)) is not grpc.aio.EOF:
            yield messages.read(data)

    def _ask(self, question: Callable[[], Any]) -> Any:
        async def ask() -> Any:
            return question()

        return self._wait(ask)

    def _wait(self, operation: Callable[[], Awaitable[Any]]) -> Any:
        """Does something in the event loop. Raises ``CallOverError``."""
        if threading.get_ident() == self._loop_thread:
            raise RuntimeError("this context is for the thread that the method runs in, and would stop the event loop")
        try:
            return _submit(self._while_active(operation), self._loop).result()  # what has begun ends with the call
        except grpc.aio.UsageError as error:
            if self.is_active():
                raise ValueError(str(error)) from None  # as grpc.server does where something comes too late
            raise CallOverError(_OVER) from None
        except concurrent.futures.CancelledError:
            raise CallOverError(_OVER) from None
        except grpc.aio.InternalError:
            raise CallOverError("the message could not be sent: it is too large, or the call is over") from None

    async def _while_active(self, operation: Callable[[], Awaitable[Any]]) -> Any:
        if not self.is_active():
            raise asyncio.CancelledError
        return await operation()


def _submit(operation: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> concurrent.futures.Future[Any]:
    try:
        return asyncio.run_coroutine_threadsafe(operation, loop)
    except RuntimeError:  # the loop is closed
        operation.close()
        raise concurrent.futures.CancelledError from None


def blocking_answer(
    behavior: Any, messages: Messages, handler: Any, threads: DaemonThreads
) -> Callable[[Any, Any], Awaitable[Any]]:
    """A blocking method as a coroutine function: of the request as bytes (of a stream, whatever), and the context."""
    work = _stream if handler.response_streaming else _single

    async def answer(request: Any, context: Any) -> Any:
        call = BlockingContext(context)

        def run() -> Any:
            sent = call.requests(messages) if handler.request_streaming else messages.read(request)
            return work(behavior(sent, call), messages, call)

        try:
            response = await threads.run(run)
        except Exception:
            if call.aborted is None:
                raise
            response = None
        finally:
            call.end()
        if call.aborted is not None:
            await context.abort(*call.aborted)
        return response

    return answer


def _single(response: Any, messages: Messages, call: BlockingContext) -> bytes:
    if inspect.isawaitable(response):
        if inspect.iscoroutine(response):
            response.close()
        raise TypeError("the method returned something to await: declare it with async def")
    return b"" if is_failing(call) else messages.write(response)


def _stream(responses: Any, messages: Messages, call: BlockingContext) -> None:
    try:
        for response in responses:
            call.write(messages.write(response))
    finally:
        if hasattr(responses, "close"):
            responses.close()
