"""The client half of the engine seam on grpc.aio."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc
import grpc.aio

from bridge.engines.base import ChannelOptions
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.status import DETAILS_KEY, from_status

__all__ = ["GrpcioChannel"]

_TARGET = re.compile(r"(unix:(//)?/.+|unix:[^/].*|(dns:(///)?|ipv4:|ipv6:)?[^\s/]+:\d{1,5})", re.ASCII)

# The texts by which the C core says that a call never left this machine.
_NOT_CONNECTED = ("failed to connect to all addresses", "connections to all backends failing", "DNS resolution failed")


def _is_local(target: str) -> bool:
    return target.startswith(("unix:", "127.", "localhost:", "[::1]:", "ipv4:127."))


class GrpcioChannel:
    """A Channel by grpc.aio. Nothing is sent until the first call."""

    def __init__(self, target: str, options: ChannelOptions) -> None:
        if not _TARGET.fullmatch(target):
            raise invalid_argument(
                "target", f"{target[:100]!r} is not an address; use host:port or unix:/path", reason="BAD_TARGET"
            )
        self._target = target
        settings: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", options.max_message_bytes),
            ("grpc.max_send_message_length", options.max_message_bytes),
            # Retries are the client's: only it knows which tools may run twice.
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5_000),
            ("grpc.keepalive_time_ms", int(options.keepalive * 1000)),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.lb_policy_name", "round_robin"),
            # Otherwise a new channel shares the connection of an older one to the same address, or its failure to make
            # one and the wait before the next attempt.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if _is_local(target):
            settings.append(("grpc.enable_http_proxy", 0))
        if options.tls is None:
            self._channel = grpc.aio.insecure_channel(target, settings)
        else:
            tls = options.tls
            if tls.server_name is not None:
                settings.append(("grpc.ssl_target_name_override", tls.server_name))
            credentials = grpc.ssl_channel_credentials(tls.ca, tls.private_key, tls.certificate)
            self._channel = grpc.aio.secure_channel(target, credentials, settings)
        self._unary: dict[str, Any] = {}
        self._stream: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<GrpcioChannel {self._target} {self._channel.get_state().name}>"

    async def unary(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> bytes:
        method = self._unary.get(path)
        if method is None:
            method = self._unary[path] = self._channel.unary_unary(path)
        try:
            response: bytes = await method(request, timeout=timeout, metadata=headers or None)
        except grpc.aio.AioRpcError as error:
            raise _translate(error, self._target) from None
        except asyncio.CancelledError:
            raise _cancelled() from None
        except grpc.aio.UsageError:
            raise _closed() from None
        return response

    async def stream(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        method = self._stream.get(path)
        if method is None:
            method = self._stream[path] = self._channel.unary_stream(path)
        try:
            call = method(request, timeout=timeout, metadata=headers or None)
        except grpc.aio.UsageError:
            raise _closed() from None
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                yield message
        except grpc.aio.AioRpcError as error:
            raise _translate(error, self._target) from None
        except asyncio.CancelledError:
            raise _cancelled() from None
        finally:
            call.cancel()

    async def ready(self) -> None:
        await self._channel.channel_ready()

    async def aclose(self) -> None:
        await self._channel.close()


def _cancelled() -> BaseException:
    """grpc.aio raises CancelledError for a status CANCELLED from the other side as well; tell the two apart."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return asyncio.CancelledError()
    return BridgeError(Code.CANCELLED, "the other side cancelled the call", reason="CANCELLED")


def _closed() -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, "the connection is closed", reason="CLIENT_CLOSED")


def _translate(error: grpc.aio.AioRpcError, target: str) -> BridgeError:
    status = next((value for key, value in error.trailing_metadata() or () if key == DETAILS_KEY), None)
    code, message = error.code(), error.details() or ""
    if status is None and code is grpc.StatusCode.UNAVAILABLE and any(text in message for text in _NOT_CONNECTED):
        return BridgeError(
            Code.UNAVAILABLE,
            f"nobody answers at {target}: is the server running, and is this its address? ({message[:300]})",
            reason="NOT_CONNECTED",
        )
    if status is None and code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return BridgeError(Code.DEADLINE_EXCEEDED, "no answer within the deadline", reason="DEADLINE_EXCEEDED")
    return from_status(code.value[0], message, status)
