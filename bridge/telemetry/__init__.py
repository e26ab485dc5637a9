"""Traces, metrics and logs. Importing this package, or any module that the way of a call needs, imports nothing of
OpenTelemetry; that happens when tracing or metrics are switched on."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

    from bridge.telemetry.metrics import ClientMetrics

__all__ = ["client_metrics"]


def client_metrics() -> ClientMetrics | None:
    """The recorder of all clients of this process, or ``None`` while no ``MeterProvider`` is configured.

    Ask once, when a client is made.
    """
    if "opentelemetry.metrics" not in sys.modules:
        return None  # whoever configures metrics has imported it; importing it to find nothing would be slow
    from bridge.telemetry.metrics import meter

    current = meter()
    return None if current is None else _client_metrics(current)


@functools.lru_cache(maxsize=1)
def _client_metrics(meter: Meter) -> ClientMetrics:
    from bridge.telemetry.metrics import ClientMetrics

    return ClientMetrics(meter)
