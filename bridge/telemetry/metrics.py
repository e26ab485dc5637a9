"""Recorders of metrics, by the OpenTelemetry metrics API. Whoever measures holds a recorder, or ``None`` when off."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from bridge._version import __version__
from bridge.telemetry import semconv

__all__ = ["ClientMetrics", "Metrics", "meter"]

MAX_CLIENT_TOOLS = 500
"""Tools a client tells apart; a client does not know which names exist, so the number of time series needs a bound."""

BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}
"""Values of ``bridge.client.breaker.state``."""

# What the API hands out as long as nobody has configured anything; the proxy is private there, but says so itself.
_IDLE = ("_ProxyMeterProvider", "NoOpMeterProvider")

Attributes = dict[str, str | int | float | bool]


def meter() -> Meter | None:
    """Our meter of the process's ``MeterProvider``, or ``None`` while no SDK is configured."""
    provider = metrics.get_meter_provider()
    return None if type(provider).__name__ in _IDLE else provider.get_meter("tool-bridge", __version__)


def _seconds(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=list(semconv.DURATION_BUCKETS)
    )


def _bytes(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name, "By", description, explicit_bucket_boundaries_advisory=list(semconv.SIZE_BUCKETS)
    )


class Metrics:
    """What a server measures.

    Times are seconds, sizes bytes. Tools that are not registered are counted together as ``_OTHER``: a caller cannot
    make up new time series. All methods may be called from any thread but ``call_started`` and ``call_ended``, which
    belong to the event loop.

    Args:
        meter: makes the instruments.
        tools: names of the tools served; ``register_tools`` adds more.
    """

    __slots__ = ("_active", "_callback", "_duration", "_execution", "_queue", "_request", "_response", "_tools")

    def __init__(self, meter: Meter, tools: Iterable[str] = ()) -> None:
        self._tools: dict[str, Attributes] = {}
        self._active: dict[str, int] = {semconv.OTHER: 0}
        self._duration = _seconds(meter, semconv.SERVER_CALL_DURATION, "Duration of calls, from request to status.")
        self._queue = _seconds(meter, semconv.QUEUE_DURATION, "Time calls wait for a free slot.")
        self._execution = _seconds(meter, semconv.EXECUTION_DURATION, "Time tools run.")
        self._callback = _seconds(meter, semconv.CALLBACK_DURATION, "Duration of calls of tools to the host.")
        self._request = _bytes(meter, semconv.REQUEST_SIZE, "Size of requests.")
        self._response = _bytes(meter, semconv.RESPONSE_SIZE, "Size of responses, of a stream all messages together.")
        meter.create_observable_up_down_counter(
            semconv.ACTIVE_CALLS, [self._observe_active], "{call}", "Calls that are waiting or running."
        )
        self.register_tools(tools)

    def register_tools(self, names: Iterable[str]) -> None:
        """Gives tools time series of their own."""
        for name in names:
            self._tools[name] = {semconv.TOOL: name}
            self._active.setdefault(name, 0)

    def label(self, tool: str) -> str:
        """The name a tool has in metrics."""
        return tool if tool in self._tools else semconv.OTHER

    def call_started(self, tool: str, size: int) -> None:
        """A call came in with a request of ``size`` bytes."""
        self._active[self.label(tool)] += 1
        if size:
            self._request.record(size, self._attributes(tool))

    def call_ended(self, tool: str, rpc: semconv.Rpc, status: str, seconds: float) -> None:
        """A call ended with a status: ``OK`` or the name of a code."""
        label = self.label(tool)
        self._active[label] -= 1
        attributes: Attributes = {
            semconv.RPC_SYSTEM: rpc.system,
            semconv.RPC_METHOD: rpc.method,
            semconv.RPC_STATUS: status,
            semconv.TOOL: label,
        }
        if status in semconv.SERVER_ERRORS:
            attributes[semconv.ERROR_TYPE] = status
        self._duration.record(seconds, attributes)

    def response_size(self, tool: str, size: int) -> None:
        """An answer of ``size`` bytes was sent."""
        self._response.record(size, self._attributes(tool))

    def queue_wait(self, tool: str, seconds: float) -> None:
        """A call got its slot after waiting."""
        self._queue.record(seconds, self._attributes(tool))

    def execution(self, tool: str, seconds: float) -> None:
        """A tool ran, from the making of its adapter to the end of its cleanup."""
        self._execution.record(seconds, self._attributes(tool))

    def callback(self, method: str, seconds: float) -> None:
        """A tool asked the host; ``method`` is the name of a method of ours, never text of a caller."""
        self._callback.record(seconds, {semconv.RPC_METHOD: method})

    def _attributes(self, tool: str) -> Attributes:
        return self._tools.get(tool) or {semconv.TOOL: semconv.OTHER}

    def _observe_active(self, options: CallbackOptions) -> list[Observation]:
        # Read by the exporter's thread; the copy is one step for the interpreter.
        return [Observation(count, {semconv.TOOL: tool}) for tool, count in self._active.copy().items()]


class ClientMetrics:
    """What a client measures; one for all clients of a process is enough.

    Args:
        meter: makes the instruments.
    """

    __slots__ = ("_breakers", "_duration", "_seen")

    def __init__(self, meter: Meter) -> None:
        self._seen: set[str] = set()
        self._breakers: dict[tuple[str, str], int] = {}
        self._duration = _seconds(meter, semconv.CLIENT_CALL_DURATION, "Duration of calls, with all attempts.")
        meter.create_observable_gauge(
            semconv.BREAKER_STATE,
            [self._observe_breakers],
            "1",
            "State of circuit breakers that have left closed: 0 closed, 1 half_open, 2 open.",
        )

    def call_ended(self, tool: str, method: str, status: str, seconds: float) -> None:
        """A call ended with a status: ``OK`` or the name of a code. ``method``: ``package.Service/Method``."""
        attributes: Attributes = {
            semconv.RPC_SYSTEM: "grpc",
            semconv.RPC_METHOD: method,
            semconv.RPC_STATUS: status,
            semconv.TOOL: self._label(tool),
        }
        if status != "OK":
            attributes[semconv.ERROR_TYPE] = status
        self._duration.record(seconds, attributes)

    def breaker_changed(self, target: str, tool: str, before: str, after: str) -> None:
        """A circuit breaker went from one state to another; the states are ``closed``, ``half_open`` and ``open``."""
        self._breakers[target, self._label(tool)] = BREAKER_STATES[after]

    def forget(self, target: str) -> None:
        """A client was closed: its breakers are no longer there."""
        for key in [key for key in self._breakers if key[0] == target]:
            del self._breakers[key]

    def _label(self, tool: str) -> str:
        if tool in self._seen:
            return tool
        if len(self._seen) >= MAX_CLIENT_TOOLS:
            return semconv.OTHER
        self._seen.add(tool)
        return tool

    def _observe_breakers(self, options: CallbackOptions) -> list[Observation]:
        return [
            Observation(state, {semconv.TARGET: target, semconv.TOOL: tool})
            for (target, tool), state in self._breakers.copy().items()
        ]
