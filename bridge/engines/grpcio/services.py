"""Servicers of others on grpc.aio: who may call them, and what becomes of their failures."""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from bridge.engines.daemon_threads import DaemonThreads
from bridge.engines.grpcio.blocking import CallOverError, blocking_answer
from bridge.engines.grpcio.call import GrpcioCall, abort, not_sent
from bridge.engines.grpcio.messages import Messages, is_failing
from bridge.engines.services import Services
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.telemetry import propagation, semconv

if TYPE_CHECKING:
    from bridge.engines.service_telemetry import ServiceTelemetry

__all__ = ["ServiceHandlers"]

log = logging.getLogger("bridge.service")

MAX_REMEMBERED = 1024
"""Paths whose wrapped handler is kept, of handlers that have to be asked: those may answer to any path."""

Answer = Callable[[Any, Any], Awaitable[Any]]
"""A servicer's method as grpc.aio calls it: with the request (or the requests), and the context."""


class ServiceHandlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the method of a servicer, and wraps it.

    Args:
        services: sealed.
        threads: where blocking methods run.
        admit: lets callers in; ``None``: everybody.
        count: goes around each method, to know which run.
        telemetry: whether to look for OpenTelemetry.
    """

    def __init__(
        self,
        services: Services,
        threads: DaemonThreads,
        admit: Callable[[GrpcioCall], str] | None,
        count: Callable[[Answer], Answer],
        *,
        telemetry: bool,
    ) -> None:
        self._threads, self._admit, self._count = threads, admit, count
        self._telemetry = _telemetry() if telemetry else None
        self._names = frozenset(services.names)
        self._known = {path: self._wrap(path, handler) for path, handler in services.handlers.items()}
        self._generic = services.generic_handlers
        self._remembered: dict[str, tuple[Any, Any]] = {}

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a path, or ``None``. grpc.aio calls it for each RPC."""
        path = handler_call_details.method
        known = self._known.get(path)
        if known is not None:
            return known
        for generic in self._generic:
            handler = generic.service(handler_call_details)
            if handler is not None:
                return self._remember(path, handler)
        return None

    def _remember(self, path: str, handler: Any) -> Any:
        before = self._remembered.get(path)
        if before is not None and before[0] is handler:
            return before[1]
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        wrapped = self._wrap(path, handler)
        self._remembered[path] = (handler, wrapped)
        return wrapped

    def _wrap(self, path: str, handler: Any) -> Any:
        """A handler of the same shape whose method is a coroutine function that fails with nothing but a status."""
        behavior = _behavior(handler)
        messages = Messages(path, handler)
        is_async = _is_async(behavior)
        if is_async:
            make = _streaming_answer if handler.response_streaming else _single_answer
            answer = make(behavior, messages, reads=not handler.request_streaming)
        else:
            answer = blocking_answer(behavior, messages, handler, self._threads)
        answer = self._count(_guarded(path, answer, self._admit))
        if self._telemetry is not None:
            # What has no name of its own answers to any path, and a caller could make up new time series.
            is_named = path.split("/")[1] in self._names
            answer = self._telemetry.around(path[1:] if is_named else semconv.OTHER, answer)
        # grpc.aio reads and writes the messages that a servicer gives to or takes from its context; those of blocking
        # ones are read and written in their thread, and single ones where a failure becomes a status.
        shape = f"{_kind(handler.request_streaming)}_{_kind(handler.response_streaming)}_rpc_method_handler"
        return getattr(grpc, shape)(
            answer,
            request_deserializer=messages.read if is_async and handler.request_streaming else None,
            response_serializer=messages.write if is_async and handler.response_streaming else None,
        )


def _telemetry() -> ServiceTelemetry | None:
    """What watches the calls; ``None``, and nothing imported for it, while the program has no OpenTelemetry SDK."""
    tracer, meter = propagation.tracer(), None
    if "opentelemetry.metrics" in sys.modules:
        from bridge.telemetry.metrics import meter as configured

        meter = configured()
    if tracer is None and meter is None:
        return None
    from bridge.engines.service_telemetry import ServiceTelemetry

    return ServiceTelemetry(tracer, meter)


def _kind(streaming: bool) -> str:
    return "stream" if streaming else "unary"


def _behavior(handler: Any) -> Any:
    return getattr(handler, f"{_kind(handler.request_streaming)}_{_kind(handler.response_streaming)}")


def _is_async(behavior: Any) -> bool:
    """Whether a method is for the event loop, also one behind decorators that kept its name."""
    found = inspect.unwrap(behavior)
    for function in (found, getattr(found, "__call__", None)):  # noqa: B004 - the method of an object, not a test
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            return True
    return False


def _single_answer(behavior: Any, messages: Messages, *, reads: bool) -> Answer:
    async def answer(request: Any, context: Any) -> bytes:
        response = behavior(messages.read(request) if reads else request, context)
        if inspect.isawaitable(response):
            response = await response
        return b"" if is_failing(context) else messages.write(response)

    return answer


def _streaming_answer(behavior: Any, messages: Messages, *, reads: bool) -> Answer:
    async def answer(request: Any, context: Any) -> None:
        responses = behavior(messages.read(request) if reads else request, context)
        if not hasattr(responses, "__aiter__"):
            responses = await responses  # it writes to the context; what it returns, if anything, is a stream, too
        if responses is None:
            return
        try:
            async for response in responses:
                await context.write(response)
        finally:
            if hasattr(responses, "aclose"):
                await responses.aclose()

    return answer


def _guarded(path: str, answer: Answer, admit: Callable[[GrpcioCall], str] | None) -> Answer:
    """Lets callers in, and ends the RPC by a status whatever happens."""

    async def guarded(request: Any, context: Any) -> Any:
        try:
            if admit is not None:
                admit(GrpcioCall(context))
            return await answer(request, context)
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if _is_over(error, context):
                raise
            await abort(context, _failure(path, error, context))

    return guarded


def _is_over(error: BaseException, context: Any) -> bool:
    """Whether an exception says that the RPC has ended, or will be by grpc.aio."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0  # and not a call of the servicer's own that was cancelled
    return isinstance(error, grpc.aio.AbortError) and context.done()  # and not one that was raised by hand


def _failure(path: str, error: BaseException, context: Any) -> BridgeError:
    """What the caller sees of a servicer's exception; the log has the rest under the error id."""
    if isinstance(error, BridgeError):
        return error
    if isinstance(error, grpc.aio.InternalError | CallOverError):
        return not_sent()
    code = _chosen_code(context)
    if code is Code.UNIMPLEMENTED and isinstance(error, NotImplementedError):
        # A method that the servicer has left as it was generated.
        return BridgeError(code, context.details() or _text(error), reason="NOT_IMPLEMENTED")
    error_id = secrets.token_hex(8)
    log.error("%s failed (error id %s)", path[1:], error_id, exc_info=error, extra={"error_id": error_id})
    details = ErrorDetails(metadata={"error_id": error_id})
    message = context.details() if code is not None and context.details() else f"{type(error).__name__}: {_text(error)}"
    return BridgeError(code or Code.UNKNOWN, message, reason=type(error).__name__, details=details)


def _chosen_code(context: Any) -> Code | None:
    """What a servicer set before it raised: grpc.aio lets that be the status."""
    code = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return Code(number) if number in Code.__members__.values() else None


def _text(error: BaseException) -> str:
    if isinstance(error, grpc.RpcError) and hasattr(error, "code") and hasattr(error, "details"):
        return f"{error.code().name}: {error.details()}"  # and not the many lines of a call of the servicer's own
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - __str__ is the servicer's code too
        return "(its message cannot be shown)"
