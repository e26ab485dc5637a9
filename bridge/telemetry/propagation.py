"""Takes the trace of a call onwards: W3C ``traceparent``, ``tracestate`` and ``baggage`` (https://www.w3.org/TR/trace-context/).

With an OpenTelemetry SDK at work the headers of an outgoing call come from the current span. Without one, what came
in goes out again untouched, so a trace survives a server that takes no part in it. Nothing here imports OpenTelemetry
unless the program has done so already: it is slow to import, and without it there can be no tracing anyway.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from bridge.call import Headers

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from bridge.telemetry.spans import Tracing

__all__ = [
    "CORRELATION",
    "TRACE_HEADERS",
    "CallSpan",
    "client_span",
    "outgoing",
    "sdk_active",
    "trace_id",
    "trace_of",
    "tracer",
]

TRACE_HEADERS = ("traceparent", "tracestate", "baggage")
"""The headers that are passed through, in lower case."""
CORRELATION = "x-snakepit-correlation-id"
"""What Snakepit has in their place."""

Attributes = Mapping[str, str | int | float | bool]

_NOTHING: Headers = {}
_HEX = frozenset("0123456789abcdef")


@functools.cache
def _tracing() -> Tracing:
    from bridge.telemetry.spans import Tracing  # imports OpenTelemetry; see above

    return Tracing()


def sdk_active() -> bool:
    """Whether the program has an OpenTelemetry ``TracerProvider`` that makes real spans.

    Costs 0.1 us while nobody has imported OpenTelemetry's tracing API, 1 us afterwards. Servers ask once, at start.
    """
    return "opentelemetry.trace" in sys.modules and _tracing().tracer() is not None


def tracer() -> Tracer | None:
    """Our tracer of the program's ``TracerProvider``, or ``None`` while none makes real spans."""
    return _tracing().tracer() if sdk_active() else None


def outgoing(incoming: Headers = _NOTHING) -> dict[str, str]:
    """Trace headers for a call to somebody else, and nothing but them.

    Args:
        incoming: headers of the call being served; used as they are when no span is current here.
    """
    if sdk_active():
        headers = _tracing().inject()
        if headers:
            if CORRELATION in incoming:
                headers[CORRELATION] = incoming[CORRELATION]
            return headers
    return {key: incoming[key] for key in (*TRACE_HEADERS, CORRELATION) if key in incoming}


def trace_id(incoming: Headers = _NOTHING) -> str:
    """Id of the current trace as 32 hexadecimal digits, or else that of an incoming ``traceparent``; may be empty."""
    if sdk_active():
        current = _tracing().current_trace_id()
        if current:
            return current
    return trace_of(incoming)


def trace_of(headers: Headers) -> str:
    """Id of the trace that headers tell of; empty if they tell of none."""
    parts = headers.get("traceparent", "").split("-", 3)
    # version-traceid-parentid-flags; anything of another shape is not a trace (W3C Trace Context, 3.2.2).
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 and set(parts[1]) <= _HEX else ""


class CallSpan(Protocol):
    """An outgoing call, for the length of a ``with`` block.

    The block may hold an ``await`` or be spread over an async generator: the span is never made the current one, it
    only gives its id to the other side. Leaving the block by an exception records its code.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def headers(self, incoming: Headers = _NOTHING) -> dict[str, str]:
        """Trace headers to send; ``incoming`` as for ``outgoing``."""


class _NoSpan:
    """The span of a program without tracing; one for all calls."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def headers(self, incoming: Headers = _NOTHING) -> dict[str, str]:
        return outgoing(incoming)


_NO_SPAN = _NoSpan()


def client_span(name: str, attributes: Attributes | None = None) -> CallSpan:
    """A span of kind CLIENT around a call to somebody else; its parent is the current span.

    Without tracing it is a shared object that does nothing.

    Args:
        name: ``package.Service/Method``; also ``rpc.method``.
        attributes: what else to note, known before the call.
    """
    if not sdk_active():
        return _NO_SPAN
    return _tracing().client_span(name, attributes)
