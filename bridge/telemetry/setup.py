"""Switches traces, metrics and logs on when a process starts, and off, with everything sent, when it ends.

Exporters and the SDK are optional and slow to import, so they are imported here only when something asks for them.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bridge._version import __version__
from bridge.errors import BridgeError, Code
from bridge.interceptors import Interceptor, standard
from bridge.telemetry import logs, propagation

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

    from bridge.telemetry.metrics import Metrics
    from bridge.telemetry.prometheus import PrometheusEndpoint

__all__ = ["Telemetry", "configure"]

_log = logging.getLogger(__name__)

# OTLP over HTTP, if OTEL_EXPORTER_OTLP_PROTOCOL asks for it. In no extra of ours: who sets that installs it.
_HTTP = "opentelemetry.exporter.otlp.proto.http"

FLUSH_TIMEOUT = 3.0
"""Seconds the end of a process waits for a collector to take what is left."""


class Telemetry:
    """What is switched on; ``configure`` makes it. Close it when nothing is measured any more."""

    def __init__(self) -> None:
        self.metrics: Metrics | None = None
        """Where to record metrics; ``None`` when off."""
        self.tracer: Tracer | None = None
        """What makes spans; ``None`` when off."""
        self.metrics_address: str = ""
        """Bound address of the Prometheus endpoint; empty without one."""
        self._endpoint: PrometheusEndpoint | None = None
        self._flush: list[Callable[[], object]] = []
        self._undo = ExitStack()

    def interceptors(self, tools: Iterable[str] = (), *, audit: bool = False) -> tuple[Interceptor, ...]:
        """The interceptors for what is on, outermost first.

        Args:
            tools: names of the tools served: those that get metrics of their own.
            audit: whether to log each call.
        """
        if self.metrics is not None:
            self.metrics.register_tools(tools)
        return standard(metrics=self.metrics, tracer=self.tracer, audit=audit)

    def _abandon(self) -> None:
        """Closes what was begun when the rest could not be."""
        for step in self._flush:
            step()
        if self._endpoint is not None:
            self._endpoint.close()
        self._undo.close()

    async def aclose(self, timeout: float = FLUSH_TIMEOUT) -> None:
        """Sends what is left, waiting at most ``timeout`` seconds for whoever takes it, and stops the endpoint."""
        flush, self._flush = self._flush, []
        endpoint, self._endpoint = self._endpoint, None
        if flush:
            await _run_bounded(flush, timeout)
        if endpoint is not None:
            await endpoint.aclose()
        self._undo.close()


def configure(
    *,
    tracing: str = "auto",
    metrics_address: str = "",
    service_name: str = "tool-bridge",
    log_format: str = "",
    log_level: str = "info",
    environ: Mapping[str, str] = os.environ,
) -> Telemetry:
    """Sets up the telemetry of a process.

    Args:
        tracing: ``off``; the endpoint of an OTLP collector (``http://host:4317``); or ``auto``: on if the program has
            configured an OpenTelemetry SDK, or if ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set, otherwise off.
        metrics_address: address of a Prometheus endpoint; empty: none. Without a host it is the loopback. Metrics also
            go to the OTLP collector that ``OTEL_EXPORTER_OTLP_ENDPOINT`` names.
        service_name: ``service.name`` of what is sent, unless ``OTEL_SERVICE_NAME`` says otherwise.
        log_format: ``auto``, ``console`` or ``json``; empty: leave the program's logging alone.
        log_level: the least level that is logged.
        environ: the environment; OpenTelemetry's exporters read more from the process's own.

    Raises:
        BridgeError: FAILED_PRECONDITION, reason ``MISSING_EXTRA``, if what is asked for is not installed;
            ALREADY_EXISTS if the metrics address is in use; INVALID_ARGUMENT for a value that is none of the above.
    """
    telemetry = Telemetry()
    try:
        if log_format:
            telemetry._undo.enter_context(logs.installed(log_format, log_level))
        _start_tracing(telemetry, tracing, service_name, environ)
        _start_metrics(telemetry, metrics_address, service_name, environ)
    except BaseException:
        telemetry._abandon()
        raise
    return telemetry


def _start_tracing(telemetry: Telemetry, tracing: str, service_name: str, environ: Mapping[str, str]) -> None:
    if tracing == "off" or _disabled(environ):
        return
    if tracing == "auto":
        asked = _otlp_asked(environ, "TRACES")
        if propagation.sdk_active() or not asked:
            telemetry.tracer = propagation.tracer()
            return
    elif not tracing.startswith(("http://", "https://")):
        raise BridgeError(
            Code.INVALID_ARGUMENT,
            f"tracing is {tracing!r}: use auto, off, or the endpoint of a collector, such as http://127.0.0.1:4317",
            reason="CONFIG",
        )
    try:
        exporter = _span_exporter(None if tracing == "auto" else tracing, environ)
    except ImportError as error:
        problem = _missing("otel", "tracing to an OpenTelemetry collector", error)
        if tracing != "auto":
            raise problem from error
        _log.warning("tracing is off: %s", problem.message)
        return
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    processor = BatchSpanProcessor(exporter)
    telemetry._flush.append(processor.shutdown)
    if not propagation.sdk_active():
        # The end of the process is ours (aclose, bounded), not atexit's, which would wait for a collector that is down.
        trace.set_tracer_provider(TracerProvider(resource=_resource(service_name, environ), shutdown_on_exit=False))
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.add_span_processor(processor)
    else:
        _log.warning("tracing: this program has a tracer provider of another kind; it decides where spans go")
    telemetry.tracer = propagation.tracer()


def _start_metrics(telemetry: Telemetry, address: str, service_name: str, environ: Mapping[str, str]) -> None:
    otlp = _otlp_asked(environ, "METRICS") and not _disabled(environ)
    if not (address or otlp):
        return
    readers: list[MetricReader] = []
    if address:
        try:
            from bridge.telemetry.prometheus import PrometheusEndpoint

            telemetry._endpoint = PrometheusEndpoint(address)
        except ImportError as error:
            raise _missing("metrics", "the Prometheus endpoint", error) from error
        telemetry.metrics_address = telemetry._endpoint.address
        readers.append(telemetry._endpoint.reader)
    if otlp:
        try:
            readers.append(_otlp_reader(environ))
        except ImportError as error:
            problem = _missing("otel", "metrics to an OpenTelemetry collector", error)
            _log.warning("metrics do not go to the collector: %s", problem.message)
    if not readers:
        return
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider

    from bridge.telemetry.metrics import Metrics, meter

    provider = MeterProvider(readers, resource=_resource(service_name, environ), shutdown_on_exit=False)
    telemetry._flush.append(provider.shutdown)
    if meter() is None:
        metrics.set_meter_provider(provider)  # clients in this process record there too
    telemetry.metrics = Metrics(provider.get_meter("tool-bridge", __version__))


def _otlp_asked(environ: Mapping[str, str], signal: str) -> bool:
    """Whether OpenTelemetry's own variables ask for OTLP export of ``TRACES`` or ``METRICS``."""
    exporter = environ.get(f"OTEL_{signal}_EXPORTER", "otlp")
    endpoint = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return bool(endpoint) and "otlp" in exporter.split(",")


def _disabled(environ: Mapping[str, str]) -> bool:
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _over_http(environ: Mapping[str, str], signal: str) -> bool:
    protocol = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
    )
    return protocol.startswith("http/")


def _span_exporter(endpoint: str | None, environ: Mapping[str, str]) -> SpanExporter:
    if endpoint is None and _over_http(environ, "TRACES"):
        over_http: SpanExporter = importlib.import_module(f"{_HTTP}.trace_exporter").OTLPSpanExporter()
        return over_http
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint)  # plain text or TLS by the scheme


def _otlp_reader(environ: Mapping[str, str]) -> MetricReader:
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    if _over_http(environ, "METRICS"):
        return PeriodicExportingMetricReader(importlib.import_module(f"{_HTTP}.metric_exporter").OTLPMetricExporter())
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def _resource(service_name: str, environ: Mapping[str, str]) -> Resource:
    from opentelemetry.sdk.resources import Resource

    attributes = {"service.version": __version__, "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.name"] = service_name
    return Resource.create(attributes)


def _missing(extra: str, what: str, error: ImportError) -> BridgeError:
    name = error.name or "unknown"
    install = "opentelemetry-exporter-otlp-proto-http" if name.startswith(_HTTP) else f'"tool-bridge[{extra}]"'
    return BridgeError(
        Code.FAILED_PRECONDITION,
        f"{what} needs a package that is not installed ({name}): pip install {install}",
        reason="MISSING_EXTRA",
    )


async def _run_bounded(steps: list[Callable[[], object]], timeout: float) -> None:
    """Runs blocking steps in a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        for step in steps:
            try:
                step()
            except Exception:  # noqa: BLE001 - exporters raise what they like, and the other steps must run
                _log.exception("telemetry: what was left could not be sent")
        try:
            loop.call_soon_threadsafe(done.set)
        except RuntimeError:
            pass  # too late: the loop is closed

    threading.Thread(target=run, name="telemetry-flush", daemon=True).start()
    try:
        async with asyncio.timeout(timeout):
            await done.wait()
    except TimeoutError:
        _log.warning("telemetry: the collector did not take what was left within %g s; it is lost", timeout)
