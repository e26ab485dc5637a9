"""grpc.reflection v1 and v1alpha: which services there are, and their messages
(https://github.com/grpc/grpc/blob/master/doc/server-reflection.md).

The two differ in nothing but their names, so one implementation answers both. It is loaded when somebody asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from bridge.engines.base import Duplex, Method, ServerCall
from bridge.errors import BridgeError, Code

__all__ = ["NAMES", "methods"]

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""The services that ``methods`` are of."""


def methods(services: Iterable[str], pools: Sequence[Any] = ()) -> list[Method]:
    """The methods for an engine. Like health, they need no authentication: servers decide where they are shown at all.

    Args:
        services: names to list.
        pools: descriptor pools to look in after protobuf's default one.
    """
    names = sorted(set(services))
    loaded: list[Any] = []

    def answers() -> Any:
        if not loaded:
            loaded.append(_servicer(names, pools))
        return loaded[0]

    answer = _answering(answers)
    return [Method(f"/{name}/ServerReflectionInfo", duplex=answer, public=True) for name in NAMES]


def _answering(servicer: Callable[[], Any]) -> Duplex:
    async def answer(call: ServerCall, requests: AsyncIterator[bytes]) -> None:
        async for response in servicer().ServerReflectionInfo(_parsed(requests), None):
            await call.write(response.SerializeToString())

    return answer


async def _parsed(requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    from google.protobuf.message import DecodeError
    from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

    async for data in requests:
        try:
            request = ServerReflectionRequest.FromString(data)
        except DecodeError:
            problem = "the request is not a valid message of grpc.reflection"
            raise BridgeError(Code.INVALID_ARGUMENT, problem, reason="MALFORMED_REQUEST") from None
        yield request


def _servicer(names: Sequence[str], pools: Sequence[Any]) -> Any:
    from google.protobuf import descriptor_pool
    from grpc_reflection.v1alpha.reflection import aio

    chain = _Chain((descriptor_pool.Default(), *pools, _v1_pool()))
    return aio.ReflectionServicer(names, pool=chain)


def _v1_pool() -> Any:
    """A pool that describes grpc.reflection.v1, of which grpcio-reflection has no module."""
    from google.protobuf import descriptor_pool
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from grpc_reflection.v1alpha import reflection_pb2

    file = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    file.ClearField("options")  # names of packages in other languages
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = _v1(field.type_name)
    for service in file.service:
        for method in service.method:
            method.input_type, method.output_type = _v1(method.input_type), _v1(method.output_type)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _v1(name: str) -> str:
    return name.replace(".grpc.reflection.v1alpha.", ".grpc.reflection.v1.")


class _Chain:
    """Several descriptor pools, asked one after the other, as the servicer asks one."""

    def __init__(self, pools: Sequence[Any]) -> None:
        self._pools = pools

    def FindFileByName(self, name: str) -> Any:
        return self._first(lambda pool: pool.FindFileByName(name))

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        return self._first(lambda pool: pool.FindFileContainingSymbol(symbol))

    def FindMessageTypeByName(self, name: str) -> Any:
        return self._first(lambda pool: pool.FindMessageTypeByName(name))

    def FindExtensionByNumber(self, message: Any, number: int) -> Any:
        return message.file.pool.FindExtensionByNumber(message, number)

    def FindAllExtensions(self, message: Any) -> Any:
        return message.file.pool.FindAllExtensions(message)

    def _first(self, find: Callable[[Any], Any]) -> Any:
        """What the first pool that knows it gives. Raises ``KeyError``."""
        for pool in self._pools:
            try:
                return find(pool)
            except KeyError:
                continue
        raise KeyError("no pool knows it")
