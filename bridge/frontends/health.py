"""grpc.health.v1, truthful per service (https://github.com/grpc/grpc/blob/master/doc/health-checking.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse

from bridge.engines.base import Method, ServerCall
from bridge.errors import BridgeError, Code
from bridge.requests import parse_request

__all__ = ["Health"]

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING


class Health:
    """Whether services take calls. The empty name is the server as a whole."""

    def __init__(self, services: Iterable[str]) -> None:
        self._status = dict.fromkeys(("", *services), NOT_SERVING)
        self._changed = asyncio.Event()

    def set(self, serving: bool, service: str | None = None) -> None:
        """Changes one service, or all of them."""
        for name in self._status if service is None else (service,):
            self._status[name] = SERVING if serving else NOT_SERVING
        self._changed.set()
        self._changed = asyncio.Event()

    def methods(self) -> list[Method]:
        """The methods for an engine; they need no authentication, as probes have none."""
        prefix = "/grpc.health.v1.Health/"
        return [
            Method(prefix + "Check", unary=self._check, public=True),
            Method(prefix + "List", unary=self._list, public=True),
            Method(prefix + "Watch", stream=self._watch, public=True),
        ]

    async def _check(self, rpc: ServerCall, data: bytes) -> bytes:
        service = parse_request(HealthCheckRequest.FromString, data).service
        status = self._status.get(service)
        if status is None:
            raise BridgeError(Code.NOT_FOUND, f"no service {service[:128]!r} here", reason="SERVICE_NOT_FOUND")
        return bytes(HealthCheckResponse(status=status).SerializeToString())

    async def _list(self, rpc: ServerCall, data: bytes) -> bytes:
        parse_request(HealthListRequest.FromString, data)
        answer = HealthListResponse()
        for service, status in self._status.items():
            answer.statuses[service].status = status
        return bytes(answer.SerializeToString())

    async def _watch(self, rpc: ServerCall, data: bytes) -> None:
        service = parse_request(HealthCheckRequest.FromString, data).service
        sent = None
        while True:
            changed = self._changed
            status = self._status.get(service, HealthCheckResponse.SERVICE_UNKNOWN)
            if status != sent:
                await rpc.write(HealthCheckResponse(status=status).SerializeToString())
                sent = status
            await changed.wait()
