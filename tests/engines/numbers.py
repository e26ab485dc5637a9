"""A service of others, ``test.Numbers``, as generated code would have it: messages of protobuf, all four shapes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import Int64Value

NAME = "test.Numbers"
Number = Int64Value


def path(method: str) -> str:
    return f"/{NAME}/{method}"


def pack(value: int) -> bytes:
    return bytes(Number(value=value).SerializeToString())


def unpack(data: bytes) -> int:
    return int(Number.FromString(data).value)


class AsyncNumbers:
    """For grpc.aio, with generators."""

    async def Double(self, request: Any, context: Any) -> Any:
        return Number(value=2 * request.value)

    async def Count(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for number in range(request.value):
            yield Number(value=number)

    async def Sum(self, requests: Any, context: Any) -> Any:
        return Number(value=sum([request.value async for request in requests]))

    async def Doubles(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield Number(value=2 * request.value)


class WritingNumbers(AsyncNumbers):
    """For grpc.aio, with reads and writes on the context."""

    async def Count(self, request: Any, context: Any) -> None:  # type: ignore[override]
        for number in range(request.value):
            await context.write(Number(value=number))

    async def Sum(self, requests: Any, context: Any) -> Any:
        total = 0
        while (request := await context.read()) is not grpc.aio.EOF:
            total += request.value
        return Number(value=total)

    async def Doubles(self, requests: Any, context: Any) -> None:  # type: ignore[override]
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(Number(value=2 * request.value))


class BlockingNumbers:
    """For grpc.server."""

    def Double(self, request: Any, context: Any) -> Any:
        return Number(value=2 * request.value)

    def Count(self, request: Any, context: Any) -> Iterator[Any]:
        return (Number(value=number) for number in range(request.value))

    def Sum(self, requests: Any, context: Any) -> Any:
        return Number(value=sum(request.value for request in requests))

    def Doubles(self, requests: Any, context: Any) -> Iterator[Any]:
        for request in requests:
            yield Number(value=2 * request.value)


def handlers_of(servicer: Any) -> dict[str, Any]:
    """What generated code makes of a servicer."""
    shapes: dict[str, Callable[..., Any]] = {
        "Double": grpc.unary_unary_rpc_method_handler,
        "Count": grpc.unary_stream_rpc_method_handler,
        "Sum": grpc.stream_unary_rpc_method_handler,
        "Doubles": grpc.stream_stream_rpc_method_handler,
    }
    return {
        name: shape(
            getattr(servicer, name),
            request_deserializer=Number.FromString,
            response_serializer=Number.SerializeToString,
        )
        for name, shape in shapes.items()
    }


def add_as_before_1_65(servicer: Any, server: Any, name: str = NAME) -> None:
    """How the code of older versions of grpcio-tools registers."""
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers_of(servicer)),))


def add(servicer: Any, server: Any, name: str = NAME) -> None:
    """How the code of grpcio-tools registers since 1.65."""
    handlers = handlers_of(servicer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    server.add_registered_method_handlers(name, handlers)
