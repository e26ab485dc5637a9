"""Telemetry: what is sent, what is logged, and that none of it is there when it is off."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import metrics as otel_metrics
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from bridge.errors import BridgeError, Code
from bridge.interceptors.metrics import MetricsInterceptor
from bridge.interceptors.tracing import TracingInterceptor
from bridge.telemetry import client_metrics, logs, propagation, semconv
from bridge.telemetry.metrics import MAX_CLIENT_TOOLS
from bridge.telemetry.prometheus import parse_address
from bridge.telemetry.setup import configure

INCOMING = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "vendor=1",
    "baggage": "user=alice",
    "authorization": "Bearer secret",
}
PASSED_ON = {key: INCOMING[key] for key in propagation.TRACE_HEADERS}
METHOD = "bridge.v1.HostService/GetVariables"


@pytest.fixture
def no_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has configured no SDK. The API has no way to take a provider back, hence the private names."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", type(trace._TRACER_PROVIDER_SET_ONCE)())
    monkeypatch.setattr(otel_metrics._internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(
        otel_metrics._internal, "_METER_PROVIDER_SET_ONCE", type(otel_metrics._internal._METER_PROVIDER_SET_ONCE)()
    )


@pytest.fixture
def exporter(no_sdk: None) -> InMemorySpanExporter:
    """A program whose spans land in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


# --- importing


def run_python(code: str) -> str:
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": f"{root}:{root / 'clients/python'}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["bridge", "bridge.telemetry.setup", "bridge.interceptors"])
def test_importing_does_not_import_opentelemetry(module: str) -> None:
    loaded = f"import sys, {module}; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    assert run_python(loaded) == "[]"


def test_a_process_that_asks_for_nothing_never_loads_opentelemetry() -> None:
    code = (
        "import sys; from bridge.telemetry import client_metrics, propagation; "
        "from bridge.telemetry.setup import configure; telemetry = configure(); "
        "assert telemetry.metrics is telemetry.tracer is client_metrics() is None; "
        "assert propagation.outgoing({'traceparent': 'x'}) == {'traceparent': 'x'}; "
        "propagation.client_span('a/b').__enter__(); "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    assert run_python(code) == "[]"


# --- propagation


def test_without_sdk_trace_headers_pass_through_untouched(no_sdk: None) -> None:
    assert not propagation.sdk_active()
    assert propagation.tracer() is None
    assert propagation.outgoing(INCOMING) == PASSED_ON
    assert propagation.outgoing() == {}
    assert propagation.trace_id(INCOMING) == "4bf92f3577b34da6a3ce929d0e0e4736"
    with propagation.client_span(METHOD) as span:
        assert span.headers(INCOMING) == PASSED_ON
    assert propagation.client_span("a/b") is propagation.client_span("c/d")


@pytest.mark.parametrize("junk", ["", "junk", "00-xyz-1-1", "00-" + "-" * 40, "00-" + "é" * 32 + "-1-1"])
def test_malformed_traceparent_gives_no_trace_id(no_sdk: None, junk: str) -> None:
    assert propagation.trace_id({"traceparent": junk}) == ""


def test_with_sdk_the_current_span_goes_out(exporter: InMemorySpanExporter) -> None:
    assert propagation.sdk_active()
    assert propagation.outgoing(INCOMING) == PASSED_ON, "no span is current: what came in goes on"
    tracer = propagation.tracer()
    assert tracer is not None
    with tracer.start_as_current_span("tool") as span:
        context = span.get_span_context()
        trace_id, span_id = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
        headers = propagation.outgoing(INCOMING)
        assert headers.keys() == {"traceparent"}
        assert headers["traceparent"].startswith(f"00-{trace_id}-{span_id}-")
        assert propagation.trace_id() == trace_id


def test_call_to_the_host_is_a_client_span_and_the_parent_of_what_follows(exporter: InMemorySpanExporter) -> None:
    tracer = propagation.tracer()
    assert tracer is not None
    with (
        tracer.start_as_current_span("tool") as tool,
        propagation.client_span(METHOD, {"server.address": "host:1"}) as span,
    ):
        headers = span.headers(INCOMING)
        assert trace.get_current_span() is tool
    client = exporter.get_finished_spans()[0]
    assert client.context is not None
    assert headers["traceparent"].split("-")[2] == trace.format_span_id(client.context.span_id)
    assert client.parent == tool.get_span_context()
    assert (client.name, client.kind) == (METHOD, SpanKind.CLIENT)
    assert dict(client.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "server.address": "host:1",
        "rpc.response.status_code": "OK",
    }


def test_failed_call_to_the_host_marks_its_span(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(BridgeError), propagation.client_span(METHOD):
        raise BridgeError(Code.NOT_FOUND, "secret", reason="SESSION_NOT_FOUND")
    (span,) = exporter.get_finished_spans()
    attributes = span.attributes or {}
    assert attributes["rpc.response.status_code"] == attributes["error.type"] == "NOT_FOUND"
    assert attributes["bridge.reason"] == "SESSION_NOT_FOUND"
    assert span.status.status_code is StatusCode.ERROR
    assert "secret" not in span.to_json()


async def test_client_span_lives_across_the_yields_of_a_stream(exporter: InMemorySpanExporter) -> None:
    async def stream() -> Any:
        with propagation.client_span(METHOD):
            yield 1
            yield 2

    chunks = stream()
    assert await anext(chunks) == 1
    assert not trace.get_current_span().get_span_context().is_valid
    await asyncio.create_task(chunks.aclose())  # in another context than the one it began in
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["rpc.response.status_code"] == "CANCELLED"


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:127.0.0.1:5000", semconv.Peer("tcp", "127.0.0.1", 5000)),
        ("ipv6:%5B::1%5D:5000", semconv.Peer("tcp", "::1", 5000)),
        ("unix:/run/bridge.sock", semconv.Peer("unix", "/run/bridge.sock")),
        ("unix:", semconv.Peer("unix", "")),
        ("pipe", semconv.Peer("", "pipe")),
        ("", semconv.Peer("", "")),
        ("ipv4:nonsense", semconv.Peer("tcp", "", None)),
    ],
)
def test_peer_is_read_in_every_form(peer: str, expected: semconv.Peer) -> None:
    assert semconv.parse_peer(peer) == expected


# --- configure: tracing


async def test_everything_is_off_by_default(no_sdk: None) -> None:
    telemetry = configure(environ={})
    assert (telemetry.tracer, telemetry.metrics) == (None, None)
    assert telemetry.interceptors(["a"]) == ()
    await telemetry.aclose()


async def test_auto_uses_the_sdk_the_program_has_configured(exporter: InMemorySpanExporter) -> None:
    telemetry = configure(environ={})
    assert telemetry.tracer is not None
    assert telemetry.tracer is propagation.tracer()
    assert [type(one) for one in telemetry.interceptors()] == [TracingInterceptor]
    await telemetry.aclose()
    with telemetry.tracer.start_as_current_span("still works: the provider is not ours to close"):
        pass
    assert len(exporter.get_finished_spans()) == 1
    assert configure(tracing="off", environ={}).tracer is None


@pytest.mark.parametrize(
    "switch", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}]
)
async def test_opentelemetrys_own_switches_are_honoured(no_sdk: None, switch: dict[str, str]) -> None:
    telemetry = configure(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **switch})
    assert (telemetry.tracer, telemetry.metrics) == (None, None)


def test_tracing_refuses_what_is_no_endpoint(no_sdk: None) -> None:
    with pytest.raises(BridgeError, match=r"INVALID_ARGUMENT: .* such as http://127\.0\.0\.1:4317"):
        configure(tracing="collector:4317", environ={})


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """A collector that remembers."""

    def __init__(self) -> None:
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []

    def Export(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    servicer = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"http://127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.mark.parametrize("by", ["argument", "environment"])
async def test_closing_sends_what_is_left_to_the_collector(
    no_sdk: None, collector: tuple[Collector, str], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    servicer, endpoint = collector
    if by == "argument":
        telemetry = configure(tracing=endpoint, service_name="my-service", environ={})
    else:
        environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint}
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
        telemetry = configure(service_name="my-service", environ=environ)
    assert telemetry.tracer is not None
    telemetry.tracer.start_span("call").end()
    async with asyncio.timeout(10):
        await telemetry.aclose()
    (resource_spans,) = servicer.requests[0].resource_spans
    assert [span.name for span in resource_spans.scope_spans[0].spans] == ["call"]
    resource = {one.key: one.value.string_value for one in resource_spans.resource.attributes}
    assert resource["service.name"] == "my-service"
    assert resource["service.instance.id"].endswith(f":{os.getpid()}")


async def test_a_collector_that_is_down_does_not_hold_up_the_end(
    no_sdk: None, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
        telemetry = configure(tracing=f"http://127.0.0.1:{silent.getsockname()[1]}", environ={})
        assert telemetry.tracer is not None
        telemetry.tracer.start_span("call").end()
        async with asyncio.timeout(10):
            await telemetry.aclose(timeout=0.05)
    assert "did not take what was left" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "hidden", "extra"),
    [
        ({"tracing": "http://127.0.0.1:1"}, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "otel"),
        ({"metrics_address": "127.0.0.1:0"}, "opentelemetry.exporter.prometheus", "metrics"),
    ],
)
def test_missing_extra_is_named(
    no_sdk: None, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, str], hidden: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(BridgeError) as caught:
        configure(**arguments, environ={})
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "MISSING_EXTRA")
    assert f'pip install "tool-bridge[{extra}]"' in caught.value.message


def test_auto_without_the_extra_is_off_and_says_so(
    no_sdk: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for signal in ("trace", "metric"):
        monkeypatch.setitem(sys.modules, f"opentelemetry.exporter.otlp.proto.grpc.{signal}_exporter", None)
    telemetry = configure(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert (telemetry.tracer, telemetry.metrics) == (None, None)
    assert caplog.text.count("tool-bridge[otel]") == 2


# --- configure: metrics


def scrape(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


async def test_prometheus_endpoint_shows_what_is_recorded_and_goes_away(no_sdk: None) -> None:
    telemetry = configure(metrics_address="127.0.0.1:0", environ={})
    assert telemetry.metrics is not None
    assert [type(one) for one in telemetry.interceptors(["word_count"])] == [MetricsInterceptor]
    record_everything(telemetry.metrics)

    text = await asyncio.to_thread(scrape, telemetry.metrics_address)
    for name in (
        "rpc_server_call_duration_seconds_bucket",
        "bridge_server_request_size_bytes_sum",
        "bridge_server_response_size_bytes_sum",
        "bridge_server_active_calls",
        "bridge_server_queue_duration_seconds_count",
        "bridge_server_execution_duration_seconds_count",
        "bridge_host_callback_duration_seconds_count",
    ):
        assert name in text
    assert 'bridge_tool="word_count"' in text
    assert 'rpc_response_status_code="NOT_FOUND"' in text

    await telemetry.aclose()
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(scrape, telemetry.metrics_address)


def record_everything(metrics: Any) -> None:
    metrics.call_started("word_count", 10)
    metrics.queue_wait("word_count", 0.001)
    metrics.execution("word_count", 0.002)
    metrics.callback("GetVariables", 0.003)
    metrics.response_size("word_count", 20)
    metrics.call_ended("word_count", semconv.rpc("grpc", False), "NOT_FOUND", 0.004)


def test_metrics_address_in_use_is_a_clear_error_and_leaves_nothing_behind(no_sdk: None) -> None:
    handlers = logging.getLogger().handlers[:]
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(BridgeError, match=f"{address} is in use") as caught:
            configure(metrics_address=address, log_format="json", environ={})
    assert caught.value.code is Code.ALREADY_EXISTS
    assert logging.getLogger().handlers == handlers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:9464", ("::1", 9464)),
    ],
)
def test_metrics_address_is_loopback_unless_it_says_otherwise(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", "localhost:http", "1.2.3.4:70000", ":-1", "h:²"])
def test_malformed_metrics_address_is_refused(text: str) -> None:
    with pytest.raises(BridgeError, match="INVALID_ARGUMENT"):
        parse_address(text)


def test_client_metrics_show_open_breakers_and_are_bounded(no_sdk: None) -> None:
    assert client_metrics() is None
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    otel_metrics.set_meter_provider(provider)
    recorder = client_metrics()
    assert recorder is not None
    assert client_metrics() is recorder
    for number in range(MAX_CLIENT_TOOLS + 10):
        recorder.call_ended(f"tool_{number}", "bridge.v1.BridgeService/ExecuteTool", "OK", 0.001)
    recorder.breaker_changed("a:1", "tool_0", "closed", "open")
    recorder.breaker_changed("b:1", "tool_0", "half_open", "closed")
    recorder.breaker_changed("c:1", "tool_0", "closed", "open")
    recorder.forget("c:1")

    data = reader.get_metrics_data()
    assert data is not None
    found = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert len(found["rpc.client.call.duration"].data.data_points) == MAX_CLIENT_TOOLS + 1
    breakers = [
        ((point.attributes or {})["bridge.target"], getattr(point, "value", None))
        for point in found["bridge.client.breaker.state"].data.data_points
    ]
    assert breakers == [("a:1", 2), ("b:1", 0)]
    provider.shutdown()


# --- logs


def log_line(log_format: str, message: str, *args: object, **fields: object) -> str:
    stream = io.StringIO()
    with logs.installed(log_format, "info", stream):
        logging.getLogger("some.tool").info(message, *args, extra=fields)
    return stream.getvalue()


def test_json_log_is_one_object_a_line_with_the_extra_fields(no_sdk: None) -> None:
    line = json.loads(log_line("json", "said %s", "a\nb", tool="word_count", duration=0.5))
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info", "logger": "some.tool", "message": "said a\nb", "tool": "word_count", "duration": 0.5,
    }  # fmt: skip


def test_console_log_is_one_line_whatever_a_caller_sends(no_sdk: None) -> None:
    text = log_line("console", "peer said hello\nERROR forged line", tool="a\rb\x1b[31m", note="two words")
    assert text.count("\n") == 1
    assert text.endswith('INFO    some.tool peer said hello\\nERROR forged line tool=a\\rb\\x1b[31m note="two words"\n')


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_and_values_are_not_logged(no_sdk: None, log_format: str) -> None:
    text = log_line(
        log_format, "hello", authorization="Bearer s3cret", api_token="s3cret", arguments={"text": "s3cret"},
        items=["s3cret"], long="x" * 5000 + "s3cret", huge=2**80,
    )  # fmt: skip
    assert "s3cret" not in text
    assert "[redacted]" in text
    assert "<dict>" in text
    assert "<int>" in text


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_half_a_surrogate_pair_does_not_break_the_log(no_sdk: None, log_format: str) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="utf-8", write_through=True)
    with logs.installed(log_format, "info", stream):
        logging.getLogger("some.tool").info("bad \ud800", extra={"field": "\ud800"})
    assert b"bad ?" in written.getvalue()


def test_extra_fields_cannot_take_the_place_of_our_own(no_sdk: None) -> None:
    assert json.loads(log_line("json", "hello", level="forged", logger="forged"))["level"] == "info"


def test_traceback_and_trace_id_are_in_the_log(exporter: InMemorySpanExporter) -> None:
    stream = io.StringIO()
    tracer = propagation.tracer()
    assert tracer is not None
    with logs.installed("json", "info", stream), tracer.start_as_current_span("call"):
        try:
            raise ValueError("what went wrong")
        except ValueError:
            logging.getLogger("some.tool").exception("failed")
        trace_id = propagation.trace_id()
    line = json.loads(stream.getvalue())
    assert "ValueError: what went wrong" in line["exception"]
    assert line["trace_id"] == trace_id


def test_logging_is_as_before_afterwards_and_only_set_up_once() -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    first, second = io.StringIO(), io.StringIO()
    with logs.installed("json", "error", first), logs.installed("json", "debug", second):
        logging.getLogger("some.tool").error("once")
    assert first.getvalue().count("once") == 1
    assert not second.getvalue()
    assert (root.handlers, root.level) == before


@pytest.mark.parametrize("arguments", [("xml", "info"), ("json", "loud")])
def test_unknown_format_or_level_is_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(BridgeError, match=r"INVALID_ARGUMENT: log_.* use one of"), logs.installed(*arguments):
        pass
