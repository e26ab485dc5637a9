"""A server span around each call. Built only when an OpenTelemetry SDK is configured (``propagation.sdk_active``)."""

from __future__ import annotations

import hashlib
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.trace import Span, SpanKind, Tracer

from bridge.call import ToolCall
from bridge.interceptors.base import Proceed
from bridge.telemetry import semconv
from bridge.telemetry.spans import finish

__all__ = ["TracingInterceptor"]


class TracingInterceptor:
    """Continues the trace of the caller, or begins one.

    While the tool runs, the span is the current one: ``opentelemetry.trace.get_current_span()`` inside the tool gives
    it, spans the tool makes are its children, and so are the calls of the tool to the host.

    Args:
        tracer: makes the spans.
    """

    __slots__ = ("_tracer",)

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def __call__(self, call: ToolCall, proceed: Proceed, /) -> Any:
        rpc = semconv.rpc(call.frontend, call.streaming)
        parent = propagate.extract(call.headers)
        span = self._tracer.start_span(
            rpc.method,
            context=parent,
            kind=SpanKind.SERVER,
            attributes={semconv.RPC_SYSTEM: rpc.system, semconv.RPC_METHOD: rpc.method, semconv.TOOL: call.tool},
        )
        recording = span.is_recording()
        if recording:
            _describe(span, call)
        # The baggage of the caller comes along: `parent` holds it.
        token = context.attach(trace.set_span_in_context(span, parent))
        try:
            result = await proceed(call)
        except BaseException as error:
            if recording:
                finish(span, error, is_error=semconv.status_of(error) in semconv.SERVER_ERRORS)
            raise
        else:
            if recording:
                finish(span, None, is_error=False)
            return result
        finally:
            context.detach(token)
            span.end()


def _describe(span: Span, call: ToolCall) -> None:
    """What is worth its price only in a span that is kept."""
    attributes: dict[str, str | int] = {}
    if call.session_id:
        digest = hashlib.blake2b(call.session_id.encode("utf-8", "replace"), digest_size=4)
        attributes[semconv.SESSION_DIGEST] = digest.hexdigest()
    if call.peer:
        peer = semconv.parse_peer(call.peer)
        if peer.transport:
            attributes[semconv.TRANSPORT] = peer.transport
        if peer.address:
            attributes[semconv.PEER_ADDRESS] = peer.address
        if peer.port is not None:
            attributes[semconv.PEER_PORT] = peer.port
    if attributes:
        span.set_attributes(attributes)
