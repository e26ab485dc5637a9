"""Services of others register as they do with grpc's own servers, and answer in every shape."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from bridge.engines.base import Method, ServerCall
from bridge.engines.services import Services
from bridge.errors import BridgeError, Code
from tests.engines import numbers
from tests.engines.conftest import Serve
from tests.engines.numbers import AsyncNumbers, BlockingNumbers, WritingNumbers, pack, path, unpack


async def _sent(*values: int) -> AsyncIterator[bytes]:
    for value in values:
        yield pack(value)


@pytest.mark.parametrize("register", [numbers.add_as_before_1_65, numbers.add])
@pytest.mark.parametrize(
    "servicer", [AsyncNumbers(), WritingNumbers(), BlockingNumbers()], ids=lambda s: type(s).__name__
)
async def test_servicers_of_every_kind_answer_in_every_shape(
    serve: Serve, register: Callable[..., None], servicer: Any
) -> None:
    services = Services()
    register(servicer, services)
    channel = await serve(services=services)
    async with asyncio.timeout(10):
        for _ in range(2):
            assert unpack(await channel.unary(path("Double"), pack(21))) == 42
            assert [unpack(data) async for data in channel.stream(path("Count"), pack(3))] == [0, 1, 2]
            assert [unpack(data) async for data in channel.duplex(path("Sum"), _sent(1, 2, 3))] == [6]
            assert [unpack(data) async for data in channel.duplex(path("Doubles"), _sent(1, 2))] == [2, 4]
            assert [data async for data in channel.stream(path("Count"), pack(0))] == []


async def test_a_path_nobody_serves_is_unimplemented(serve: Serve) -> None:
    channel = await serve(AsyncNumbers())
    for wrong in (path("Halve"), "/test.Letters/Double"):
        with pytest.raises(BridgeError) as caught:
            await channel.unary(wrong, b"", timeout=5)
        assert caught.value.code is Code.UNIMPLEMENTED


def _decorated(method: Any) -> Any:
    @functools.wraps(method)
    def decorated(self: Any, request: Any, context: Any) -> Any:
        assert asyncio.get_running_loop()
        return method(self, request, context)

    return decorated


async def test_a_decorated_coroutine_function_runs_in_the_event_loop(serve: Serve) -> None:
    class Decorated(AsyncNumbers):
        Double = _decorated(AsyncNumbers.Double)
        Count = _decorated(AsyncNumbers.Count)

    channel = await serve(Decorated())
    assert unpack(await channel.unary(path("Double"), pack(1), timeout=5)) == 2
    assert [unpack(data) async for data in channel.stream(path("Count"), pack(2), timeout=5)] == [0, 1]


async def test_a_handler_without_a_name_is_asked_last_for_any_path(serve: Serve) -> None:
    class Anything(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            async def answer(request: bytes, context: Any) -> bytes:
                return request + str(details.method).encode()

            return grpc.unary_unary_rpc_method_handler(answer)

    services = Services()
    services.add_generic_rpc_handlers((Anything(),))
    numbers.add_as_before_1_65(AsyncNumbers(), services)
    channel = await serve(services=services)
    assert await channel.unary("/made.Up/Now", b"at ", timeout=5) == b"at /made.Up/Now"
    assert unpack(await channel.unary(path("Double"), pack(1), timeout=5)) == 2
    assert services.names == (numbers.NAME,)


async def _echo(call: ServerCall, request: bytes) -> bytes:
    return request


ECHO = Method("/test.Echo/Echo", unary=_echo)


async def test_methods_of_ours_answer_beside_servicers(serve: Serve) -> None:
    services = Services()
    services.add_methods([ECHO])
    services.add_methods([Method("/test.Echo/Again", unary=_echo)])
    numbers.add(AsyncNumbers(), services)
    assert services.names == ("test.Echo", numbers.NAME)
    channel = await serve(services=services)
    assert await channel.unary("/test.Echo/Echo", b"x", timeout=5) == b"x"
    assert await channel.unary("/test.Echo/Again", b"y", timeout=5) == b"y"
    assert unpack(await channel.unary(path("Double"), pack(1), timeout=5)) == 2


@pytest.mark.parametrize("first", [numbers.add_as_before_1_65, numbers.add])
@pytest.mark.parametrize("second", [numbers.add_as_before_1_65, numbers.add])
def test_two_services_of_one_name_are_refused(first: Callable[..., None], second: Callable[..., None]) -> None:
    services = Services()
    first(AsyncNumbers(), services)
    with pytest.raises(BridgeError, match=numbers.NAME) as caught:
        second(BlockingNumbers(), services)
    assert (caught.value.code, caught.value.reason) == (Code.ALREADY_EXISTS, "SERVICE_EXISTS")


def test_a_service_is_made_of_methods_or_of_a_servicer_and_not_of_both() -> None:
    services = Services()
    numbers.add(AsyncNumbers(), services)
    with pytest.raises(BridgeError, match=numbers.NAME):
        services.add_methods([Method(path("Double"), unary=_echo)])
    services.add_methods([ECHO])
    with pytest.raises(BridgeError, match=r"test\.Echo"):
        numbers.add(AsyncNumbers(), services, "test.Echo")
    with pytest.raises(BridgeError, match=r"test\.Echo/Echo"):
        services.add_methods([ECHO])


@pytest.mark.parametrize("name", ["test.Echo", "grpc.reflection.v1.ServerReflection"])
async def test_a_service_that_the_server_has_itself_is_refused(serve: Serve, name: str) -> None:
    services = Services()
    numbers.add(AsyncNumbers(), services, name)
    with pytest.raises(BridgeError, match=name) as caught:
        await serve(services=services, methods=(ECHO,), reflection=True)
    assert caught.value.reason == "SERVICE_EXISTS"


async def test_what_comes_after_the_start_is_refused(serve: Serve) -> None:
    services = Services()
    await serve(services=services)
    late: list[Callable[[], None]] = [
        lambda: numbers.add(AsyncNumbers(), services),
        lambda: services.add_methods([ECHO]),
    ]
    for add in late:
        with pytest.raises(BridgeError) as caught:
            add()
        assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "SERVER_STARTED")


@pytest.mark.parametrize("servicer", [AsyncNumbers(), BlockingNumbers()], ids=lambda s: type(s).__name__)
async def test_servicers_answer_only_whom_the_server_knows(serve: Serve, servicer: Any) -> None:
    def authenticate(headers: Any, common_name: str | None) -> str:
        if headers.get("authorization") != "Bearer good":
            raise BridgeError(Code.UNAUTHENTICATED, "show a token", reason="UNAUTHENTICATED")
        return "ann"

    services = Services()
    services.add_methods([ECHO])
    numbers.add(servicer, services)
    channel = await serve(services=services, authenticate=authenticate)
    good = [("authorization", "Bearer good")]
    assert unpack(await channel.unary(path("Double"), pack(1), headers=good, timeout=5)) == 2
    assert await channel.unary(ECHO.path, b"x", headers=good, timeout=5) == b"x"
    for refused in (path("Double"), ECHO.path):
        with pytest.raises(BridgeError, match="show a token") as caught:
            await channel.unary(refused, pack(1), timeout=5)
        assert caught.value.code is Code.UNAUTHENTICATED
    with pytest.raises(BridgeError, match="show a token"):
        _ = [data async for data in channel.duplex(path("Doubles"), _sent(1), timeout=5)]
