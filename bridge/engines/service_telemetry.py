"""A span and a duration for each call of a servicer. Imported only where an OpenTelemetry SDK is configured."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.metrics import Meter
from opentelemetry.trace import Span, SpanKind, Tracer

from bridge.engines.grpcio.call import Metadata
from bridge.errors import BridgeError, Code
from bridge.telemetry import semconv
from bridge.telemetry.spans import finish

__all__ = ["ServiceTelemetry"]

Answer = Callable[[Any, Any], Awaitable[Any]]


class ServiceTelemetry:
    """Spans of kind SERVER that continue the caller's trace, and ``rpc.server.call.duration``.

    While a servicer runs, its span is the current one. Nothing of what is sent is noted.

    Args:
        tracer: makes the spans; ``None``: none.
        meter: makes the histogram; ``None``: none.
    """

    def __init__(self, tracer: Tracer | None, meter: Meter | None) -> None:
        self._tracer = tracer
        self._duration = None
        if meter is not None:
            # As `bridge.telemetry.metrics` describes it: two descriptions of one instrument would be a conflict.
            self._duration = meter.create_histogram(
                semconv.SERVER_CALL_DURATION,
                "s",
                "Duration of calls, from request to status.",
                explicit_bucket_boundaries_advisory=list(semconv.DURATION_BUCKETS),
            )

    def around(self, method: str, answer: Answer) -> Answer:
        """The same method, watched.

        Args:
            method: ``package.Service/Method``, the name of the span.
            answer: what ends the RPC by itself, so that its context knows the status.
        """
        known = {semconv.RPC_SYSTEM: "grpc", semconv.RPC_METHOD: method}

        async def watched(request: Any, context: Any) -> Any:
            start = perf_counter()
            given = context.time_remaining()
            span, token = self._begin(known, context)
            status = semconv.status_of(None)
            try:
                response = await answer(request, context)
                status = _status(context)
            except BaseException as error:
                status = _gone(context, given) if isinstance(error, asyncio.CancelledError) else _status(context)
                raise
            else:
                return response
            finally:
                self._end(known, status, start, span)
                if token is not None:
                    contexts.detach(token)

        return watched

    def _begin(self, known: dict[str, str], context: Any) -> tuple[Span | None, Any]:
        if self._tracer is None:
            return None, None
        parent = propagate.extract(Metadata(context))
        name = known[semconv.RPC_METHOD]
        span = self._tracer.start_span(name, context=parent, kind=SpanKind.SERVER, attributes=known)
        if span.is_recording():
            _describe(span, context.peer())
        return span, contexts.attach(trace.set_span_in_context(span, parent))

    def _end(self, known: dict[str, str], status: str, start: float, span: Span | None) -> None:
        is_error = status in semconv.SERVER_ERRORS
        if span is not None:
            if span.is_recording():
                finish(span, None if status == "OK" else BridgeError(Code[status], ""), is_error=is_error)
            span.end()
        if self._duration is not None:
            attributes = {**known, semconv.RPC_STATUS: status}
            if is_error:
                attributes[semconv.ERROR_TYPE] = status
            self._duration.record(perf_counter() - start, attributes)


def _describe(span: Span, address: str) -> None:
    peer = semconv.parse_peer(address)
    if peer.transport:
        span.set_attribute(semconv.TRANSPORT, peer.transport)
    if peer.address:
        span.set_attribute(semconv.PEER_ADDRESS, peer.address)
    if peer.port is not None:
        span.set_attribute(semconv.PEER_PORT, peer.port)


def _status(context: Any) -> str:
    """Name of the code that a call has ended with: that which the servicer set, or by which it was aborted."""
    code = context.code()
    if code is None:
        return "OK"
    return str(code.name) if hasattr(code, "name") else _name(code)


def _name(number: int) -> str:
    if number == 0:
        return "OK"
    return Code(number).name if number in Code.__members__.values() else Code.UNKNOWN.name


def _gone(context: Any, given: float | None) -> str:
    """Why a call was cancelled before it had a status; ``given`` are the seconds it had at its beginning."""
    if given is None:
        return Code.CANCELLED.name
    # The client's deadline is a little earlier: gRPC sends it rounded up, with three digits.
    is_late = context.time_remaining() <= 0.01 * given + 0.01
    return Code.DEADLINE_EXCEEDED.name if is_late else Code.CANCELLED.name
