"""Interceptors around a call: order, outcomes, what they record and what they leave out."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.host import NoHost
from bridge.interceptors import Proceed, chain, standard
from bridge.interceptors.logging import LoggingInterceptor
from bridge.interceptors.metrics import MetricsInterceptor
from bridge.interceptors.tracing import TracingInterceptor
from bridge.telemetry.metrics import Metrics

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
SESSION = "0123456789abcdef0123456789abcdef"


def make_call(tool: str = "word_count", **kwargs: Any) -> ToolCall:
    return ToolCall(tool, {"text": "the secret text"}, NoHost(), **kwargs)


async def give(call: ToolCall) -> Any:
    return f"result of {call.tool}"


def fails(error: BaseException) -> Proceed:
    async def proceed(call: ToolCall) -> Any:
        raise error

    return proceed


OUTCOMES = [
    (None, "OK"),
    (BridgeError(Code.INVALID_ARGUMENT, "bad"), "INVALID_ARGUMENT"),
    (asyncio.CancelledError(), "CANCELLED"),
    (ZeroDivisionError(), "INTERNAL"),
]


async def run(proceed: Proceed, call: ToolCall) -> Any:
    with contextlib.suppress(BridgeError, asyncio.CancelledError, ZeroDivisionError):
        return await proceed(call)


# --- chain


def test_chain_of_nothing_is_the_function_itself() -> None:
    assert chain((), give) is give


async def test_first_interceptor_is_outermost() -> None:
    seen: list[str] = []

    def named(name: str) -> Any:
        async def interceptor(call: ToolCall, proceed: Proceed, /) -> Any:
            seen.append(f"{name} in")
            result = await proceed(call)
            seen.append(f"{name} out")
            return result

        return interceptor

    assert await chain([named("a"), named("b")], give)(make_call()) == "result of word_count"
    assert seen == ["a in", "b in", "b out", "a out"]


async def test_interceptor_may_answer_instead_of_the_tool() -> None:
    async def refuse(call: ToolCall, proceed: Proceed, /) -> Any:
        raise BridgeError(Code.PERMISSION_DENIED, "no")

    with pytest.raises(BridgeError, match="PERMISSION_DENIED"):
        await chain([refuse], give)(make_call())


def test_nothing_is_built_when_everything_is_off() -> None:
    assert standard() == ()


def test_metrics_are_outermost_and_the_log_is_written_inside_the_span() -> None:
    spans, readings = Spans(), Readings()
    built = standard(metrics=readings.metrics, tracer=spans.tracer, audit=True)
    assert [type(one) for one in built] == [MetricsInterceptor, TracingInterceptor, LoggingInterceptor]
    readings.provider.shutdown()


# --- logging


async def logged(
    caplog: pytest.LogCaptureFixture, call: ToolCall, proceed: Proceed = give
) -> tuple[Any, dict[str, Any]]:
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="bridge.audit"):
        result = await run(chain([LoggingInterceptor()], proceed), call)
    (record,) = caplog.records
    return result, record.__dict__


async def test_one_line_says_who_called_what_and_how_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    call = make_call(
        session_id=SESSION,
        peer="ipv4:127.0.0.1:5000",
        principal="alice",
        size=42,
        headers={"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"},
    )
    result, line = await logged(caplog, call)
    assert result == "result of word_count"
    assert (line["tool"], line["code"], line["session_id"]) == ("word_count", "OK", SESSION)
    assert (line["peer"], line["principal"], line["request_bytes"]) == ("ipv4:127.0.0.1:5000", "alice", 42)
    assert line["trace_id"] == TRACE_ID
    assert line["duration"] >= 0


async def test_failed_call_is_logged_with_code_reason_and_error_id(caplog: pytest.LogCaptureFixture) -> None:
    error = BridgeError(
        Code.UNKNOWN, "the secret text", reason="ValueError", details=ErrorDetails(metadata={"error_id": "e1"})
    )
    _, line = await logged(caplog, make_call(), fails(error))
    assert (line["code"], line["reason"], line["error_id"]) == ("UNKNOWN", "ValueError", "e1")


@pytest.mark.parametrize(("error", "code"), OUTCOMES)
async def test_log_never_holds_arguments_results_or_messages(
    caplog: pytest.LogCaptureFixture, error: BaseException | None, code: str
) -> None:
    _, line = await logged(caplog, make_call(), give if error is None else fails(error))
    assert line["code"] == code
    assert "secret" not in str(line)
    assert "result of" not in str(line)


async def test_chunks_of_a_stream_reach_the_caller_and_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Any] = []

    async def emit(chunk: Chunk) -> None:
        sent.append(chunk.value)

    async def stream(call: ToolCall) -> Any:
        for value in range(3):
            await call.emit(Chunk(value))
        return NO_VALUE

    result, line = await logged(caplog, make_call(streaming=True, emit=emit), stream)
    assert result is NO_VALUE
    assert sent == [0, 1, 2]
    assert line["chunks"] == 3


# --- tracing


class Spans:
    """A tracer and what it has recorded."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")

    @property
    def one(self) -> ReadableSpan:
        (span,) = self.exporter.get_finished_spans()
        return span


async def test_server_span_continues_the_callers_trace() -> None:
    spans = Spans()
    call = make_call(
        headers={"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "tracestate": "vendor=1", "baggage": "user=alice"},
        session_id=SESSION,
        peer="ipv6:%5B::1%5D:5000",
    )
    inside: list[Any] = []

    async def tool(call: ToolCall) -> Any:
        inside.extend((trace.get_current_span().get_span_context(), baggage.get_baggage("user")))

    await chain([TracingInterceptor(spans.tracer)], tool)(call)

    span = spans.one
    assert (span.name, span.kind) == ("bridge.v1.BridgeService/ExecuteTool", SpanKind.SERVER)
    assert span.parent is not None
    assert trace.format_trace_id(span.parent.trace_id) == TRACE_ID
    assert trace.format_span_id(span.parent.span_id) == PARENT_ID
    assert inside == [span.context, "alice"]
    assert span.context is not None
    assert span.context.trace_state["vendor"] == "1"
    assert dict(span.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": "bridge.v1.BridgeService/ExecuteTool",
        "rpc.response.status_code": "OK",
        "bridge.tool": "word_count",
        "bridge.session.digest": hashlib.blake2b(SESSION.encode(), digest_size=4).hexdigest(),
        "network.transport": "tcp",
        "network.peer.address": "::1",
        "network.peer.port": 5000,
    }
    assert not trace.get_current_span().get_span_context().is_valid


async def test_call_without_a_trace_begins_one() -> None:
    spans = Spans()
    await chain([TracingInterceptor(spans.tracer)], give)(make_call(streaming=True, headers={"traceparent": "junk"}))
    assert spans.one.parent is None
    assert spans.one.name == "bridge.v1.BridgeService/ExecuteStreamingTool"


async def test_spans_of_the_tool_are_children_of_the_server_span() -> None:
    spans = Spans()

    async def tool(call: ToolCall) -> Any:
        with spans.tracer.start_as_current_span("inner"):
            pass

    await chain([TracingInterceptor(spans.tracer)], tool)(make_call())
    inner, server = spans.exporter.get_finished_spans()
    assert inner.parent is not None
    assert server.context is not None
    assert inner.parent.span_id == server.context.span_id


@pytest.mark.parametrize(
    ("error", "code", "is_error"),
    [
        (BridgeError(Code.UNKNOWN, "secret", reason="ValueError"), "UNKNOWN", True),
        (BridgeError(Code.DEADLINE_EXCEEDED, "late"), "DEADLINE_EXCEEDED", True),
        (BridgeError(Code.INVALID_ARGUMENT, "secret", reason="BAD"), "INVALID_ARGUMENT", False),
        (asyncio.CancelledError(), "CANCELLED", False),
        (ZeroDivisionError(), "INTERNAL", True),
    ],
)
async def test_span_has_the_code_and_is_an_error_only_if_the_server_is_to_blame(
    error: BaseException, code: str, is_error: bool
) -> None:
    spans = Spans()
    await run(chain([TracingInterceptor(spans.tracer)], fails(error)), make_call())
    attributes = spans.one.attributes or {}
    assert attributes["rpc.response.status_code"] == code
    assert attributes.get("error.type") == (code if is_error else None)
    assert spans.one.status.status_code is (StatusCode.ERROR if is_error else StatusCode.UNSET)
    assert "secret" not in spans.one.to_json()
    assert not trace.get_current_span().get_span_context().is_valid


# --- metrics


class Readings:
    """Metrics and what they show."""

    def __init__(self, *tools: str) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.metrics = Metrics(self.provider.get_meter("test"), tools)

    def points(self, name: str) -> dict[str, Any]:
        """Data points by tool."""
        data = self._reader.get_metrics_data()
        assert data is not None
        found = [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]
        return {str((point.attributes or {})["bridge.tool"]): point for point in found}


@pytest.mark.parametrize(("error", "code"), OUTCOMES)
async def test_duration_is_recorded_by_method_tool_and_status(error: BaseException | None, code: str) -> None:
    readings = Readings("word_count")
    proceed = chain([MetricsInterceptor(readings.metrics)], give if error is None else fails(error))
    await run(proceed, make_call(size=1000))

    point = readings.points("rpc.server.call.duration")["word_count"]
    assert point.count == 1
    assert point.attributes["rpc.response.status_code"] == code
    assert point.attributes["rpc.method"] == "bridge.v1.BridgeService/ExecuteTool"
    assert point.attributes["rpc.system.name"] == "grpc"
    assert point.attributes.get("error.type") == (code if code == "INTERNAL" else None)
    assert readings.points("bridge.server.request.size")["word_count"].sum == 1000
    readings.provider.shutdown()


async def test_calls_are_active_from_request_to_answer() -> None:
    readings = Readings("word_count")

    async def look(call: ToolCall) -> Any:
        return readings.points("bridge.server.active_calls")["word_count"].value

    assert await chain([MetricsInterceptor(readings.metrics)], look)(make_call()) == 1
    assert readings.points("bridge.server.active_calls")["word_count"].value == 0
    readings.provider.shutdown()


async def test_unknown_tools_share_one_time_series() -> None:
    readings = Readings("word_count")
    proceed = chain([MetricsInterceptor(readings.metrics)], fails(BridgeError(Code.NOT_FOUND, "no such tool")))
    for number in range(50):
        await run(proceed, make_call(f"made_up_{number}", size=1))
    for name in ("rpc.server.call.duration", "bridge.server.request.size"):
        assert {tool: point.count for tool, point in readings.points(name).items()} == {"_OTHER": 50}
    readings.provider.shutdown()
