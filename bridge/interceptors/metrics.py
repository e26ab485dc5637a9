"""Counts and times calls. Built only when metrics are on."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from bridge.call import ToolCall
from bridge.interceptors.base import Proceed
from bridge.telemetry import semconv

if TYPE_CHECKING:
    from bridge.telemetry.metrics import Metrics

__all__ = ["MetricsInterceptor"]


class MetricsInterceptor:
    """Records calls in flight, their durations by status, and the sizes of their requests.

    Args:
        metrics: where to.
    """

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, call: ToolCall, proceed: Proceed, /) -> Any:
        metrics = self._metrics
        tool, rpc = call.tool, semconv.rpc(call.frontend, call.streaming)
        status = "OK"
        start = perf_counter()
        metrics.call_started(tool, call.size)
        try:
            return await proceed(call)
        except BaseException as error:
            status = semconv.status_of(error)
            raise
        finally:
            metrics.call_ended(tool, rpc, status, perf_counter() - start)
