"""Events that stock adapters make by ``snakepit_bridge.telemetry``, brought to the server.

In a worker process they go by the pipe that takes its log, as a record of a logger of its own name, which the server
takes out of the log again. So they share the log's allowance: a burst of 1000 and then 200 records a second for each
worker.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from bridge.snakepit.telemetry_events import event_problem
from bridge.worker.logs import PipeHandler

__all__ = ["StockBackend", "collecting", "is_collected"]

RELAY = "bridge.snakepit.telemetry"
"""Logger of the records that carry events."""
COLLECTED = "TOOL_BRIDGE_TELEMETRY_RELAY"
"""Environment variable by which worker processes know that their server collects events."""

log = logging.getLogger("bridge.snakepit")


class Emit(Protocol):
    """Takes an event; ``TelemetrySource.emit``."""

    def __call__(
        self,
        event: str,
        measurements: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        *,
        timestamp: int = 0,
    ) -> None: ...


class _Relayed(msgspec.Struct, frozen=True):
    """An event on its way out of a worker process."""

    event: str
    measurements: dict[str, Any]
    metadata: dict[str, str]
    correlation_id: str
    timestamp: int


_collector: Emit | None = None


def is_collected() -> bool:
    """Whether somebody takes events: in this process, or in the server that has started it."""
    return _collector is not None or os.environ.get(COLLECTED) == "1"


class StockBackend:
    """A backend for ``snakepit_bridge.telemetry.set_backend``; the same in the server's process and in its workers.

    May be used from any thread. Events that nobody collects or Elixir would drop are dropped; a line of the debug log
    says why.
    """

    def emit(
        self,
        event_name: str,
        measurements: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
    ) -> None:
        """Emits an event. Never raises."""
        if _collector is not None:
            _collector(event_name, measurements, metadata, correlation_id)
        elif is_collected():
            self._relay(event_name, measurements, metadata or {}, correlation_id or "")

    def close(self) -> None:
        """Does nothing; a part of the interface."""

    def _relay(
        self, event_name: str, measurements: Mapping[str, Any], metadata: Mapping[str, Any], correlation_id: str
    ) -> None:
        handlers = logging.getLogger().handlers
        pipe = next((handler for handler in handlers if isinstance(handler, PipeHandler)), None)
        if pipe is None:
            return
        try:
            if problem := event_problem(event_name, measurements, metadata):
                log.debug("telemetry event %.100r is not sent: %s", event_name, problem)
                return
            texts = {str(key): str(value) for key, value in metadata.items()}
            relayed = _Relayed(event_name, dict(measurements), texts, correlation_id, time.time_ns())
            text = msgspec.json.encode(relayed, enc_hook=_plain).decode()
        except Exception as error:  # noqa: BLE001 - telemetry must not fail the tool, whatever the values' __str__ does
            log.debug("telemetry event %.100r is not sent: %s", event_name, type(error).__name__)
            return
        # Above every level, so that it passes a server that logs only errors.
        pipe.handle(logging.LogRecord(RELAY, logging.CRITICAL, "", 0, text, None, None))


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)  # of NumPy's scalars
    return str(value) if item is None else item()


@contextmanager
def collecting(emit: Emit) -> Iterator[None]:
    """Brings events to ``emit`` as long as the block runs: those of this process, and those of worker processes that
    are started in the meantime."""
    global _collector

    def sort_out(record: logging.LogRecord) -> bool:
        if getattr(record, "worker_logger", "") != RELAY:
            return True
        try:
            it = msgspec.json.decode(record.getMessage(), type=_Relayed)
        except msgspec.MsgspecError:
            log.debug("a telemetry event of a worker is lost: it is longer than a line of its log may be")
        else:
            emit(it.event, it.measurements, it.metadata, it.correlation_id, timestamp=it.timestamp)
        return False

    tools = logging.getLogger("bridge.tool")  # where a server logs what its workers log
    before, _collector = _collector, emit
    environment = os.environ.get(COLLECTED)
    os.environ[COLLECTED] = "1"
    tools.addFilter(sort_out)
    try:
        yield
    finally:
        tools.removeFilter(sort_out)
        _collector = before
        if environment is None:
            os.environ.pop(COLLECTED, None)
        else:
            os.environ[COLLECTED] = environment
