"""The Prometheus endpoint: metrics as text, on an address of its own. Needs the extra ``metrics``."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import threading
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIServer

from bridge.errors import BridgeError, Code

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader

__all__ = ["PrometheusEndpoint", "parse_address"]

_log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``[IPV6]:PORT``, ``:PORT`` or ``PORT``; without a host it is the loopback.

    Raises:
        BridgeError: INVALID_ARGUMENT if it is none of these.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise BridgeError(
            Code.INVALID_ARGUMENT,
            f"metrics address {address!r}: use HOST:PORT, such as 127.0.0.1:9464",
            reason="CONFIG",
        )
    return host or LOOPBACK, int(port)


class PrometheusEndpoint:
    """Answers ``GET /metrics`` in a thread of its own.

    Args:
        address: as for ``parse_address``; port 0 for any.

    Raises:
        BridgeError: ALREADY_EXISTS if somebody else has the address, INVALID_ARGUMENT if it cannot be used.
    """

    def __init__(self, address: str) -> None:
        # Imported here: they are optional, and slow to import.
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from prometheus_client import start_http_server

        host, port = parse_address(address)
        self._server: WSGIServer
        self._thread: threading.Thread
        try:
            self._server, self._thread = start_http_server(port, host)
        except OSError as error:
            raise _cannot_listen(f"{host}:{port}", error) from error
        self.reader: MetricReader = PrometheusMetricReader()
        """Collects what the endpoint shows; belongs into the ``MeterProvider``."""
        bound = self._server.server_address
        self.address = f"[{bound[0]!s}]:{bound[1]}" if ":" in str(bound[0]) else f"{bound[0]!s}:{bound[1]}"
        """The bound address."""
        if not _is_loopback(str(bound[0])):
            _log.warning("metrics are readable by whoever reaches %s: keep it inside a trusted network", self.address)

    async def aclose(self) -> None:
        """Stops answering and frees the address."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """The same, blocking."""
        self._server.shutdown()  # returns when the thread has left its loop
        self._server.server_close()
        self._thread.join()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cannot_listen(address: str, error: OSError) -> BridgeError:
    if error.errno == errno.EADDRINUSE:
        return BridgeError(
            Code.ALREADY_EXISTS,
            f"metrics address {address} is in use: stop the program that has it, or choose another with --metrics",
            reason="ADDRESS_IN_USE",
        )
    return BridgeError(Code.INVALID_ARGUMENT, f"metrics address {address}: {error.strerror or error}", reason="CONFIG")
