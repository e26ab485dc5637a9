"""Brokers of the other side that break their protocol, or have none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from bridge import engines
from bridge.engines.base import DuplexChannel, ServerCall
from bridge.errors import BridgeError, Code
from bridge.goplugin.brokering.broker import Broker
from bridge.goplugin.brokering.conversation import Conversation
from bridge.goplugin.brokering.service import serving
from bridge.goplugin.brokering.sockets import Sockets
from bridge.goplugin.brokering.streams import Streams
from bridge.goplugin.brokering.wire import START_STREAM, ConnInfo, Knock
from bridge.goplugin.transport.mux import Multiplexer
from bridge.goplugin.transport.outlet import Outlet
from bridge.goplugin.transport.sockets import SocketPlace
from tests.goplugin.broker_pair import CHANNEL, OPTIONS, PluginSide, both_tls, echo, host_channel, say, short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as path:
        yield path


class Liar:
    """A host that tells a plugin's broker what a test likes."""

    def __init__(
        self,
        broker: Broker,
        channel: DuplexChannel,
        mux: Multiplexer | None = None,
        plugin_mux: Multiplexer | None = None,
    ) -> None:
        self.broker, self.mux, self.plugin_mux = broker, mux, plugin_mux
        self.target = ""
        """Where the plugin is."""
        self.ended: BridgeError | None = None
        self._words: asyncio.Queue[bytes] = asyncio.Queue()
        self._heard: asyncio.Queue[ConnInfo] = asyncio.Queue()
        self.talk = asyncio.create_task(self._talk(channel))

    async def _talk(self, channel: DuplexChannel) -> None:
        try:
            async with aclosing(channel.duplex(START_STREAM, self._say_all())) as answers:
                async for answer in answers:
                    self._heard.put_nowait(ConnInfo.decode(answer))
        except BridgeError as error:
            self.ended = error

    async def _say_all(self) -> AsyncIterator[bytes]:
        while True:
            yield await self._words.get()

    def say(self, *infos: ConnInfo) -> None:
        for info in infos:
            self._words.put_nowait(info.encode())

    def say_bytes(self, data: bytes) -> None:
        self._words.put_nowait(data)

    async def hear(self) -> ConnInfo:
        return await self._heard.get()

    async def leave(self) -> None:
        self.talk.cancel()
        await asyncio.gather(self.talk, return_exceptions=True)


@asynccontextmanager
async def lying(folder: Path, *, tls: bool = False, mux: bool = False) -> AsyncIterator[Liar]:
    """A plugin whose host is a liar."""
    with SocketPlace(folder) as place:
        plugin_tls, host_tls = both_tls() if tls else (None, None)
        plugin = PluginSide(place, plugin_tls, mux=mux)
        host_mux = Multiplexer() if mux else None
        async with (
            asyncio.timeout(20),
            plugin.serving(),
            host_channel(plugin.path, host_tls, host_mux) as channel,
        ):
            liar = Liar(plugin.broker, channel, host_mux, plugin.mux)
            liar.target = f"unix:{plugin.path}"
            try:
                yield liar
            finally:
                await liar.leave()


@asynccontextmanager
async def serving_echo(folder: Path) -> AsyncIterator[str]:
    """A service that was offered by nobody yet; gives the path of its socket."""
    with SocketPlace(folder) as place:
        path = place.new_socket()
        async with serving(place, path, echo(), OPTIONS):
            yield str(path)


async def dial_and_say(broker: Broker, service_id: int) -> bytes:
    async with broker.dial(service_id) as channel:
        return await say(channel, b"x")


async def dialed(broker: Broker, service_id: int, timeout: float = 5.0) -> BridgeError:
    """How a dial fails."""
    with pytest.raises(BridgeError) as caught:
        async with broker.dial(service_id, timeout=timeout):
            pass
    return caught.value


@pytest.mark.parametrize(
    ("network", "address", "text"),
    [
        ("udp", "127.0.0.1:1", "unknown address type"),
        ("", "", "unknown address type"),
        ("unix", "", "no path"),
        ("unix", "/a\0b", "no path"),
        ("tcp", "localhost", "missing port"),
        ("tcp", "127.0.0.1:0", "invalid port"),
        ("tcp", "[::1:80", ""),
    ],
)
async def test_offers_of_what_is_no_address_fail_at_once(network: str, address: str, text: str, folder: Path) -> None:
    async with lying(folder) as liar:
        failing = asyncio.create_task(dialed(liar.broker, 1, timeout=15))
        liar.say(ConnInfo(1, network, address))
        error = await failing
    assert error.reason == "PLUGIN_ADDRESS"
    assert text in error.message


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_offers_of_sockets_that_are_not_there_fail_in_time(tls: bool, folder: Path) -> None:
    async with lying(folder, tls=tls) as liar:
        liar.say(ConnInfo(1, "unix", str(folder / "nobody")))
        error = await dialed(liar.broker, 1, timeout=0.5)
    assert error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
    assert error.reason in ("BROKER_TIMEOUT", "NOT_CONNECTED")


async def test_a_flood_of_offers_is_not_kept_and_does_not_disturb_a_dial(folder: Path) -> None:
    async with lying(folder) as liar, serving_echo(folder) as address:
        liar.say(*(ConnInfo(service_id, "unix", "/nobody") for service_id in range(100, 5000)))
        dialing = asyncio.create_task(dial_and_say(liar.broker, 1))
        liar.say(*(ConnInfo(0, "unix", "/nobody") for _ in range(100)), ConnInfo(1, "unix", address))
        assert await dialing == b"x"


async def test_only_the_first_of_two_offers_counts(folder: Path) -> None:
    async with lying(folder) as liar, serving_echo(folder) as address:
        liar.say(ConnInfo(1, "unix", address), ConnInfo(1, "udp", "nowhere"), ConnInfo(2, "unix", address))
        assert await dial_and_say(liar.broker, 2) == b"x"
        assert await dial_and_say(liar.broker, 1) == b"x"


async def test_knocks_where_nothing_is_multiplexed_are_refused(folder: Path) -> None:
    async with lying(folder) as liar:
        liar.say(ConnInfo(3, knock=Knock()))
        assert await liar.hear() == ConnInfo(3, knock=Knock(ack=True, error="this side does not multiplex"))


@pytest.mark.parametrize("mux", [False, True], ids=["plain", "mux"])
async def test_what_is_no_message_ends_the_stream_with_an_error(mux: bool, folder: Path) -> None:
    async with lying(folder, mux=mux) as liar:
        liar.say_bytes(b"\xff\xff\xff")
        await liar.talk
    assert liar.ended is not None
    assert liar.ended.reason == "BROKER_MESSAGE"


@pytest.mark.parametrize("mux", [False, True], ids=["plain", "mux"])
async def test_a_stream_that_is_cancelled_ends_the_dials_that_wait(mux: bool, folder: Path) -> None:
    async with lying(folder, mux=mux) as liar:
        dialing = asyncio.create_task(dialed(liar.broker, 1, timeout=15))
        if mux:
            assert (await liar.hear()).is_knock
        else:
            liar.say(ConnInfo(9, knock=Knock()))
            await liar.hear()
        await liar.leave()
        assert (await dialing).reason == "BROKER_CLOSED"


# With multiplexing


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ConnInfo(1, knock=Knock(knock=False, ack=True)), "KNOCK_ANSWER"),
        (ConnInfo(1, knock=Knock(knock=False)), "KNOCK_ANSWER"),
        (ConnInfo(1, "unix", "/somewhere"), "KNOCK_ANSWER"),
        (ConnInfo(1, knock=Knock(ack=True, error="go away")), "KNOCK_REFUSED"),
        (ConnInfo(1, knock=Knock(knock=False, ack=True, error="go away")), "KNOCK_REFUSED"),
    ],
)
async def test_answers_to_knocks_without_a_welcome_fail_the_dial(answer: ConnInfo, reason: str, folder: Path) -> None:
    async with lying(folder, mux=True) as liar:
        dialing = asyncio.create_task(dialed(liar.broker, 1, timeout=15))
        assert await liar.hear() == ConnInfo(1, knock=Knock())
        liar.say(answer)
        error = await dialing
    assert error.reason == reason
    assert "id 1" in error.message


async def test_answers_that_nobody_has_asked_for_do_nothing(folder: Path) -> None:
    async with lying(folder, mux=True) as liar:
        liar.say(*(ConnInfo(service_id, knock=Knock(ack=True)) for service_id in range(1000)))
        error = await dialed(liar.broker, 5000, timeout=0.2)
        assert error.reason == "KNOCK_TIMEOUT"
        assert liar.mux is not None
        assert liar.mux.stream_count == 1


async def test_a_welcome_that_comes_too_late_gets_a_stream_that_ends(folder: Path) -> None:
    async with lying(folder, mux=True) as liar:
        assert (await dialed(liar.broker, 1, timeout=0.1)).reason == "KNOCK_TIMEOUT"
        came = asyncio.Event()
        assert liar.mux is not None
        liar.mux.whose = came.set
        liar.say(ConnInfo(1, knock=Knock(ack=True)))
        await came.wait()


async def test_knocks_are_answered_one_after_the_other(folder: Path) -> None:
    async with (
        lying(folder, mux=True) as liar,
        liar.broker.accept_and_serve(1, echo()),
        liar.broker.accept_and_serve(2, echo()),
    ):
        assert liar.mux is not None
        liar.say(ConnInfo(2, knock=Knock()), ConnInfo(1, knock=Knock()), ConnInfo(2, knock=Knock()))
        for service_id in (2, 1, 2):
            assert await liar.hear() == ConnInfo(service_id, knock=Knock(ack=True))
            liar.mux.give_stream()


async def test_a_flood_of_knocks_is_answered_with_refusals(folder: Path) -> None:
    async with lying(folder, mux=True) as liar:
        liar.say(*(ConnInfo(service_id, knock=Knock()) for service_id in range(2000)))
        for service_id in range(256, 2000):
            assert await liar.hear() == ConnInfo(service_id, knock=Knock(ack=True, error="too many knocks wait"))


async def test_a_stream_that_the_host_does_not_expect_is_reset(folder: Path) -> None:
    async with lying(folder, mux=True) as liar, liar.broker.accept_and_serve(1, echo()):
        liar.say(ConnInfo(1, knock=Knock()))
        await liar.hear()  # so both sides have met
        assert liar.plugin_mux is not None
        lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        class Waiting(asyncio.Protocol):
            def connection_lost(self, error: Exception | None) -> None:
                lost.set_result(error)

        await liar.plugin_mux.open_stream(Waiting, None)
        assert isinstance(await lost, ConnectionResetError)


async def test_a_stream_that_the_plugin_does_not_expect_is_another_main_connection(folder: Path) -> None:
    async with lying(folder, mux=True) as liar, liar.broker.accept_and_serve(1, echo()):
        liar.say(ConnInfo(1, knock=Knock()))
        await liar.hear()
        assert liar.mux is not None
        liar.mux.give_stream()
        async with (
            aclosing(Outlet(liar.mux.to_main(None))) as outlet,
            aclosing(engines.connect(await outlet.open(), CHANNEL)) as channel,
        ):
            second = Liar(liar.broker, channel)
            await liar.talk  # it was taken over
            assert liar.ended is not None
            assert liar.ended.reason == "BROKER_TAKEN_OVER"
            await second.leave()


async def test_a_host_lives_with_a_plugin_without_a_broker(folder: Path) -> None:
    server = engines.serve(OPTIONS)
    with SocketPlace(folder) as place:
        path = place.new_socket()
        server.listen(f"unix:{path}")
        await server.start(())
        broker = Broker(place, options=OPTIONS)
        async with asyncio.timeout(20), aclosing(engines.connect(f"unix:{path}", CHANNEL)) as channel:
            await broker.run(channel)
            assert (await dialed(broker, 1)).reason == "BROKER_CLOSED"
        await server.aclose(0)


async def test_the_next_host_takes_the_broker_over(folder: Path) -> None:
    async with (
        lying(folder) as first,
        serving_echo(folder) as address,
        aclosing(engines.connect(first.target, CHANNEL)) as channel,
    ):
        first.say(ConnInfo(1, "unix", "/nobody"), ConnInfo(2, knock=Knock()))
        await first.hear()  # so the offer before that was heard, too
        second = Liar(first.broker, channel)
        second.say(ConnInfo(2, knock=Knock()))
        await second.hear()
        await first.talk
        assert first.ended is not None
        assert first.ended.reason == "BROKER_TAKEN_OVER"
        second.say(ConnInfo(1, "unix", address))
        assert await dial_and_say(first.broker, 1) == b"x"
        await second.leave()


async def test_a_stream_that_is_reset_at_once_was_still_the_one_that_was_awaited(folder: Path) -> None:
    async with (
        lying(folder, mux=True) as liar,
        liar.broker.accept_and_serve(1, echo()),
        liar.broker.accept_and_serve(2, echo()),
    ):
        assert liar.mux is not None
        liar.say(ConnInfo(1, knock=Knock()), ConnInfo(2, knock=Knock()))
        assert await liar.hear() == ConnInfo(1, knock=Knock(ack=True))
        stream, _ = await liar.mux.open_stream(asyncio.Protocol, None)
        stream.abort()
        assert await liar.hear() == ConnInfo(2, knock=Knock(ack=True))


async def test_a_welcome_that_comes_with_the_end_of_its_dial_gets_a_stream_all_the_same(folder: Path) -> None:
    async with lying(folder, mux=True) as liar:
        ways = liar.broker._ways
        assert isinstance(ways, Streams)
        knocking = asyncio.create_task(ways._knock(1, timeout=15))
        assert await liar.hear() == ConnInfo(1, knock=Knock())
        came = asyncio.Event()
        assert liar.mux is not None
        liar.mux.whose = came.set
        ways.heard(ConnInfo(1, knock=Knock(ack=True)))
        knocking.cancel()
        await asyncio.wait([knocking])
        assert knocking.cancelled()
        await came.wait()


async def test_a_dial_may_begin_when_the_one_before_has_its_answer(folder: Path) -> None:
    async with lying(folder) as liar:
        ways = liar.broker._ways
        assert isinstance(ways, Sockets)
        first = asyncio.create_task(ways._offer(1, timeout=15))
        await asyncio.sleep(0)
        second = asyncio.create_task(ways._offer(1, timeout=15))
        ways.heard(ConnInfo(1, "unix", "/first"))
        assert (await first).address == "/first"
        ways.heard(ConnInfo(1, "unix", "/second"))
        assert (await second).address == "/second"


class Unread:
    """A stream whose other side says a lot and reads nothing."""

    def __init__(self) -> None:
        self.said = 0

    async def requests(self) -> AsyncIterator[bytes]:
        while True:
            self.said += 1
            yield ConnInfo(self.said, knock=Knock()).encode()

    async def write(self, message: bytes) -> None:
        await asyncio.Event().wait()


async def test_who_reads_no_answers_is_not_listened_to_for_long() -> None:
    def refuse(info: ConnInfo) -> None:
        conversation.reply([ConnInfo(info.service_id, knock=Knock(ack=True, error="no"))])

    conversation = Conversation(refuse, lambda: None)
    method, unread = conversation.methods()[0], Unread()
    assert method.duplex is not None
    call = cast("ServerCall", unread)
    answering = asyncio.ensure_future(method.duplex(call, unread.requests()))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert 200 < unread.said < 300
    conversation.close()
    async with asyncio.timeout(5):
        await answering
