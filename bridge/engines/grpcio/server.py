"""The server half of the engine seam on grpc.aio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio
import msgspec

from bridge.engines.base import Method, ServerOptions
from bridge.engines.daemon_threads import DaemonThreads
from bridge.engines.grpcio.call import GrpcioCall, end
from bridge.engines.running_calls import RunningCalls
from bridge.engines.services import Services, service_of
from bridge.engines.token_bucket import TokenBucket
from bridge.errors import BridgeError, Code

__all__ = ["GrpcioServer"]

Admit = Callable[[GrpcioCall], str]
"""Says who a caller is, or raises ``BridgeError``."""


class GrpcioServer:
    """Answers RPCs by grpc.aio."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._server = grpc.aio.server(
            options=[
                # Two servers on one port would share its traffic by turns.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_send_bytes or options.max_message_bytes),
                ("grpc.max_metadata_size", options.max_metadata_bytes),
                ("grpc.absolute_max_metadata_size", options.max_metadata_bytes),
                ("grpc.max_concurrent_streams", options.max_concurrent_streams),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
            ]
        )
        self._threads: DaemonThreads | None = None
        self._running = RunningCalls()
        """Of ``services``."""
        self._credentials: Any = None
        if (tls := options.tls) is not None:
            self._credentials = grpc.ssl_server_credentials(
                [(tls.private_key, tls.certificate)],
                root_certificates=tls.client_ca,
                require_client_auth=tls.client_ca is not None,
            )

    def listen(self, address: str) -> str:
        try:
            if self._credentials is None or address.startswith("unix:"):
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise BridgeError(
                Code.ALREADY_EXISTS,
                f"cannot listen on {address}: it is in use or not an address of this machine; "
                "choose another one, or port 0 for any that is free",
                reason="ADDRESS_IN_USE",
            ) from error
        return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"

    async def start(self, methods: Sequence[Method], services: Services | None = None) -> None:
        services = services or Services()
        services.seal()
        names = {service_of(method.path) for method in methods}
        if self._options.reflection:
            from bridge.engines import reflection

            names.update(reflection.NAMES)
            answering = reflection.methods((*names, *services.names), self._options.reflection_pools)
            methods = [*methods, *answering]
        if twice := names.intersection(services.names):
            raise BridgeError(
                Code.ALREADY_EXISTS,
                f"the server has a {min(twice)} of its own: leave it out of what you register",
                reason="SERVICE_EXISTS",
            )
        self._add(methods, None)
        if services.names or services.generic_handlers:
            self._add_services(services)
        await self._begin()

    def _add(self, methods: Sequence[Method], bucket: TokenBucket | None) -> None:
        services: dict[str, dict[str, Any]] = {}
        for method in methods:
            _, service, name = method.path.split("/")
            services.setdefault(service, {})[name] = self._handler(method, bucket)
        self._server.add_generic_rpc_handlers(
            tuple(grpc.method_handlers_generic_handler(service, handlers) for service, handlers in services.items())
        )

    def _add_services(self, services: Services) -> None:
        from bridge.engines.grpcio.services import ServiceHandlers  # most servers have none

        limit = self._options.rate_limit
        bucket = None if limit is None else TokenBucket(limit, time.monotonic())
        self._add([_counted(method, self._running) for method in services.methods], bucket)
        self._threads = DaemonThreads(self._options.service_threads)
        admit = self._admission(public=False, bucket=bucket)
        handlers = ServiceHandlers(
            services, self._threads, admit, self._running.around, telemetry=self._options.telemetry
        )
        self._server.add_generic_rpc_handlers((handlers,))

    async def drain(self, timeout: float) -> bool:
        return await self._running.wait(timeout)

    async def aclose(self, grace: float) -> None:
        try:
            await self._server.stop(grace)
        finally:
            if self._threads is not None:
                self._threads.close()

    async def _begin(self) -> None:
        """Starts, also when it is cancelled: grpc.aio cannot stop what has only half started. It takes a turn of the
        loop."""
        starting = asyncio.ensure_future(self._server.start())
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait((starting,))
            raise

    def _handler(self, method: Method, bucket: TokenBucket | None) -> Any:
        admit = self._admission(public=method.public, bucket=bucket)

        async def unary(request: bytes, context: Any) -> bytes:
            call = GrpcioCall(context)
            try:
                if admit is not None:
                    call.principal = admit(call)
                response = await method.unary(call, request)  # type: ignore[misc]
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                await end(call, context, error)
                raise  # not reached: end raises
            if call.failing is not None:
                await end(call, context, None)
            return response

        answer: Any = method.stream or method.duplex

        async def stream(request: Any, context: Any) -> None:
            call = GrpcioCall(context)
            try:
                if admit is not None:
                    call.principal = admit(call)
                await answer(call, request)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - the edge of the server: every failure becomes a status
                await end(call, context, error)
            if call.failing is not None:
                await end(call, context, None)

        if method.unary is not None:
            return grpc.unary_unary_rpc_method_handler(unary)
        if method.stream is not None:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.stream_stream_rpc_method_handler(stream)

    def _admission(self, *, public: bool, bucket: TokenBucket | None) -> Admit | None:
        """What lets callers in, or None where everybody may."""
        authenticate = None if public else self._options.authenticate
        if authenticate is None and bucket is None:
            return None
        mutual = self._options.tls is not None and self._options.tls.client_ca is not None

        def admit(call: GrpcioCall) -> str:
            who = (
                "" if authenticate is None else authenticate(call.headers, call.certificate_name() if mutual else None)
            )
            if bucket is not None:
                bucket.take(time.monotonic())
            return who

        return admit


def _counted(method: Method, running: RunningCalls) -> Method:
    kinds = {kind: answer for kind in ("unary", "stream", "duplex") if (answer := getattr(method, kind)) is not None}
    return msgspec.structs.replace(method, **{kind: running.around(answer) for kind, answer in kinds.items()})
