"""Spans, where a program has an OpenTelemetry SDK. Imported only then: ``propagation`` is the door."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, TracerProvider

from bridge._version import __version__
from bridge.call import Headers
from bridge.errors import BridgeError
from bridge.telemetry import semconv
from bridge.telemetry.propagation import Attributes

__all__ = ["ClientSpan", "Tracing"]

SCOPE = "tool-bridge"
"""Instrumentation scope of our spans and metrics."""

# What the API hands out as long as nobody has configured anything.
_IDLE = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)


class Tracing:
    """The process's tracer provider as we need it; looked up each time, for a program configures it when it likes."""

    __slots__ = ("_provider", "_tracer")

    def __init__(self) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    def tracer(self) -> Tracer | None:
        """Our tracer, or ``None`` while no SDK is configured. Making a tracer is slow, so it is kept."""
        provider = trace.get_tracer_provider()
        if provider is self._provider:
            return self._tracer
        self._provider = provider
        self._tracer = None if isinstance(provider, _IDLE) else provider.get_tracer(SCOPE, __version__)
        return self._tracer

    def inject(self, context: Context | None = None) -> dict[str, str]:
        """Trace headers of a context (the current one); empty if it has no span."""
        if not trace.get_current_span(context).get_span_context().is_valid:
            return {}
        headers: dict[str, str] = {}
        propagate.inject(headers, context)
        return headers

    def current_trace_id(self) -> str:
        """Id of the current trace in hexadecimal, or nothing."""
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else ""

    def client_span(self, name: str, attributes: Attributes | None) -> ClientSpan:
        """A span around an outgoing call. Only while ``tracer()`` gives one."""
        tracer = self.tracer()
        assert tracer is not None, "client_span() without a configured SDK"  # noqa: S101
        return ClientSpan(self, tracer, name, attributes)


class ClientSpan:
    """A span of kind CLIENT; see ``propagation.CallSpan``."""

    __slots__ = ("_attributes", "_name", "_span", "_tracer", "_tracing")

    def __init__(self, tracing: Tracing, tracer: Tracer, name: str, attributes: Attributes | None) -> None:
        self._tracing = tracing
        self._tracer = tracer
        self._name = name
        self._attributes = attributes
        self._span: Span = trace.INVALID_SPAN

    def __enter__(self) -> Self:
        attributes: dict[str, str | int | float | bool] = {semconv.RPC_SYSTEM: "grpc", semconv.RPC_METHOD: self._name}
        if self._attributes:
            attributes.update(self._attributes)
        self._span = self._tracer.start_span(self._name, kind=SpanKind.CLIENT, attributes=attributes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span.is_recording():
            finish(self._span, error, is_error=error is not None)
        self._span.end()

    def headers(self, incoming: Headers = {}) -> dict[str, str]:  # noqa: B006 - never written to
        """Trace headers to send: this span is the parent of what happens on the other side."""
        return self._tracing.inject(trace.set_span_in_context(self._span)) or {}


def finish(span: Span, error: BaseException | None, *, is_error: bool) -> None:
    """Notes how a call ended: its code, and for an error also type and reason.

    Messages and tracebacks stay out of spans: they may hold values of the caller.
    """
    status = semconv.status_of(error)
    if error is None:
        span.set_attribute(semconv.RPC_STATUS, status)
        return
    attributes = {semconv.RPC_STATUS: status}
    if isinstance(error, BridgeError) and error.reason:
        attributes[semconv.REASON] = error.reason
    if is_error:
        attributes[semconv.ERROR_TYPE] = status
        span.set_status(StatusCode.ERROR)
    span.set_attributes(attributes)
