"""Spans and trace context of a client's calls, by OpenTelemetry, or nothing at all.

Decided once, when a client is made: without an SDK there is no tracer and a call does not even look. Facts: W3C Trace
Context and Baggage; OpenTelemetry semantic conventions for RPC (rpc.system.name, rpc.method,
rpc.response.status_code). Spans are started and ended by hand: a stream's span lives across yields, where a context
manager would leak its context into the code of whoever iterates.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.telemetry import semconv

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from bridge.telemetry.metrics import ClientMetrics

__all__ = ["CallSpan", "CallTracer", "make_tracer"]

Headers = tuple[tuple[str, str], ...]

_SCOPE = "tool-bridge"
"""The instrumentation scope is that of the distribution, on both sides."""


class CallSpan:
    """The span of one call, and the headers that carry it to the server."""

    __slots__ = ("_record", "_span", "headers")

    def __init__(self, span: Span | None, headers: Headers, record: Callable[[str], None] | None) -> None:
        self._span = span
        self._record = record
        self.headers = headers

    def retried(self, error: BridgeError) -> None:
        """Notes that an attempt failed and the call goes on."""
        if self._span is not None:
            self._span.add_event("retry", {semconv.RPC_STATUS: error.code.name, semconv.REASON: error.reason})

    def end(self, error: BaseException | None = None) -> None:
        """Ends the span with the outcome of the call."""
        if self._record is not None:
            self._record(semconv.status_of(error))
        if self._span is None:
            return
        from bridge.telemetry.spans import finish

        if self._span.is_recording():
            finish(self._span, error, is_error=error is not None)
        self._span.end()


class CallTracer:
    """Observes a client's calls: a span of each, a metric of each, or both.

    Args:
        tracer: of the SDK; ``None``: no spans.
        metrics: the recorder; ``None``: no metrics.
        target: address of the server, for the spans.
    """

    def __init__(self, tracer: Tracer | None, metrics: ClientMetrics | None, target: str) -> None:
        self._tracer = tracer
        self._metrics = metrics
        self._target = target

    def start(self, method: str, tool: str) -> CallSpan:
        """Begins to observe a call; its span is a child of the current one.

        Args:
            method: path of the RPC, ``/package.Service/Method``.
            tool: name of the tool; empty if the RPC is about none.
        """
        name = method[1:]
        record = None if self._metrics is None else _recorder(self._metrics, tool, name)
        if self._tracer is None:
            return CallSpan(None, (), record)
        from opentelemetry.trace import SpanKind, set_span_in_context

        attributes = {semconv.RPC_SYSTEM: "grpc", semconv.RPC_METHOD: name, semconv.TARGET: self._target}
        if tool:
            attributes[semconv.TOOL] = tool
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        return CallSpan(span, _inject(set_span_in_context(span)), record)

    def current(self) -> Headers:
        """The headers that carry the current context, for calls that get no span of their own."""
        return () if self._tracer is None else _inject(None)


def _recorder(metrics: ClientMetrics, tool: str, method: str) -> Callable[[str], None]:
    since = time.monotonic()
    return lambda status: metrics.call_ended(tool, method, status, time.monotonic() - since)


def _inject(context: object) -> Headers:
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier, context=context)  # type: ignore[arg-type]
    return tuple(carrier.items())


def make_tracer(
    target: str, tracing: TracerProvider | bool | None, metrics: ClientMetrics | None = None
) -> CallTracer | None:
    """Decides whether a client is observed.

    Args:
        target: address of the server.
        tracing: a provider to use; ``True`` for the global one, ``False`` for none, ``None`` for the global one if an
            SDK has set it.
        metrics: the recorder, if there is one.
    """
    tracer = _tracer(tracing)
    return None if tracer is None and metrics is None else CallTracer(tracer, metrics, target)


def _tracer(tracing: TracerProvider | bool | None) -> Tracer | None:
    if tracing is False:
        return None
    if tracing is None and "opentelemetry.trace" not in sys.modules:
        # Whoever sets a provider has imported this module; importing it here to find none would cost every process.
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider() if tracing is None or tracing is True else tracing
    if tracing is None and isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return provider.get_tracer(_SCOPE)
