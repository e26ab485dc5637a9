"""Telemetry events as Snakepit's Elixir side takes them.

It keeps a catalogue (lib/snakepit/telemetry/naming.ex) of the names of events and of measurements, because both become
atoms. What is not in it is dropped there without a word, an event already for one unknown measurement; so it is not
even sent.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, SupportsFloat, SupportsIndex

from bridge.snakepit import messages

__all__ = [
    "CPU_SAMPLED",
    "ERROR_OCCURRED",
    "EVENTS",
    "MEASUREMENTS",
    "MEMORY_SAMPLED",
    "RESULT_SIZE",
    "TOOL_EXCEPTION",
    "TOOL_START",
    "TOOL_STOP",
    "event_problem",
    "pack_event",
]

TOOL_START, TOOL_STOP, TOOL_EXCEPTION = "tool.execution.start", "tool.execution.stop", "tool.execution.exception"
RESULT_SIZE = "tool.result_size"
ERROR_OCCURRED = "python.error.occurred"
MEMORY_SAMPLED, CPU_SAMPLED = "python.memory.sampled", "python.cpu.sampled"

EVENTS = frozenset(
    (
        *(TOOL_START, TOOL_STOP, TOOL_EXCEPTION, RESULT_SIZE, ERROR_OCCURRED, MEMORY_SAMPLED, CPU_SAMPLED),
        *("python.call.start", "python.call.stop", "python.call.exception", "python.gc.completed"),
    )
)
"""Names of the events that Elixir knows (``from_parts`` there)."""

MEASUREMENTS = frozenset(
    (  # noqa: SIM905 - 35 names would be as many lines
        "duration duration_ms bytes system_time queue_depth queue_time available_workers busy_workers total_workers "
        "worker_count lifetime total_commands command_count downtime restart_count retry_count request_size "
        "response_size message_size sequence_number message_count network_time uptime call_count affinity_duration "
        "commands_with_affinity rss_bytes vms_bytes cpu_percent collected generation latency_ms count python_pid"
    ).split()
)
"""Names of the measurements that Elixir knows. Times without a unit in their name are nanoseconds, as the BEAM's native
unit is on Linux; sizes are bytes."""

MAX_TEXT = 1024
"""Characters of a text in an event; longer ones are cut."""
MAX_METADATA = 64
"""Entries of an event's metadata."""

_PARTS = {event: event.split(".") for event in EVENTS}


def event_problem(event: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Why Elixir would drop an event, or why it is too large; empty if nothing is wrong with it."""
    if event not in EVENTS:
        return "Elixir's catalogue has no event of this name"
    if unknown := [key for key in measurements if key not in MEASUREMENTS]:
        return f"Elixir's catalogue has no measurement {unknown[0]!r:.100}; what describes an event goes into metadata"
    return f"more than {MAX_METADATA} entries of metadata" if len(metadata) > MAX_METADATA else ""


def pack_event(
    event: str,
    measurements: Mapping[str, Any],
    metadata: Mapping[str, Any],
    correlation_id: str,
    timestamp: int,
) -> bytes:
    """A ``TelemetryEvent`` on the wire.

    Args:
        event: one of ``EVENTS``.
        measurements: numbers by ``MEASUREMENTS``. What is no number goes as text.
        metadata: goes as texts, by any key.
        correlation_id: of the call it is about, or empty.
        timestamp: nanoseconds since the epoch.
    """
    message = messages.TelemetryEvent(
        event_parts=_PARTS[event], timestamp_ns=timestamp, correlation_id=_text(correlation_id)
    )
    for key, value in measurements.items():
        _measure(message.measurements[key], value)
    texts = message.metadata
    for key, value in metadata.items():
        texts[_text(key)] = _text(value)
    return message.SerializeToString()


def _measure(field: messages.TelemetryValue, value: Any) -> None:
    number = value
    if type(value) is not int and isinstance(value, SupportsIndex):  # the first is all it takes for most
        number = operator.index(value)  # of True, of NumPy's integers
    if isinstance(number, int) and -(2**63) <= number < 2**63:
        field.int_value = number
    elif isinstance(number, SupportsFloat) and not isinstance(number, int):
        field.float_value = float(number)
    else:
        field.string_value = _text(number)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT]
    # Half of a surrogate pair would not get into a message.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
