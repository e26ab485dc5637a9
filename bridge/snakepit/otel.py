"""Where OpenTelemetry's spans go, as Snakepit's environment says it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["otel_environment"]


def otel_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """OpenTelemetry's own variables for what Snakepit's variables ask, to be set beside ``ServerConfig.tracing =
    "auto"``. What OpenTelemetry's own variables say already is left out.

    ``SNAKEPIT_OTEL_ENDPOINT`` is the whole address of a collector of OTLP over HTTP (``http://host:4318/v1/traces``);
    ``SNAKEPIT_SERVICE_NAME`` says who sends. ``SNAKEPIT_OTEL_CONSOLE`` has no counterpart: spans never go into the log.
    """
    asked: dict[str, str] = {}
    own = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if (endpoint := environ.get("SNAKEPIT_OTEL_ENDPOINT")) and not any(map(environ.get, own)):
        asked["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = endpoint
        asked["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "http/protobuf"
    if (name := environ.get("SNAKEPIT_SERVICE_NAME")) and not environ.get("OTEL_SERVICE_NAME"):
        asked["OTEL_SERVICE_NAME"] = name
    return asked
