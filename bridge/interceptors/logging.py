"""The audit log: one line for each call, who called what and how it ended. Never what with."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

from bridge.call import ToolCall
from bridge.errors import BridgeError
from bridge.interceptors.base import Proceed
from bridge.telemetry import propagation, semconv

__all__ = ["LOGGER", "LoggingInterceptor"]

LOGGER = logging.getLogger("bridge.audit")
"""Where the lines go, at INFO."""


class LoggingInterceptor:
    """Logs each call when it has ended.

    The record carries ``tool``, ``code``, ``duration`` (seconds), ``request_bytes``, ``chunks``, ``session_id``,
    ``peer``, ``principal``, ``trace_id``, ``reason``, ``error_id``, ``frontend``, where they are known. Arguments,
    results and messages of errors are never in it.

    Args:
        logger: where to.
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger = LOGGER) -> None:
        self._logger = logger

    async def __call__(self, call: ToolCall, proceed: Proceed, /) -> Any:
        counter = _count_chunks(call) if call.streaming else None
        start = perf_counter()
        try:
            result = await proceed(call)
        except BaseException as error:
            self._log(call, perf_counter() - start, error, counter)
            raise
        self._log(call, perf_counter() - start, None, counter)
        return result

    def _log(self, call: ToolCall, seconds: float, error: BaseException | None, counter: list[int] | None) -> None:
        logger = self._logger
        if not logger.isEnabledFor(logging.INFO):
            return
        fields: dict[str, Any] = {
            "tool": call.tool,
            "code": semconv.status_of(error),
            "duration": round(seconds, 6),
            "frontend": call.frontend,
            "request_bytes": call.size,
        }
        if counter is not None:
            fields["chunks"] = counter[0]
        for name in ("session_id", "peer", "principal"):
            if value := getattr(call, name):
                fields[name] = value
        if trace_id := propagation.trace_id(call.headers):
            fields["trace_id"] = trace_id
        if isinstance(error, BridgeError):
            fields["reason"] = error.reason
            if error_id := error.details.metadata.get("error_id"):
                fields["error_id"] = error_id
        # Made by hand: logging.info() would walk the stack for a file name and line that are always these.
        record = logging.LogRecord(logger.name, logging.INFO, __file__, 0, "call", None, None)
        record.__dict__.update(fields)
        logger.handle(record)


def _count_chunks(call: ToolCall) -> list[int]:
    counter, emit = [0], call.emit

    async def counting(chunk: Any) -> None:
        await emit(chunk)
        counter[0] += 1

    call.emit = counting
    return counter
