"""A channel sends as it is told in both directions at once, and says clearly what it cannot send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge import engines
from bridge.engines.base import ChannelOptions, Method, ServerCall
from bridge.engines.grpcio.settings import _settings
from bridge.errors import BridgeError, Code, ErrorDetails
from tests.engines.conftest import Serve
from tests.engines.numbers import AsyncNumbers, Number, pack, path
from tests.support.waiting import until

BOUND = 10


class Talk:
    """A method that answers each request, and tells how its calls end.

    Args:
        lingers: does not end by itself when the requests do. A cancel also ends the requests, a moment earlier.
    """

    def __init__(self, *, lingers: bool = False) -> None:
        self._lingers = lingers
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    @property
    def method(self) -> Method:
        return Method("/test.Talk/Talk", duplex=self._talk)

    async def _talk(self, call: ServerCall, requests: AsyncIterator[bytes]) -> None:
        try:
            async for request in requests:
                if request == b"fail":
                    raise BridgeError(
                        Code.ABORTED, "as you say", reason="TOLD_SO", details=ErrorDetails(retry_after=2.0)
                    )
                if request == b"enough":
                    break
                await call.write(b"re: " + request)
            if self._lingers:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended.put_nowait("cancelled")
            raise
        self.ended.put_nowait("ended")


class Said:
    """Requests that come when the test gives them, and know when they were closed."""

    def __init__(self, *first: bytes | Exception | None) -> None:
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.is_closed = False
        self.say(*first)

    def say(self, *requests: bytes | Exception | None) -> None:
        for request in requests:
            self._queue.put_nowait(request)

    async def __call__(self) -> AsyncIterator[bytes]:
        try:
            while (request := await self._queue.get()) is not None:
                if isinstance(request, Exception):
                    raise request
                yield request
        finally:
            self.is_closed = True


async def test_requests_and_answers_take_turns(serve: Serve) -> None:
    talk, said = Talk(), Said()
    channel = await serve(methods=(talk.method,))
    async with asyncio.timeout(BOUND):
        answers = channel.duplex(talk.method.path, said())
        for word in (b"one", b"two"):
            said.say(word)
            assert await anext(answers) == b"re: " + word
        said.say(None)
        assert [answer async for answer in answers] == []
        assert await talk.ended.get() == "ended"
        assert said.is_closed


async def test_closing_early_cancels_the_call_and_closes_the_requests(serve: Serve) -> None:
    talk, said = Talk(lingers=True), Said(b"one")
    channel = await serve(methods=(talk.method,))
    async with asyncio.timeout(BOUND):
        answers = channel.duplex(talk.method.path, said())
        await anext(answers)
        await answers.aclose()
        assert said.is_closed
        assert await talk.ended.get() == "cancelled"


async def test_closing_early_cancels_a_call_that_has_all_its_requests(serve: Serve) -> None:
    talk, said = Talk(lingers=True), Said(b"one", None)
    channel = await serve(methods=(talk.method,))
    async with asyncio.timeout(BOUND):
        answers = channel.duplex(talk.method.path, said())
        await anext(answers)
        await until(lambda: said.is_closed)
        await answers.aclose()
        assert await talk.ended.get() == "cancelled"


async def test_requests_that_wait_for_room_are_closed_with_the_call(serve: Serve) -> None:
    async def deaf(call: ServerCall, requests: AsyncIterator[bytes]) -> None:
        await call.write(b"")
        await asyncio.Event().wait()

    said = Said(*[bytes(2**20)] * 20)
    channel = await serve(methods=(Method("/test.Deaf/Talk", duplex=deaf),))
    async with asyncio.timeout(BOUND):
        answers = channel.duplex("/test.Deaf/Talk", said())
        await anext(answers)
        await answers.aclose()
        assert said.is_closed


async def test_a_cancelled_reader_cancels_the_call(serve: Serve) -> None:
    talk, said = Talk(lingers=True), Said(b"one")
    channel = await serve(methods=(talk.method,))
    async with asyncio.timeout(BOUND):
        answers = channel.duplex(talk.method.path, said())
        await anext(answers)
        reading = asyncio.create_task(anext(answers))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait((reading,))
        assert reading.cancelled()
        assert said.is_closed
        assert await talk.ended.get() == "cancelled"


async def test_an_error_of_the_other_side_comes_with_its_details(serve: Serve) -> None:
    talk, said = Talk(), Said(b"one", b"fail")
    channel = await serve(methods=(talk.method,))
    async with asyncio.timeout(BOUND):
        answers = channel.duplex(talk.method.path, said())
        assert await anext(answers) == b"re: one"
        with pytest.raises(BridgeError, match="as you say") as caught:
            await anext(answers)
        assert (caught.value.code, caught.value.reason, caught.value.retry_after) == (Code.ABORTED, "TOLD_SO", 2.0)
        assert said.is_closed


async def test_an_error_of_the_requests_cancels_the_call_and_is_raised(serve: Serve) -> None:
    talk = Talk(lingers=True)
    channel = await serve(methods=(talk.method,))
    async with asyncio.timeout(BOUND):
        for first in ((), (b"one",)):
            said = Said(*first, KeyError("mine"))
            with pytest.raises(KeyError, match="mine"):
                _ = [answer async for answer in channel.duplex(talk.method.path, said())]
    async with asyncio.timeout(BOUND):
        assert await talk.ended.get() == "cancelled"


async def test_the_end_of_the_answers_ends_the_requests(serve: Serve) -> None:
    talk, said = Talk(), Said(b"enough")
    channel = await serve(methods=(talk.method,))
    async with asyncio.timeout(BOUND):
        assert [answer async for answer in channel.duplex(talk.method.path, said())] == []
        assert said.is_closed


async def test_a_deadline_ends_both_ways(serve: Serve) -> None:
    talk, said = Talk(), Said()
    channel = await serve(methods=(talk.method,))
    with pytest.raises(BridgeError) as caught:
        await anext(channel.duplex(talk.method.path, said(), timeout=0.05))
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert said.is_closed


async def test_answers_that_cannot_be_sent_are_no_bug_of_ours(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    left = asyncio.Event()

    async def pour(call: ServerCall, request: bytes) -> None:
        try:
            while True:
                await call.write(bytes(int(request)))
        finally:
            left.set()

    channel = await serve(methods=(Method("/test.Talk/Pour", stream=pour),), max_send_bytes=100_000)
    async with asyncio.timeout(BOUND):
        with pytest.raises(BridgeError, match=r"200000 vs\. 100000"):
            await anext(channel.stream("/test.Talk/Pour", b"200000"))
        for _ in range(20):  # of those who leave some do so while a write waits
            left.clear()
            answers = channel.stream("/test.Talk/Pour", b"90000")
            await anext(answers)
            await answers.aclose()
            await left.wait()
    assert not caplog.records


async def test_nobody_there_and_a_closed_channel_are_told_apart(serve: Serve, address: str) -> None:
    said = Said()
    channel = engines.connect(address + "-nobody")
    with pytest.raises(BridgeError) as caught:
        await anext(channel.duplex("/test.Talk/Talk", said(), timeout=BOUND))
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "NOT_CONNECTED")
    await channel.aclose()
    with pytest.raises(BridgeError) as caught:
        await anext(channel.duplex("/test.Talk/Talk", Said()(), timeout=BOUND))
    assert caught.value.reason == "CLIENT_CLOSED"


BAD = [
    ("X-Upper", "a"),
    ("with space", "a"),
    ("", "a"),
    ("k", "\u00e9"),
    ("k", "a\nb"),
    ("k", 5),
    ("k", "\ud800"),
    ("k-bin", "a"),
]


@pytest.mark.parametrize("header", BAD, ids=repr)
@pytest.mark.parametrize("shape", ["unary", "stream", "duplex"])
async def test_a_header_that_cannot_be_sent_is_named(serve: Serve, shape: str, header: Any) -> None:
    channel = await serve(AsyncNumbers())
    headers = [("x-good", "1"), header]
    calls = {
        "unary": lambda: channel.unary(path("Double"), pack(1), headers=headers, timeout=5),
        "stream": lambda: anext(channel.stream(path("Count"), pack(1), headers=headers, timeout=5)),
        "duplex": lambda: anext(channel.duplex(path("Doubles"), Said()(), headers=headers, timeout=5)),
    }
    with pytest.raises(BridgeError) as caught:
        await calls[shape]()
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "BAD_HEADER")
    assert repr(header[0]) in caught.value.message
    assert "\u00e9" not in caught.value.message


async def test_what_is_wrong_with_a_request_is_not_blamed_on_the_headers(serve: Serve) -> None:
    channel = await serve(AsyncNumbers())
    request: Any = 5
    with pytest.raises(TypeError):
        await channel.unary(path("Double"), request, headers=[("x-good", "1")], timeout=5)


async def test_stubs_use_the_same_channel(serve: Serve) -> None:
    channel = await serve(AsyncNumbers())
    double = channel.for_stubs.unary_unary(path("Double"), Number.SerializeToString, Number.FromString)
    assert (await double(Number(value=3), timeout=BOUND)).value == 6


async def test_the_largest_limit_there_is_is_taken(serve: Serve) -> None:
    async def swallow(call: ServerCall, request: bytes) -> bytes:
        return request

    channel = await serve(methods=(Method("/test.Big/Echo", unary=swallow),), max_message_bytes=2**31 - 1)
    sent = bytes(5 * 2**20)
    assert await channel.unary("/test.Big/Echo", sent, timeout=BOUND) == sent


def test_keepalive_can_be_off() -> None:
    def probes(keepalive: float) -> dict[str, int]:
        settings = dict(_settings("127.0.0.1:1", ChannelOptions(keepalive=keepalive)))
        return {name: value for name, value in settings.items() if "keepalive" in name}

    assert probes(0) == {}
    assert probes(2.5)["grpc.keepalive_time_ms"] == 2500


@pytest.mark.parametrize("connect", [engines.connect, engines.connect_blocking])
async def test_a_target_that_is_none_is_refused(connect: Any) -> None:
    with pytest.raises(BridgeError) as caught:
        connect("nowhere")
    assert caught.value.reason == "BAD_TARGET"
