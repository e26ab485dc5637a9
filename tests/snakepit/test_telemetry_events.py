"""What may be emitted, what controls may ask, and how events leave a worker process."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.snakepit import messages
from bridge.snakepit.otel import otel_environment
from bridge.snakepit.telemetry import TelemetrySource
from bridge.snakepit.telemetry_events import EVENTS
from bridge.snakepit.telemetry_filter import EventFilter
from bridge.snakepit.telemetry_relay import COLLECTED, RELAY, StockBackend, collecting, is_collected
from bridge.testing import connect
from tests.snakepit.telemetry_stream import Emitting, Event, read


def waiting(source: TelemetrySource) -> list[Event]:
    """The events that wait for a stream."""
    return [read(data) for data in source._queue._events]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


# --- emit


async def test_emitted_values_keep_their_types() -> None:
    numpy = pytest.importorskip("numpy")
    source = TelemetrySource()
    measurements = {
        "count": True,
        "bytes": numpy.int32(7),
        "duration": -(2**63),
        "latency_ms": numpy.float32(0.5),
        "lifetime": 1.5,
        "uptime": 2**63,
        "generation": "young",
    }
    source.emit("python.gc.completed", measurements, {"step": 3, 4: None, "half": "\ud800"}, "sp-1")
    (event,) = waiting(source)
    assert event.measurements == {
        "count": 1,
        "bytes": 7,
        "duration": -(2**63),
        "latency_ms": 0.5,
        "lifetime": 1.5,
        "uptime": str(2**63),
        "generation": "young",
    }
    assert event.metadata == {"step": "3", "4": "None", "half": "?"}
    assert event.correlation_id == "sp-1"


@pytest.mark.parametrize(
    ("event", "measurements", "metadata", "why"),
    [
        ("model.inference", {"count": 1}, {}, "no event of this name"),
        ("tool.execution", {"count": 1}, {}, "no event of this name"),
        ("tool.execution.stop", {"count": 1, "tokens": 9}, {}, "no measurement 'tokens'"),
        ("tool.execution.stop", {}, {str(n): n for n in range(65)}, "more than 64 entries"),
        ("tool.execution.stop", {"count": Unprintable()}, {}, "cannot be written (RuntimeError)"),
        ("tool.execution.stop", None, {}, "cannot be written (TypeError)"),
        (["tool"], {}, {}, "cannot be written (TypeError)"),
    ],
)
async def test_event_that_elixir_would_drop_is_not_sent_and_the_log_says_why(
    event: Any, measurements: Any, metadata: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="bridge.snakepit")
    source = TelemetrySource()
    source.emit(event, measurements, metadata)
    assert waiting(source) == []
    assert source.dropped == 0
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert why in record.message


async def test_long_texts_are_cut() -> None:
    source = TelemetrySource()
    source.emit("tool.result_size", {}, {"k" * 5000: "v" * 5000}, "c" * 5000)
    (event,) = waiting(source)
    assert (event.metadata, event.correlation_id) == ({"k" * 1024: "v" * 1024}, "c" * 1024)


# --- controls


@pytest.mark.parametrize(
    "control",
    [
        messages.TelemetryControl(),
        messages.TelemetryControl(sampling=messages.TelemetrySamplingUpdate(sampling_rate=-0.1)),
        messages.TelemetryControl(sampling=messages.TelemetrySamplingUpdate(sampling_rate=1.1)),
        messages.TelemetryControl(sampling=messages.TelemetrySamplingUpdate(sampling_rate=float("nan"))),
        messages.TelemetryControl(sampling=messages.TelemetrySamplingUpdate(event_patterns=["*"] * 65)),
        messages.TelemetryControl(filter=messages.TelemetryEventFilter(allow=["*"] * 65)),
        messages.TelemetryControl(filter=messages.TelemetryEventFilter(allow=["tool.*"], deny=["*" * 129])),
    ],
)
def test_control_out_of_its_bounds_is_refused_and_changes_nothing(control: messages.TelemetryControl) -> None:
    wanted = EventFilter()
    with pytest.raises(BridgeError) as caught:
        wanted.obey(control.SerializeToString())
    assert caught.value.reason == "CONTROL_REFUSED"
    assert wanted.enabled
    assert wanted.chance == dict.fromkeys(EVENTS, 1.0)


def test_empty_filter_lets_everything_out_again() -> None:
    wanted = EventFilter()
    for pattern in (["tool.*"], []):
        wanted.obey(messages.TelemetryControl(filter=messages.TelemetryEventFilter(allow=pattern)).SerializeToString())
    assert wanted.chance == dict.fromkeys(EVENTS, 1.0)


def test_sampling_rates_outlive_a_filter() -> None:
    wanted = EventFilter()
    rate = messages.TelemetrySamplingUpdate(sampling_rate=0.25, event_patterns=["python.call.*"])
    wanted.obey(messages.TelemetryControl(sampling=rate).SerializeToString())
    for deny in (["*"], []):
        wanted.obey(messages.TelemetryControl(filter=messages.TelemetryEventFilter(deny=deny)).SerializeToString())
    quarter = {event for event, chance in wanted.chance.items() if chance == 0.25}
    assert quarter == {"python.call.start", "python.call.stop", "python.call.exception"}
    assert {chance for event, chance in wanted.chance.items() if event not in quarter} == {1.0}


# --- from stock adapters


async def test_event_of_a_worker_process_reaches_the_source_and_not_the_log(caplog: pytest.LogCaptureFixture) -> None:
    source = TelemetrySource()
    began = time.time_ns()
    with collecting(source.emit):
        async with connect(Emitting, isolation="process") as client:
            pid, is_known = await client.call("emit", event="tool.result_size")
            assert (pid != os.getpid(), is_known) == (True, True)
            await client.call("emit", event="model.inference")
            ended = time.time_ns()
    (event,) = waiting(source)
    assert (event.name, event.measurements) == ("tool.result_size", {"bytes": 42, "duration": 0.5})
    assert (event.metadata, event.correlation_id) == ({"operation": "scan", "step": "3"}, "sp-7")
    assert began < event.timestamp < ended
    assert caplog.records == []


async def test_worker_process_of_a_server_that_collects_nothing_emits_nothing() -> None:
    source = TelemetrySource()
    async with connect(Emitting, isolation="process") as client:
        with collecting(source.emit):
            pid, is_known = await client.call("emit", event="tool.result_size")
    assert (pid != os.getpid(), is_known) == (True, False)
    assert waiting(source) == []


def test_record_of_a_worker_that_carries_no_event_is_lost_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    source = TelemetrySource()
    tools = logging.getLogger("bridge.tool")
    with collecting(source.emit):
        tools.critical('{"event": "tool.re', extra={"worker_logger": RELAY})
        tools.critical("a line", extra={"worker_logger": "mine"})
    tools.critical("later", extra={"worker_logger": RELAY})
    assert waiting(source) == []
    assert [record.message for record in caplog.records] == ["a line", "later"]


def test_event_of_this_process_reaches_the_source_directly() -> None:
    source = TelemetrySource()
    backend = StockBackend()
    backend.emit("tool.result_size", {"bytes": 1})
    with collecting(source.emit):
        assert is_collected()
        backend.emit("tool.result_size", {"bytes": 2})
    backend.emit("tool.result_size", {"bytes": 3})
    backend.close()
    assert [event.measurements for event in waiting(source)] == [{"bytes": 2}]
    assert not is_collected()
    assert COLLECTED not in os.environ


# --- OpenTelemetry


def test_snakepits_endpoint_is_a_collector_of_otlp_over_http() -> None:
    endpoint = "http://127.0.0.1:4318/v1/traces"
    assert otel_environment({"SNAKEPIT_OTEL_ENDPOINT": endpoint, "SNAKEPIT_SERVICE_NAME": "models"}) == {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": "models",
    }


def test_without_an_endpoint_nothing_is_traced() -> None:
    assert otel_environment({"SNAKEPIT_OTEL_CONSOLE": "true"}) == {}


def test_opentelemetrys_own_variables_come_first() -> None:
    environ = {
        "SNAKEPIT_OTEL_ENDPOINT": "http://one",
        "SNAKEPIT_SERVICE_NAME": "one",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://two",
        "OTEL_SERVICE_NAME": "two",
    }
    assert otel_environment(environ) == {}
