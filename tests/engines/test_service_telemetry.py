"""Calls of servicers are traced and timed where the program has OpenTelemetry, and not touched where it has not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from bridge.engines.base import Method, RateLimit, ServerCall
from bridge.engines.grpcio import services as grpcio_services
from bridge.engines.services import Services
from bridge.errors import BridgeError
from tests.engines import numbers
from tests.engines.conftest import Serve
from tests.engines.numbers import AsyncNumbers, BlockingNumbers, Number, pack, path
from tests.support.waiting import until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
DURATION = "rpc.server.call.duration"
KINDS = pytest.mark.parametrize("servicer", [AsyncNumbers(), BlockingNumbers()], ids=["async", "blocking"])


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """An SDK that keeps spans in memory. The API has no way to take a provider back, hence the private names."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", type(trace._TRACER_PROVIDER_SET_ONCE)())
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """The same for metrics."""
    internal: Any = metrics._internal
    monkeypatch.setattr(internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(internal, "_METER_PROVIDER_SET_ONCE", type(internal._METER_PROVIDER_SET_ONCE)())
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    yield reader
    provider.shutdown()


async def _only(spans: InMemorySpanExporter) -> ReadableSpan:
    async with asyncio.timeout(5):
        await until(spans.get_finished_spans)  # the status arrives a moment before the servicer's task ends
    (span,) = spans.get_finished_spans()
    spans.clear()
    return span


def _durations(reader: InMemoryMetricReader) -> dict[tuple[str, str], int]:
    """Calls that were timed, by method and status."""
    data: Any = reader.get_metrics_data()
    points = [
        point
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == DURATION
        for point in metric.data.data_points
    ]
    assert {point.attributes["rpc.system.name"] for point in points} <= {"grpc"}
    return {(p.attributes["rpc.method"], p.attributes["rpc.response.status_code"]): p.count for p in points}


@KINDS
async def test_a_call_has_a_span_of_the_callers_trace(serve: Serve, spans: InMemorySpanExporter, servicer: Any) -> None:
    channel = await serve(servicer)
    parent = [("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01")]
    await channel.unary(path("Double"), pack(7), headers=parent, timeout=5)
    span = await _only(spans)
    assert (span.name, span.kind) == ("test.Numbers/Double", SpanKind.SERVER)
    assert span.context is not None
    assert trace.format_trace_id(span.context.trace_id) == TRACE_ID
    assert span.parent is not None
    assert trace.format_span_id(span.parent.span_id) == PARENT_ID
    assert dict(span.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": "test.Numbers/Double",
        "rpc.response.status_code": "OK",
        "network.transport": "unix",
    } | {key: value for key, value in (span.attributes or {}).items() if key == "network.peer.address"}
    assert span.status.status_code is StatusCode.UNSET
    _ = [data async for data in channel.stream(path("Count"), pack(2), timeout=5)]
    assert (await _only(spans)).name == "test.Numbers/Count"


class _Current:
    """Keeps the span that is current while it runs, as spans of its own would have it for a parent."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def note(self) -> Any:
        self.seen.append(trace.get_current_span().get_span_context().span_id)
        return Number()


async def test_the_span_is_current_while_the_servicer_runs(serve: Serve, spans: InMemorySpanExporter) -> None:
    current = _Current()

    class Async(AsyncNumbers):
        async def Double(self, request: Any, context: Any) -> Any:
            return current.note()

        async def Count(self, request: Any, context: Any) -> AsyncIterator[Any]:
            yield current.note()

    class Blocking(BlockingNumbers):
        def Double(self, request: Any, context: Any) -> Any:
            return current.note()

    services = Services()
    numbers.add(Async(), services)
    numbers.add(Blocking(), services, "test.Blocking")
    channel = await serve(services=services)
    await channel.unary(path("Double"), pack(1), timeout=5)
    await channel.unary("/test.Blocking/Double", pack(1), timeout=5)
    _ = [data async for data in channel.stream(path("Count"), pack(1), timeout=5)]
    async with asyncio.timeout(5):
        await until(lambda: len(spans.get_finished_spans()) == 3)
    made = [span.context.span_id for span in spans.get_finished_spans() if span.context is not None]
    assert current.seen == made


async def _raises(context: Any) -> None:
    raise KeyError


async def _aborts(context: Any) -> None:
    await context.abort(grpc.StatusCode.NOT_FOUND, "")


async def _sets(context: Any) -> None:
    context.set_code(grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize(
    ("act", "status", "is_error"),
    [(_raises, "UNKNOWN", True), (_aborts, "NOT_FOUND", False), (_sets, "UNAVAILABLE", True)],
    ids=["raises", "aborts", "sets"],
)
async def test_the_status_is_noted_and_only_the_servers_faults_are_errors(
    serve: Serve, spans: InMemorySpanExporter, measured: InMemoryMetricReader, act: Any, status: str, is_error: bool
) -> None:
    class Failing(AsyncNumbers):
        async def Double(self, request: Any, context: Any) -> Any:
            await act(context)

    channel = await serve(Failing())
    with pytest.raises(BridgeError):
        await channel.unary(path("Double"), pack(1), timeout=5)
    span = await _only(spans)
    assert span.attributes is not None
    assert span.attributes["rpc.response.status_code"] == status
    assert (span.status.status_code is StatusCode.ERROR) == is_error
    assert span.attributes.get("error.type") == (status if is_error else None)
    assert _durations(measured) == {("test.Numbers/Double", status): 1}


async def test_calls_that_end_early_say_why(serve: Serve, spans: InMemorySpanExporter) -> None:
    class Waiting(AsyncNumbers):
        async def Double(self, request: Any, context: Any) -> Any:
            began.set()
            await asyncio.Event().wait()

    began = asyncio.Event()
    channel = await serve(Waiting())
    # The deadline as it travels, and no timer at the client that could be faster than the server's.
    call = channel.for_stubs.unary_unary(path("Double"))(pack(1), metadata=(("grpc-timeout", "50m"),))
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    assert (await _only(spans)).attributes["rpc.response.status_code"] == "DEADLINE_EXCEEDED"  # type: ignore[index]
    began.clear()
    waiting = asyncio.create_task(channel.unary(path("Double"), pack(1), timeout=30))
    async with asyncio.timeout(5):
        await began.wait()
    waiting.cancel()
    assert (await _only(spans)).attributes["rpc.response.status_code"] == "CANCELLED"  # type: ignore[index]


async def test_refused_calls_are_counted_with_their_status(serve: Serve, measured: InMemoryMetricReader) -> None:
    channel = await serve(BlockingNumbers(), rate_limit=RateLimit(0.001, 1))
    await channel.unary(path("Double"), pack(1), timeout=5)
    with pytest.raises(BridgeError):
        await channel.unary(path("Double"), pack(1), timeout=5)
    assert _durations(measured) == {
        ("test.Numbers/Double", "OK"): 1,
        ("test.Numbers/Double", "RESOURCE_EXHAUSTED"): 1,
    }


async def test_paths_that_callers_make_up_have_no_time_series_of_their_own(
    serve: Serve, measured: InMemoryMetricReader
) -> None:
    class Anything(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            async def answer(request: bytes, context: Any) -> bytes:
                return request

            return grpc.unary_unary_rpc_method_handler(answer)

    services = Services()
    services.add_generic_rpc_handlers((Anything(),))
    channel = await serve(services=services)
    for number in range(3):
        await channel.unary(f"/made.Up/N{number}", b"", timeout=5)
    assert _durations(measured) == {("_OTHER", "OK"): 3}


async def _echo(call: ServerCall, request: bytes) -> bytes:
    return request


async def test_methods_of_ours_have_telemetry_of_their_own(serve: Serve, spans: InMemorySpanExporter) -> None:
    services = Services()
    services.add_methods([Method("/test.Echo/Echo", unary=_echo)])
    channel = await serve(services=services)
    await channel.unary("/test.Echo/Echo", b"x", timeout=5)
    assert not spans.get_finished_spans()


async def test_telemetry_can_be_off(serve: Serve, spans: InMemorySpanExporter, measured: InMemoryMetricReader) -> None:
    channel = await serve(AsyncNumbers(), telemetry=False)
    await channel.unary(path("Double"), pack(1), timeout=5)
    assert not spans.get_finished_spans()
    assert not _durations(measured)


def test_nothing_is_watched_while_no_sdk_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    internal: Any = metrics._internal
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(internal, "_METER_PROVIDER", None)
    assert grpcio_services._telemetry() is None
