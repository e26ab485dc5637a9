"""The client half of the engine seam on grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from typing import Any

import grpc
import grpc.aio

from bridge.engines.base import ChannelOptions
from bridge.engines.grpcio.pump import RequestPump
from bridge.engines.grpcio.settings import aio_channel
from bridge.engines.headers import unsendable
from bridge.errors import BridgeError, Code
from bridge.status import DETAILS_KEY, from_status

__all__ = ["GrpcioChannel"]

# The texts by which the C core says that a call never left this machine.
_NOT_CONNECTED = ("failed to connect to all addresses", "connections to all backends failing", "DNS resolution failed")


class GrpcioChannel:
    """A Channel by grpc.aio. Nothing is sent until the first call."""

    def __init__(self, target: str, options: ChannelOptions) -> None:
        self._target = target
        self._channel = aio_channel(target, options)
        self._unary: dict[str, Any] = {}
        self._stream: dict[str, Any] = {}
        self._duplex: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<GrpcioChannel {self._target} {self._channel.get_state().name}>"

    @property
    def for_stubs(self) -> Any:
        return self._channel

    @property
    def is_connected(self) -> bool:
        return bool(self._channel.get_state() is grpc.ChannelConnectivity.READY)

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
        except (grpc.aio.InternalError, TypeError, ValueError):
            # What grpc.aio makes of headers it cannot send; to look at them before each call would cost every call.
            if (problem := unsendable(headers)) is not None:
                raise problem from None
            raise
        return response

    async def stream(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        method = self._stream.get(path)
        if method is None:
            method = self._stream[path] = self._channel.unary_stream(path)
        _check(headers)
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

    async def duplex(
        self,
        path: str,
        requests: AsyncIterable[bytes],
        *,
        headers: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        method = self._duplex.get(path)
        if method is None:
            method = self._duplex[path] = self._channel.stream_stream(path)
        _check(headers)
        try:
            call = method(timeout=timeout, metadata=headers or None)
        except grpc.aio.UsageError:
            raise _closed() from None
        pump = RequestPump(call, requests)
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                yield message
        except grpc.aio.AioRpcError as error:
            raise _translate(error, self._target) from None
        except asyncio.CancelledError:
            cancelled = _cancelled()
            if pump.failure is not None and isinstance(cancelled, BridgeError):
                cancelled = pump.failure
            raise cancelled from None
        finally:
            call.cancel()
            await pump.stop()

    async def ready(self) -> None:
        await self._channel.channel_ready()

    async def aclose(self) -> None:
        await self._channel.close()


def _check(headers: Sequence[tuple[str, str]]) -> None:
    if (problem := unsendable(headers)) is not None:
        raise problem


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
