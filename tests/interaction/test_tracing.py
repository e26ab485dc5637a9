"""One trace, from the client through the server and the tool to the host and back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from bridge import Adapter, SessionContext, engines, tool
from bridge.server import Server
from bridge.v1.bridge_pb2 import ExecuteToolRequest
from bridge_client import BridgeClient

Start = Callable[..., Awaitable[Server]]

EXECUTE = "bridge.v1.BridgeService/ExecuteTool"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class Asking(Adapter):
    """Asks the host, from the event loop and from a thread."""

    @tool
    async def ask(self, ctx: SessionContext) -> str:
        return str(await ctx.call("answer"))

    @tool
    def ask_blocking(self, ctx: SessionContext) -> str:
        return str(ctx.sync.call("answer"))

    @tool
    async def read(self, ctx: SessionContext) -> Any:
        return await ctx.get("x", default=None)


class Answering(Adapter):
    """Tools of the host."""

    @tool
    async def answer(self) -> str:
        return f"{trace.format_trace_id(_current().trace_id)} {baggage.get_baggage('user')}"


def _current() -> trace.SpanContext:
    return trace.get_current_span().get_span_context()


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """An SDK that keeps spans in memory. The API has no way to take a provider back, hence the private names."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", type(trace._TRACER_PROVIDER_SET_ONCE)())
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def lineage(spans: tuple[ReadableSpan, ...], leaf: ReadableSpan) -> list[tuple[str, SpanKind]]:
    """Names and kinds from the root down to a span."""
    by_id = {span.context.span_id: span for span in spans if span.context is not None}
    path = [leaf]
    while (parent := path[0].parent) is not None:
        path.insert(0, by_id[parent.span_id])
    return [(span.name, span.kind) for span in path]


@pytest.mark.parametrize("name", ["ask", "ask_blocking"])
async def test_one_trace_leads_from_client_through_server_and_tool_to_the_host(
    exporter: InMemorySpanExporter, start: Start, name: str
) -> None:
    host = await start(Answering, role="host")
    server = await start(Asking, host=host.addresses[0])
    async with BridgeClient(server.addresses[0], host=host.addresses[0]) as client, client.session() as session:
        exporter.clear()
        token = context.attach(baggage.set_baggage("user", "alice"))
        with trace.get_tracer("app").start_as_current_span("app") as app:
            answer = await session.call(name)
        context.detach(token)

    trace_id = trace.format_trace_id(app.get_span_context().trace_id)
    assert answer == f"{trace_id} alice", "the host's tool is in the trace, and has the baggage"
    spans = exporter.get_finished_spans()
    leaf = next(span for span in spans if (span.attributes or {}).get("bridge.tool") == "answer")
    assert leaf.kind is SpanKind.SERVER
    assert lineage(spans, leaf)[:-1] == [
        ("app", SpanKind.INTERNAL),
        (EXECUTE, SpanKind.CLIENT),
        (EXECUTE, SpanKind.SERVER),
        ("bridge.v1.HostService/ExecuteHostTool", SpanKind.CLIENT),
    ]


async def test_reading_a_variable_is_a_span_below_the_tools(exporter: InMemorySpanExporter, start: Start) -> None:
    server = await start(Asking)
    async with BridgeClient(server.addresses[0]) as client, client.session() as session:
        exporter.clear()
        await session.call("read")
    spans = exporter.get_finished_spans()
    leaf = next(span for span in spans if span.name == "bridge.v1.HostService/GetVariables")
    assert lineage(spans, leaf) == [
        (EXECUTE, SpanKind.CLIENT),
        (EXECUTE, SpanKind.SERVER),
        ("bridge.v1.HostService/GetVariables", SpanKind.CLIENT),
    ]


async def test_a_trace_survives_a_server_without_sdk(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    host = await start(Answering, role="host", audit="on")
    server = await start(Asking, host=host.addresses[0], audit="on")
    async with BridgeClient(host.addresses[0]) as client, client.session() as session:
        request = ExecuteToolRequest(session_id=session.session_id, tool_name="ask")
        channel = engines.connect(server.addresses[0])
        with caplog.at_level(logging.INFO, logger="bridge.audit"):
            await channel.unary(
                f"/{EXECUTE}",
                request.SerializeToString(),
                headers=[("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01")],
                timeout=5,
            )
        await channel.aclose()
    lines = {line.__dict__["tool"]: line.__dict__["trace_id"] for line in caplog.records if line.name == "bridge.audit"}
    assert lines == {"answer": TRACE_ID, "ask": TRACE_ID}
