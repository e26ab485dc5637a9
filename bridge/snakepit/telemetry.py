"""Telemetry events of a worker, streamed to Elixir (``StreamTelemetry``).

A stock pool opens one stream when a worker starts and gives it five seconds, its open timeout being the deadline of the
stream. So what comes before a stream is open waits for it, what a stream did not take waits for the next, and a
worker that is never asked again does next to nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from random import random
from time import perf_counter_ns, time_ns
from typing import Any

from bridge.call import ToolCall
from bridge.engines.base import Method, ServerCall
from bridge.errors import BridgeError, Code
from bridge.snakepit import SERVICE
from bridge.snakepit.telemetry_events import (
    ERROR_OCCURRED,
    RESULT_SIZE,
    TOOL_EXCEPTION,
    TOOL_START,
    TOOL_STOP,
    event_problem,
    pack_event,
)
from bridge.snakepit.telemetry_filter import EventFilter
from bridge.snakepit.telemetry_queue import EventQueue
from bridge.snakepit.telemetry_samples import Sampler
from bridge.telemetry.propagation import CORRELATION
from bridge.telemetry.semconv import status_of

__all__ = ["TelemetrySource"]

log = logging.getLogger("bridge.snakepit")

MAX_WAITING = 1024
"""Events that may wait for a stream."""
SAMPLE_INTERVAL = 2.0
"""Seconds between two looks at memory and CPU, while a stream is open."""

_FAULTS = (Code.UNKNOWN, Code.INTERNAL, Code.DATA_LOSS)
"""Codes of calls that ended because Python code failed: the tool's or ours."""


class TelemetrySource:
    """Makes events of calls, as an interceptor, and of what tools emit, and sends them to whoever opens a stream.

    Of two streams the later one gets the events, and the earlier one ends: a pool opens a second one when it has given
    up the first. Names, counts and durations go into events, never arguments, results or messages of errors.

    Args:
        max_waiting: events that may wait for a stream; more are dropped and counted.
        sample_interval: seconds between two looks at memory and CPU, while a stream is open.
    """

    def __init__(self, *, max_waiting: int = MAX_WAITING, sample_interval: float = SAMPLE_INTERVAL) -> None:
        self._queue = EventQueue(max_waiting)
        self._filter = EventFilter()
        self._sample_interval = sample_interval
        self._stream: object = None
        """Stands for the stream that takes the events."""
        self._is_closed = False

    @property
    def dropped(self) -> int:
        """Events that found no room so far."""
        return self._queue.dropped

    # -- calls -----------------------------------------------------------------------------------------------------

    async def __call__(self, call: ToolCall, proceed: Callable[[ToolCall], Awaitable[Any]], /) -> Any:
        """Makes events of the beginning and the end of a call.

        ``system_time`` and ``duration`` are nanoseconds; the duration is that of the whole call, with what it waited
        for a place to run.
        """
        queue = self._queue
        if queue.is_full or not self._filter.enabled:
            if self._filter.enabled:
                queue.drop(2)
            return await proceed(call)
        about = {"tool": call.tool}
        if call.session_id:
            about["session_id"] = call.session_id
        correlation_id = call.headers.get(CORRELATION, "")
        luck = random()  # noqa: S311 - one for all events of a call, so that sampling leaves begin and end together
        self._add(TOOL_START, {"system_time": time_ns(), "count": 1}, about, correlation_id, luck)
        began = perf_counter_ns()
        try:
            result = await proceed(call)
        except BaseException as error:
            reason = error.reason if isinstance(error, BridgeError) else ""
            about |= {"error_type": reason or type(error).__name__, "grpc_status": status_of(error)}
            self._add(TOOL_EXCEPTION, {"duration": perf_counter_ns() - began, "count": 1}, about, correlation_id, luck)
            if _is_fault(error):
                self._add(ERROR_OCCURRED, {"count": 1}, about, correlation_id, luck)
            raise
        self._add(TOOL_STOP, {"duration": perf_counter_ns() - began, "count": 1}, about, correlation_id, luck)
        return result

    def result_size(self, tool: str, size: int) -> None:
        """A tool's result took so many bytes on the wire."""
        if self._filter.enabled:
            self._add(RESULT_SIZE, {"message_size": size}, {"tool": tool}, "", random())  # noqa: S311

    def emit(
        self,
        event: str,
        measurements: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        *,
        timestamp: int = 0,
    ) -> None:
        """Emits an event of a tool, from any thread. Never raises.

        What Elixir would drop is dropped here; a line of the debug log says why.

        Args:
            event: a name of Elixir's catalogue, see ``telemetry_events``.
            measurements: numbers; their names are in the catalogue, too.
            metadata: any texts.
            correlation_id: of the call it is about.
            timestamp: nanoseconds since the epoch; 0: now.
        """
        try:
            problem = event_problem(event, measurements, metadata or {})
            if not problem:
                if self._filter.enabled:
                    self._add(event, measurements, metadata or {}, correlation_id or "", random(), timestamp)  # noqa: S311
                return
        except Exception as error:  # noqa: BLE001 - telemetry must not fail the tool, whatever the values' __str__ does
            problem = f"it cannot be written ({type(error).__name__})"
        log.debug("telemetry event %.100r is not sent: %s", event, problem)

    def _add(
        self,
        event: str,
        measurements: Mapping[str, Any],
        metadata: Mapping[str, Any],
        correlation_id: str,
        luck: float,
        timestamp: int = 0,
    ) -> None:
        if luck >= self._filter.chance[event]:
            return
        if self._queue.is_full:
            self._queue.drop(1)
        else:
            self._queue.add(pack_event(event, measurements, metadata, correlation_id, timestamp or time_ns()))

    # -- streams ---------------------------------------------------------------------------------------------------

    def methods(self) -> list[Method]:
        """The methods for an engine."""
        return [Method(SERVICE + "StreamTelemetry", duplex=self._answer)]

    def close(self) -> None:
        """Ends the stream, and each that comes, when it has sent what waits. For the end of a server, which would wait
        for it otherwise."""
        self._is_closed = True
        self._queue.wake()
        self._queue.tell_dropped()

    async def _answer(self, rpc: ServerCall, controls: AsyncIterator[bytes]) -> None:
        await rpc.start()  # a client in Elixir does not go on before it has the headers
        stream = self._stream = object()
        self._queue.wake()
        self._queue.tell_dropped()
        beside = [asyncio.create_task(self._obey(controls)), asyncio.create_task(self._sample())]
        try:
            await self._send(rpc, stream)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _send(self, rpc: ServerCall, stream: object) -> None:
        while self._stream is stream:
            event = self._queue.take()
            if event is None:
                if self._is_closed:
                    return
                await self._queue.wait()
                continue
            try:
                await rpc.write(event)
            except BaseException as error:
                self._queue.put_back(event)
                if isinstance(error, Exception):  # whatever an engine raises here: nobody takes the event
                    raise BridgeError(Code.CANCELLED, "the client is gone", reason="CLIENT_GONE") from error
                raise

    async def _obey(self, controls: AsyncIterator[bytes]) -> None:
        """Does what the other side asks. A message that is refused changes nothing and does not end the stream: the
        events are worth more than the answer that a control message cannot have."""
        level = logging.WARNING  # of the first in a stream; who sends one may send many
        async for data in controls:
            try:
                self._filter.obey(data)
            except BridgeError as error:
                log.log(level, "a telemetry control message is refused, everything stays as it was: %s", error.message)
                level = logging.DEBUG

    async def _sample(self) -> None:
        sampler = Sampler()
        while True:
            if self._filter.enabled:
                for event, measurements in sampler.look().items():
                    self._add(event, measurements, {}, "", random())  # noqa: S311
            await asyncio.sleep(self._sample_interval)


def _is_fault(error: BaseException) -> bool:
    """Whether Python code has failed, as against a caller that was wrong, gave up or came too early."""
    if isinstance(error, BridgeError):
        return error.code in _FAULTS or error.reason == "WORKER_DIED"
    return isinstance(error, Exception)
