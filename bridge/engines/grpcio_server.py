"""The server half of the engine seam on grpc.aio."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from bridge.call import Headers
from bridge.engines.base import Method, ServerOptions
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.status import DETAILS_KEY, to_status, wire_message

__all__ = ["GrpcioServer"]

log = logging.getLogger("bridge.engine")

_STATUS = {code: grpc.StatusCode[code.name] for code in Code}

# grpcio reports "no deadline" as a time so far away that no deadline can be meant (about 292 years).
_FOREVER = 10.0 * 365 * 86400


class _Headers(Mapping[str, str]):
    """Metadata of a call, converted when somebody looks for more than one header: most calls are answered without."""

    __slots__ = ("_context", "_found")

    def __init__(self, context: Any) -> None:
        self._context = context
        self._found: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._found is None:
            metadata = self._context.invocation_metadata() or ()
            self._found = {key: value for key, value in metadata if isinstance(value, str)}
        return self._found

    def __getitem__(self, key: str) -> str:
        return self._all()[key]

    def get(self, key: str, default: Any = None) -> Any:
        # For the one header that every call is asked for, and hardly one has: half the time of making a dict.
        if self._found is None:
            for name, _ in self._context.invocation_metadata() or ():
                if name == key:
                    return self._all().get(key, default)
            return default
        return self._found.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class _Call:
    """A ServerCall over a ServicerContext."""

    __slots__ = ("_context", "failing", "principal", "write")

    def __init__(self, context: Any) -> None:
        self._context = context
        self.failing: asyncio.Task[None] | None = None
        """Sends the status that ``fail`` was given."""
        self.principal = ""
        self.write = context.write

    @property
    def headers(self) -> Headers:
        return _Headers(self._context)

    @property
    def peer(self) -> str:
        return str(self._context.peer())

    def time_remaining(self) -> float | None:
        remaining: float | None = self._context.time_remaining()
        return None if remaining is None or remaining > _FOREVER else remaining

    async def start(self) -> None:
        await self._context.send_initial_metadata(())

    def fail(self, error: BridgeError) -> None:
        self.failing = asyncio.create_task(_fail(self._context, error))

    def certificate_name(self) -> str | None:
        """Common name of the client's verified certificate; ``None`` on a Unix socket, which has no TLS."""
        facts = self._context.auth_context()
        if facts.get("transport_security_type") != [b"ssl"]:
            return None
        names = facts.get("x509_common_name") or ()
        return names[0].decode("utf-8", "replace") if names else ""


class GrpcioServer:
    """Answers RPCs by grpc.aio."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._server = grpc.aio.server(
            options=[
                # Two servers on one port would share its traffic by turns.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_message_bytes),
                ("grpc.max_metadata_size", options.max_metadata_bytes),
                ("grpc.absolute_max_metadata_size", options.max_metadata_bytes),
                ("grpc.max_concurrent_streams", options.max_concurrent_streams),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
            ]
        )
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
                "choose another with --listen, or port 0 for any free one",
                reason="ADDRESS_IN_USE",
            ) from error
        return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"

    async def start(self, methods: Sequence[Method]) -> None:
        services: dict[str, dict[str, Any]] = {}
        for method in methods:
            _, service, name = method.path.split("/")
            services.setdefault(service, {})[name] = self._handler(method)
        self._server.add_generic_rpc_handlers(
            tuple(grpc.method_handlers_generic_handler(service, handlers) for service, handlers in services.items())
        )
        if self._options.reflection:
            from grpc_reflection.v1alpha import reflection

            reflection.enable_server_reflection((*services, reflection.SERVICE_NAME), self._server)
        await self._server.start()

    async def aclose(self, grace: float) -> None:
        await self._server.stop(grace)

    def _handler(self, method: Method) -> Any:
        admit = self._admission(method)

        async def unary(request: bytes, context: Any) -> bytes:
            call = _Call(context)
            try:
                if admit is not None:
                    call.principal = admit(call)
                response = await method.unary(call, request)  # type: ignore[misc]
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                await _end(call, context, error)
                raise  # not reached: _end raises
            if call.failing is not None:
                await _end(call, context, None)
            return response

        answer: Any = method.stream or method.duplex

        async def stream(request: Any, context: Any) -> None:
            call = _Call(context)
            try:
                if admit is not None:
                    call.principal = admit(call)
                await answer(call, request)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - the edge of the server: every failure becomes a status
                await _end(call, context, error)
            if call.failing is not None:
                await _end(call, context, None)

        if method.unary is not None:
            return grpc.unary_unary_rpc_method_handler(unary)
        if method.stream is not None:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.stream_stream_rpc_method_handler(stream)

    def _admission(self, method: Method) -> Callable[[_Call], str] | None:
        """What says who a caller is, or None where nobody has to say."""
        authenticate = self._options.authenticate
        if method.public or authenticate is None:
            return None
        mutual = self._options.tls is not None and self._options.tls.client_ca is not None

        def admit(call: _Call) -> str:
            return authenticate(call.headers, call.certificate_name() if mutual else None)

        return admit


async def _end(call: _Call, context: Any, error: BaseException | None) -> None:
    """Ends the RPC: by the status of an error, unless ``fail`` was first. Raises, as ``ServicerContext.abort`` does."""
    if error is not None and call.failing is None:
        await _abort(context, error)
    if call.failing is not None:
        await call.failing
    raise asyncio.CancelledError  # to grpc.aio: there is nothing more to send


async def _fail(context: Any, error: BridgeError) -> None:
    try:
        await _abort(context, error)
    except (grpc.aio.AbortError, grpc.aio.UsageError, asyncio.CancelledError):
        pass  # how abort ends; or the RPC has its status already, or no client any more


async def _abort(context: Any, error: BaseException) -> None:
    """Ends the RPC with the status of an error. Raises, as ``ServicerContext.abort`` does."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, BridgeError):
        error_id = secrets.token_hex(8)
        log.error("a bug in tool-bridge (error id %s)", error_id, exc_info=error)
        error = BridgeError(
            Code.INTERNAL,
            f"the server failed in its own code; its log has the details under error id {error_id}",
            reason="INTERNAL",
            details=ErrorDetails(metadata={"error_id": error_id}),
        )
    context.set_trailing_metadata(((DETAILS_KEY, to_status(error)),))
    try:
        await context.abort(_STATUS[error.code], wire_message(error))
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None  # the client is gone: nobody to tell
