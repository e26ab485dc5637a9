"""Reflection, of both versions, lists every service and describes what any pool knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from bridge.errors import BridgeError, Code
from bridge.frontends.health import Health
from tests.engines.conftest import Serve
from tests.engines.numbers import AsyncNumbers

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
BOTH = pytest.mark.parametrize("version", [V1, V1ALPHA])


def _private_pool() -> Any:
    """Describes ``test.Numbers`` and an extension, and is nobody's default."""
    file = FileDescriptorProto(name="numbers.proto", package="test", syntax="proto2")
    message = file.message_type.add(name="Number")
    message.extension_range.add(start=100, end=200)
    file.extension.add(name="unit", number=101, type=9, label=1, extendee=".test.Number")
    file.service.add(name="Numbers").method.add(name="Double", input_type=".test.Number", output_type=".test.Number")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


async def _ask(channel: Any, version: str, *requests: dict[str, Any]) -> list[Any]:
    async def sent() -> AsyncIterator[bytes]:
        for request in requests:
            yield ServerReflectionRequest(**request).SerializeToString()

    async with asyncio.timeout(10):
        answers = channel.duplex(f"/{version}/ServerReflectionInfo", sent())
        return [ServerReflectionResponse.FromString(data) async for data in answers]


def _names(answer: Any) -> list[str]:
    return [service.name for service in answer.list_services_response.service]


def _files(answer: Any) -> list[Any]:
    return [FileDescriptorProto.FromString(data) for data in answer.file_descriptor_response.file_descriptor_proto]


@BOTH
async def test_every_service_is_listed_in_order(serve: Serve, version: str) -> None:
    health = tuple(Health(["plugin"]).methods())
    channel = await serve(AsyncNumbers(), methods=health, reflection=True)
    (answer,) = await _ask(channel, version, {"list_services": ""})
    assert _names(answer) == ["grpc.health.v1.Health", V1, V1ALPHA, "test.Numbers"]


@BOTH
async def test_whatever_a_pool_knows_is_described_with_what_it_needs(serve: Serve, version: str) -> None:
    health = tuple(Health(["plugin"]).methods())
    channel = await serve(AsyncNumbers(), methods=health, reflection=True, reflection_pools=(_private_pool(),))
    for service in ("grpc.health.v1.Health", V1, V1ALPHA, "test.Numbers"):
        (answer,) = await _ask(channel, version, {"file_containing_symbol": service})
        described = [f"{file.package}.{found.name}" for file in _files(answer) for found in file.service]
        assert described == [service]
    by_name, extension, numbers = await _ask(
        channel,
        version,
        {"file_by_filename": "numbers.proto"},
        {"file_containing_extension": {"containing_type": "test.Number", "extension_number": 101}},
        {"all_extension_numbers_of_type": "test.Number"},
    )
    assert [file.name for file in _files(by_name)] == [file.name for file in _files(extension)] == ["numbers.proto"]
    assert list(numbers.all_extension_numbers_response.extension_number) == [101]


async def test_v1_describes_its_own_messages_by_its_own_names(serve: Serve) -> None:
    channel = await serve(reflection=True)
    (answer,) = await _ask(channel, V1, {"file_containing_symbol": V1})
    (file,) = _files(answer)
    assert file.package == "grpc.reflection.v1"
    assert "v1alpha" not in str(file)


@BOTH
async def test_what_nobody_knows_is_not_found_and_the_stream_goes_on(serve: Serve, version: str) -> None:
    channel = await serve(AsyncNumbers(), reflection=True)
    unknown = {"containing_type": "test.Number", "extension_number": 1}
    *failed, listed = await _ask(
        channel,
        version,
        {"file_containing_symbol": "test.Numbers"},
        {"file_by_filename": "nobody.proto"},
        {"file_containing_extension": unknown},
        {"all_extension_numbers_of_type": "test.Number"},
        {"list_services": ""},
    )
    assert [answer.error_response.error_code for answer in failed] == [Code.NOT_FOUND] * 4
    assert "test.Numbers" in _names(listed)


async def test_a_request_that_is_none_is_refused(serve: Serve) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"\xff"

    channel = await serve(reflection=True)
    with pytest.raises(BridgeError) as caught:
        await anext(channel.duplex(f"/{V1}/ServerReflectionInfo", broken(), timeout=5))
    assert caught.value.code is Code.INVALID_ARGUMENT


async def test_without_reflection_nobody_answers(serve: Serve) -> None:
    channel = await serve(AsyncNumbers())
    with pytest.raises(BridgeError) as caught:
        await _ask(channel, V1, {"list_services": ""})
    assert caught.value.code is Code.UNIMPLEMENTED
