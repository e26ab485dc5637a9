"""Blocking servicers run in threads: they hold up nobody, and know when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from bridge import engines
from bridge.engines.base import ServerOptions
from bridge.engines.grpcio.blocking import CallOverError
from bridge.engines.services import Services
from bridge.errors import BridgeError
from tests.engines import numbers
from tests.engines.conftest import GENEROUS, Serve
from tests.engines.numbers import BlockingNumbers, Number, pack, path, unpack

BOUND = 10
"""Seconds that a thread waits for the test, at most."""


class Gated(BlockingNumbers):
    """Waits for the test, and tells it what happens."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def next(self) -> Any:
        """What it tells next."""
        return await asyncio.to_thread(self.told.get, timeout=BOUND)

    def Double(self, request: Any, context: Any) -> Any:
        self.told.put(("began", request.value))
        assert self.gate.wait(BOUND)
        return super().Double(request, context)


async def test_a_slow_method_holds_up_neither_the_loop_nor_another_call(serve: Serve) -> None:
    servicer = Gated()
    channel = await serve(servicer)
    async with asyncio.timeout(BOUND):
        slow = asyncio.create_task(channel.unary(path("Double"), pack(1)))
        assert await servicer.next() == ("began", 1)
        assert [unpack(data) async for data in channel.stream(path("Count"), pack(2))] == [0, 1]
        assert not slow.done()
        servicer.gate.set()
        assert unpack(await slow) == 2


async def test_calls_beyond_the_limit_of_threads_wait(serve: Serve) -> None:
    servicer = Gated()
    channel = await serve(servicer, service_threads=1)
    async with asyncio.timeout(BOUND):
        first = asyncio.create_task(channel.unary(path("Double"), pack(1)))
        assert await servicer.next() == ("began", 1)
        second = asyncio.create_task(channel.unary(path("Double"), pack(2)))
        servicer.gate.set()
        assert unpack(await first) == 2
        assert unpack(await second) == 4


async def test_a_cancelled_call_is_told_to_its_thread(serve: Serve) -> None:
    class Watching(Gated):
        def Count(self, request: Any, context: Any) -> Iterator[Any]:
            over = threading.Event()
            assert context.is_active()
            assert context.add_callback(over.set)
            yield Number(value=1)
            assert over.wait(BOUND)
            self.told.put(("active", context.is_active()))
            self.told.put(("takes callbacks", context.add_callback(over.set)))
            for question in (context.peer, context.auth_context, lambda: context.send_initial_metadata(())):
                try:
                    question()
                except grpc.RpcError as error:
                    self.told.put(type(error))
            try:
                yield Number(value=2)
            finally:
                self.told.put(threading.current_thread() is not threading.main_thread())

    servicer = Watching()
    channel = await serve(servicer)
    async with asyncio.timeout(BOUND):
        stream = channel.stream(path("Count"), pack(1))
        assert unpack(await anext(stream)) == 1
        await stream.aclose()
        assert await servicer.next() == ("active", False)
        assert await servicer.next() == ("takes callbacks", False)
        assert [await servicer.next() for _ in range(3)] == [CallOverError] * 3
        assert await servicer.next() is True


async def test_callbacks_run_at_the_end_of_every_call_whatever_the_others_do(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Calling(Gated):
        def Double(self, request: Any, context: Any) -> Any:
            context.add_callback(lambda: 1 / 0)
            context.add_callback(lambda: self.told.put("over"))
            return Number(value=request.value)

    servicer = Calling()
    channel = await serve(servicer)
    await channel.unary(path("Double"), pack(1), timeout=BOUND)
    assert await servicer.next() == "over"
    assert "ZeroDivisionError" in caplog.text


async def test_a_cancelled_call_ends_the_requests_that_a_thread_waits_for(serve: Serve) -> None:
    class Storing(Gated):
        def Sum(self, requests: Any, context: Any) -> Any:
            over = threading.Event()
            context.add_callback(over.set)
            self.told.put(next(requests).value)
            try:
                self.told.put([request.value for request in requests])
            except grpc.RpcError:
                self.told.put([])
            assert over.wait(BOUND)
            self.told.put(context.is_active())
            return Number()

    async def requests() -> AsyncIterator[bytes]:
        yield pack(1)
        await asyncio.Event().wait()

    servicer = Storing()
    channel = await serve(servicer)
    async with asyncio.timeout(BOUND):
        reading = asyncio.create_task(anext(channel.duplex(path("Sum"), requests())))
        assert await servicer.next() == 1
        reading.cancel()
        await asyncio.wait((reading,))
        assert await servicer.next() == []
        assert await servicer.next() is False


async def test_the_context_answers_what_grpc_servers_contexts_do(serve: Serve) -> None:
    seen: dict[str, Any] = {}

    class Looking(BlockingNumbers):
        def Double(self, request: Any, context: Any) -> Any:
            assert isinstance(context, grpc.ServicerContext)
            seen["metadata"] = dict(context.invocation_metadata())["x-key"]
            seen["peer"] = context.peer()
            seen["identities"] = (context.peer_identities(), context.peer_identity_key(), context.auth_context())
            seen["remaining"] = context.time_remaining()
            context.send_initial_metadata((("x-first", "1"),))
            with pytest.raises(ValueError, match="already sent"):
                context.send_initial_metadata((("x-first", "2"),))
            context.set_trailing_metadata((("x-last", "2"),))
            seen["trailing"] = context.trailing_metadata()
            seen["thread"] = threading.current_thread().name
            return Number(value=1)

    channel = await serve(Looking())
    call = channel.for_stubs.unary_unary(path("Double"))(pack(1), metadata=(("x-key", "v"),), timeout=5)
    await call
    assert seen["metadata"] == "v"
    assert seen["peer"].startswith("unix:")
    assert seen["identities"][0] is None
    assert isinstance(seen["identities"][2], dict)
    assert 0 < seen["remaining"] < 10
    assert tuple(await call.initial_metadata()) == (("x-first", "1"),)
    assert tuple(await call.trailing_metadata()) == (("x-last", "2"),) == tuple(seen["trailing"])
    assert seen["thread"].startswith("bridge-service-")


async def test_a_servicer_may_cancel_its_call(serve: Serve) -> None:
    class Cancelling(BlockingNumbers):
        def Double(self, request: Any, context: Any) -> Any:
            context.cancel()
            assert not context.is_active()
            return Number(value=1)

    channel = await serve(Cancelling())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.for_stubs.unary_unary(path("Double"))(pack(1), timeout=5)
    assert caught.value.details() == "the servicer cancelled the call"


async def test_a_context_in_the_event_loop_fails_at_once(serve: Serve) -> None:
    class Mixing(BlockingNumbers):
        def Double(self, request: Any, context: Any) -> Any:
            async def ask() -> Any:
                return context.peer()

            return Number(value=asyncio.run_coroutine_threadsafe(ask(), loop).result(BOUND))

    loop = asyncio.get_running_loop()
    channel = await serve(Mixing())
    with pytest.raises(BridgeError, match="would stop the event loop"):
        await channel.unary(path("Double"), pack(1), timeout=5)


async def test_a_stuck_method_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    servicer, services = Gated(), Services()
    numbers.add(servicer, services)
    engine = engines.serve(ServerOptions(**GENEROUS))
    engine.listen(f"unix:{tmp_path / 's'}")
    await engine.start([], services)
    channel = engines.connect(f"unix:{tmp_path / 's'}")
    async with asyncio.timeout(BOUND):
        call = asyncio.create_task(channel.unary(path("Double"), pack(1)))
        assert await servicer.next() == ("began", 1)
        await engine.aclose(0.0)
        with pytest.raises(BridgeError):
            await call
        await channel.aclose()
    (thread,) = [thread for thread in threading.enumerate() if thread.name.startswith("bridge-service-")]
    servicer.gate.set()
    await asyncio.to_thread(thread.join, BOUND)
    assert not thread.is_alive()


async def test_blocking_stubs_talk_to_blocking_servicers(serve: Serve, address: str) -> None:
    await serve(BlockingNumbers())

    def use() -> list[int]:
        with engines.connect_blocking(address) as channel:
            double = channel.unary_unary(path("Double"), Number.SerializeToString, Number.FromString)
            doubles = channel.stream_stream(path("Doubles"), Number.SerializeToString, Number.FromString)
            sent = iter([Number(value=1), Number(value=2)])
            return [
                double(Number(value=4), timeout=BOUND).value,
                *(answer.value for answer in doubles(sent, timeout=BOUND)),
            ]

    assert await asyncio.to_thread(use) == [8, 2, 4]
