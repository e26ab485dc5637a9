"""Features that wrap a call. The dispatcher knows the seam (``base``) and none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.interceptors.base import Interceptor, Proceed, chain
from bridge.interceptors.logging import LoggingInterceptor
from bridge.interceptors.metrics import MetricsInterceptor

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from bridge.telemetry.metrics import Metrics

__all__ = ["Interceptor", "Proceed", "chain", "standard"]


def standard(
    *, metrics: Metrics | None = None, tracer: Tracer | None = None, audit: bool = False
) -> tuple[Interceptor, ...]:
    """The interceptors that are switched on, outermost first; often none.

    Args:
        metrics: ``Telemetry.metrics``.
        tracer: ``Telemetry.tracer``.
        audit: whether to log each call.
    """
    interceptors: list[Interceptor] = []
    if metrics is not None:
        interceptors.append(MetricsInterceptor(metrics))
    if tracer is not None:
        from bridge.interceptors.tracing import TracingInterceptor  # imports OpenTelemetry

        interceptors.append(TracingInterceptor(tracer))
    if audit:
        interceptors.append(LoggingInterceptor())  # innermost: its lines are written inside the span
    return tuple(interceptors)
