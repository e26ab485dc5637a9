"""Spans and trace context of calls, with a real SDK and an exporter in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from bridge.errors import BridgeError
from tests.clients.memory import LOST, ManualTime, MemoryServer, busy, chunk, result


class Tracing:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def tracing() -> Tracing:
    return Tracing()


def server(*outcomes: object) -> MemoryServer:
    made = MemoryServer()
    made.outcomes.extend(outcomes)  # type: ignore[arg-type]
    return made


async def test_call_is_a_client_span_whose_context_travels(tracing: Tracing) -> None:
    memory = server(result(1))
    async with memory.client(tracing=tracing.provider) as client:
        with tracing.provider.get_tracer("test").start_as_current_span("parent") as parent:
            token = context.attach(baggage.set_baggage("tenant", "blue"))
            await client.call("tool")
            context.detach(token)
    span = next(span for span in tracing.spans() if span.name != "parent")
    assert (span.name, span.kind) == ("bridge.v1.BridgeService/ExecuteTool", SpanKind.CLIENT)
    assert span.parent is not None
    assert span.parent.span_id == parent.get_span_context().span_id
    assert dict(span.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": "bridge.v1.BridgeService/ExecuteTool",
        "rpc.response.status_code": "OK",
        "bridge.tool": "tool",
        "bridge.target": "memory:1",
    }
    headers = memory.calls[0].headers
    assert span.context is not None
    assert headers["traceparent"].startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    assert headers["baggage"] == "tenant=blue"


async def test_failed_call_has_its_code_and_no_message_in_the_span(tracing: Tracing) -> None:
    async with server(LOST).client(ManualTime(), tracing=tracing.provider, retry=None) as client:
        with pytest.raises(BridgeError):
            await client.call("tool")
    (span,) = tracing.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["rpc.response.status_code"] == "UNAVAILABLE"
    assert LOST.message not in span.to_json()


async def test_retries_are_events_of_one_span(tracing: Tracing) -> None:
    async with server(busy(), busy(), result(1)).client(ManualTime(), tracing=tracing.provider) as client:
        await client.call("tool")
    (span,) = tracing.spans()
    assert [event.name for event in span.events] == ["retry", "retry"]
    assert (span.attributes or {})["rpc.response.status_code"] == "OK"


async def test_span_of_a_stream_lasts_to_its_end_and_is_never_the_current_one(tracing: Tracing) -> None:
    memory = server([chunk(0, 1), chunk(1, 2), chunk(2, final=True)])
    async with memory.client(tracing=tracing.provider) as client:
        async for _ in client.stream("tool"):
            assert not trace.get_current_span().get_span_context().is_valid
            assert tracing.spans() == []
        (span,) = tracing.spans()
    assert span.name == "bridge.v1.BridgeService/ExecuteStreamingTool"
    assert (span.attributes or {})["rpc.response.status_code"] == "OK"


async def test_stream_left_early_ends_its_span_as_cancelled(tracing: Tracing) -> None:
    memory = server([chunk(0, 1), chunk(1, 2), chunk(2, final=True)])
    async with memory.client(tracing=tracing.provider) as client, client.stream("tool") as stream:
        await anext(stream)
    (span,) = tracing.spans()
    assert (span.attributes or {})["rpc.response.status_code"] == "CANCELLED"


async def test_without_an_sdk_nothing_is_added_to_a_call() -> None:
    memory = server(result(1))
    async with memory.client() as client:
        await client.call("tool")
    assert memory.calls[0].headers == {}


def test_client_does_not_import_the_tracing_api() -> None:
    root = Path(__file__).parents[2]
    program = (
        "import sys; from bridge_client import BridgeClient; BridgeClient('127.0.0.1:1'); "
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    path = f"{root}:{root / 'clients' / 'python'}"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30, env={"PYTHONPATH": path})
