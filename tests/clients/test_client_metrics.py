"""What a client measures, seen by an OpenTelemetry SDK."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from bridge import BridgeError
from bridge_client import BreakerPolicy, BridgeClient
from tests.support import probes


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    return reader


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    assert data is not None
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


async def test_calls_are_counted_by_tool_and_status(start: Any, reader: InMemoryMetricReader) -> None:
    server = await start(probes.Inline, tracing="off")
    async with BridgeClient(server.addresses[0]) as client:
        await client.call("add", a=1)
        with pytest.raises(BridgeError):
            await client.call("add", a="x")
    found = {
        (point.attributes["bridge.tool"], point.attributes["rpc.response.status_code"]): point.count
        for point in points(reader, "rpc.client.call.duration")
    }
    assert found[("add", "OK")] == 1
    assert found[("add", "INVALID_ARGUMENT")] == 1


async def test_an_open_breaker_shows(reader: InMemoryMetricReader) -> None:
    async with BridgeClient("127.0.0.1:1", retry=None, breaker=BreakerPolicy(failure_threshold=1)) as client:
        with pytest.raises(BridgeError):
            await client.call("add", a=1, timeout=5)
        (state,) = points(reader, "bridge.client.breaker.state")
        assert state.value == 2
    assert not points(reader, "bridge.client.breaker.state")
