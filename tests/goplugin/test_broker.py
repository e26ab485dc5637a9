"""Connections beside the main one: two brokers of ours, over each kind of connection, in both directions."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from bridge.engines.services import Services
from bridge.errors import BridgeError, Code
from bridge.goplugin.brokering.broker import Broker
from tests.goplugin.broker_pair import KINDS, OPTIONS, Kind, Pair, echo, joined, say, short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as path:
        yield path


@pytest.fixture(params=KINDS, ids=str)
async def pair(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Pair]:
    async with joined(request.param, folder) as both:
        yield both


either = pytest.mark.parametrize("plugin_dials", [False, True], ids=["host-dials", "plugin-dials"])


@either
async def test_a_service_of_the_other_side_is_dialed_by_its_id(pair: Pair, plugin_dials: bool) -> None:
    dialing, accepting = pair.sides(plugin_dials)
    service_id = accepting.next_id()
    async with asyncio.timeout(20), accepting.accept_and_serve(service_id, echo()), dialing.dial(service_id) as channel:
        assert await say(channel, b"hello") == b"hello"
        assert await say(channel, b"x" * 5_000_000) == b"x" * 5_000_000


@either
async def test_a_dial_may_come_before_the_service(pair: Pair, plugin_dials: bool) -> None:
    dialing, accepting = pair.sides(plugin_dials)

    async def dial() -> bytes:
        async with dialing.dial(9) as channel:
            return await say(channel, b"early")

    async with asyncio.timeout(20):
        answer = asyncio.create_task(dial())
        await asyncio.sleep(0)
        async with accepting.accept_and_serve(9, echo()):
            assert await answer == b"early"


async def test_services_in_both_directions_with_the_same_id_do_not_meet(pair: Pair) -> None:
    async with (
        asyncio.timeout(20),
        pair.plugin.accept_and_serve(1, echo(b"plugin ")),
        pair.host.accept_and_serve(1, echo(b"host ")),
        pair.host.dial(1) as to_plugin,
        pair.plugin.dial(1) as to_host,
    ):
        assert await say(to_plugin, b"1") == b"plugin 1"
        assert await say(to_host, b"1") == b"host 1"


@either
async def test_many_services_dialed_at_once_each_answer_for_themselves(pair: Pair, plugin_dials: bool) -> None:
    dialing, accepting = pair.sides(plugin_dials)

    async def one() -> None:
        service_id = accepting.next_id()
        name = b"%d " % service_id
        async with accepting.accept_and_serve(service_id, echo(name)), dialing.dial(service_id, timeout=20) as channel:
            assert await say(channel, b"x") == name + b"x"

    async with asyncio.timeout(40), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(one())


def _open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def _sockets(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_two_hundred_dials_leave_nothing_behind(kind: Kind, folder: Path) -> None:
    async with joined(kind, folder) as pair:

        async def dial(times: int) -> None:
            for number in range(times):
                dialing, accepting = pair.sides(plugin_dials=number % 2 == 0)
                service_id = accepting.next_id()
                async with accepting.accept_and_serve(service_id, echo()), dialing.dial(service_id) as channel:
                    assert await say(channel, b"x") == b"x"

        async with asyncio.timeout(50):
            await dial(10)
            sockets, files, tasks = _sockets(folder), _open_files(), len(asyncio.all_tasks())
            await dial(200)
        assert _sockets(folder) == sockets
        assert len(asyncio.all_tasks()) <= tasks + 2
        assert _open_files() <= files + 4  # what gRPC closes a little later
        for mux in pair.muxes:
            assert not mux.inlets


@either
async def test_who_runs_in_a_thread_dials_and_accepts_as_well(pair: Pair, plugin_dials: bool) -> None:
    dialing, accepting = pair.sides(plugin_dials)

    def in_thread() -> bytes:
        with (
            accepting.blocking.accept_and_serve(3, echo()),
            dialing.blocking.dial(3) as channel,
        ):
            answer: bytes = channel.unary_unary("/test.Echo/Say")(b"blocking", timeout=10)
        with pytest.raises(ValueError, match="closed channel"):
            channel.unary_unary("/test.Echo/Say")(b"more")
        return answer

    async with asyncio.timeout(20):
        assert await asyncio.to_thread(in_thread) == b"blocking"


async def test_blocking_calls_in_the_event_loop_are_refused(folder: Path) -> None:
    async with joined(KINDS[0], folder) as pair:
        with pytest.raises(BridgeError) as caught, pair.host.blocking.dial(1):
            pass
        assert caught.value.reason == "BLOCKING_IN_LOOP"
        assert await asyncio.to_thread(lambda: pair.host.blocking.next_id()) == 1


async def test_blocking_dials_say_why_they_fail(pair: Pair) -> None:
    def in_thread() -> None:
        with pair.host.blocking.dial(4, timeout=0.2):
            pass

    with pytest.raises(BridgeError) as caught:
        await asyncio.to_thread(in_thread)
    assert caught.value.reason in ("BROKER_TIMEOUT", "KNOCK_TIMEOUT")


def test_ids_begin_with_one_and_differ_between_threads() -> None:
    async def make() -> Broker:
        return Broker(None, options=OPTIONS)  # type: ignore[arg-type]

    broker = asyncio.run(make())
    seen: list[int] = []

    def take() -> None:
        seen.extend(broker.next_id() for _ in range(1000))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 4001))


# What cannot work


@either
async def test_a_dial_of_what_nobody_accepts_fails_in_time(pair: Pair, plugin_dials: bool) -> None:
    dialing, _ = pair.sides(plugin_dials)
    with pytest.raises(BridgeError) as caught:
        async with asyncio.timeout(10), dialing.dial(77, timeout=0.2):
            pass
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    if pair.muxes:
        assert caught.value.reason == "KNOCK_TIMEOUT"
        assert "timeout waiting for multiplexing knock handshake on id 77" in caught.value.message
    else:
        assert caught.value.reason == "BROKER_TIMEOUT"
        assert "timeout waiting for connection info" in caught.value.message


@either
async def test_a_dial_that_was_given_up_does_not_disturb_those_after_it(pair: Pair, plugin_dials: bool) -> None:
    dialing, accepting = pair.sides(plugin_dials)
    with pytest.raises(BridgeError):
        async with dialing.dial(1, timeout=0.1):
            pass
    async with (
        asyncio.timeout(20),
        accepting.accept_and_serve(1, echo(b"late ")),
        accepting.accept_and_serve(2, echo(b"next ")),
        dialing.dial(2) as channel,
    ):
        assert await say(channel, b"x") == b"next x"


@either
async def test_a_dial_that_was_cancelled_does_not_disturb_those_after_it(pair: Pair, plugin_dials: bool) -> None:
    dialing, accepting = pair.sides(plugin_dials)

    async def dial() -> None:
        async with dialing.dial(1):
            raise AssertionError("nobody serves this")

    async with asyncio.timeout(20):
        for turns in range(30):
            dialed = asyncio.create_task(dial())
            for _ in range(turns):
                await asyncio.sleep(0)
            dialed.cancel()
            await asyncio.gather(dialed, return_exceptions=True)
        async with (
            accepting.accept_and_serve(1, echo(b"late ")),
            accepting.accept_and_serve(2, echo(b"next ")),
            dialing.dial(2) as channel,
        ):
            assert await say(channel, b"x") == b"next x"


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_one_id_cannot_be_accepted_twice_at_a_time(kind: Kind, folder: Path) -> None:
    async with joined(kind, folder) as pair, asyncio.timeout(20):
        async with pair.plugin.accept_and_serve(1, echo()):
            with pytest.raises(BridgeError) as caught:
                async with pair.plugin.accept_and_serve(1, echo()):
                    pass
            assert caught.value.reason == "BROKER_ID_IN_USE"
            async with pair.host.dial(1) as channel:
                assert await say(channel, b"x") == b"x"
        async with pair.plugin.accept_and_serve(1, echo(b"again ")), pair.host.dial(1) as channel:
            assert await say(channel, b"x") == b"again x"


async def test_two_cannot_wait_for_one_address(folder: Path) -> None:
    async with joined(KINDS[0], folder) as pair, asyncio.timeout(20):

        async def dial() -> None:
            async with pair.host.dial(1):
                pass

        dials = [asyncio.create_task(dial()) for _ in range(2)]
        done, waiting = await asyncio.wait(dials, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(BridgeError) as caught:
            done.pop().result()
        assert caught.value.reason == "BROKER_ID_IN_USE"
        async with pair.plugin.accept_and_serve(1, echo()):
            await waiting.pop()


@pytest.mark.parametrize("service_id", [0, -1, 2**32, True, "1", None])
async def test_what_is_no_id_is_refused(service_id: Any, folder: Path) -> None:
    async with joined(KINDS[0], folder) as pair:
        for context in (pair.host.dial(service_id), pair.host.accept_and_serve(service_id, echo())):
            with pytest.raises(BridgeError) as caught:
                async with context:
                    pass
            assert caught.value.reason == "BROKER_ID"


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_services_that_cannot_be_registered_leave_their_id_free(kind: Kind, folder: Path) -> None:
    def fail(server: Services) -> None:
        raise LookupError("no services")

    async with joined(kind, folder) as pair, asyncio.timeout(20):
        with pytest.raises(LookupError):
            async with pair.plugin.accept_and_serve(1, fail):
                pass
        async with pair.plugin.accept_and_serve(1, echo()), pair.host.dial(1) as channel:
            assert await say(channel, b"x") == b"x"


# The end


async def say_if_connected(channel: grpc.aio.Channel, text: bytes) -> bytes | None:
    try:
        answer: bytes = await channel.unary_unary("/test.Echo/Say")(text, wait_for_ready=True, timeout=20)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return None
    return answer


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.mux], ids=str)
async def test_a_channel_of_a_stream_knocks_again_when_its_service_has_come_back(kind: Kind, folder: Path) -> None:
    async with joined(kind, folder) as pair, asyncio.timeout(30), AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        await first.enter_async_context(pair.plugin.accept_and_serve(1, echo(b"first ")))
        channel = await stack.enter_async_context(pair.host.dial(1))
        assert await say(channel, b"x") == b"first x"
        await first.aclose()
        async with pair.plugin.accept_and_serve(1, echo(b"second ")):
            while (answer := await say_if_connected(channel, b"x")) is None:
                pass  # it went into the old connection, of whose end gRPC had not heard
            assert answer == b"second x"


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_a_closed_broker_ends_what_it_serves_and_has_dialed(kind: Kind, folder: Path) -> None:
    async with joined(kind, folder) as pair, asyncio.timeout(20):
        async with (
            pair.host.accept_and_serve(1, echo()),
            pair.plugin.dial(1) as to_host,
            pair.plugin.accept_and_serve(1, echo()),
            pair.host.dial(1) as to_plugin,
        ):
            await pair.host.aclose()
            for channel in (to_plugin, to_host):
                with pytest.raises(Exception, match=r"(?i)closed|connect|unavailable|deadline"):
                    await channel.unary_unary("/test.Echo/Say")(b"x", timeout=0.5)
        for context in (pair.host.dial(2), pair.host.accept_and_serve(2, echo())):
            with pytest.raises(BridgeError) as caught:
                async with context:
                    pass
            assert caught.value.reason == "BROKER_CLOSED"


async def test_dials_end_when_the_other_side_is_gone(pair: Pair) -> None:
    async def dial() -> None:
        async with pair.plugin.dial(1, timeout=30):
            pass

    async with asyncio.timeout(20):
        dialed = asyncio.create_task(dial())
        async with pair.plugin.accept_and_serve(5, echo()), pair.host.dial(5):
            pass  # so both sides have met
        await pair.host.aclose()
        with pytest.raises(BridgeError) as caught:
            await dialed
    assert caught.value.reason == "BROKER_CLOSED"
    assert "broker closed" in caught.value.message
