"""Sessions with hashicorp/yamux, the implementation that go-plugin has inside."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from bridge.errors import BridgeError
from bridge.yamux.config import YamuxConfig
from bridge.yamux.session import Session
from tests.support.waiting import until
from tests.yamux.ends import Echo, Notes, echo_all, is_pattern, pattern
from tests.yamux.go_peer import GoError, GoPeer, digest, go_session
from tests.yamux.wires import FIN, INITIAL, WINDOW, frame

Connect = Callable[..., AbstractAsyncContextManager[tuple[GoPeer, Session]]]
if shutil.which("go") is None:
    pytest.skip("needs Go", allow_module_level=True)

LARGE = 64 * 1024 * 1024


@pytest.fixture(params=[True, False], ids=["Go is the client", "Go is the server"])
def connect(request: pytest.FixtureRequest, yamuxpeer: Path, tmp_path: Path) -> Connect:
    """Makes a session with Go, of each side."""
    return partial(go_session, yamuxpeer, tmp_path, client=request.param)


def intrude(session: Session, sent: bytes) -> None:
    """Writes to the connection of a session, past it."""
    os.write(session.get_extra_info("socket").fileno(), sent)


async def test_many_streams_of_ours_are_echoed_by_go(connect: Connect) -> None:
    async with asyncio.timeout(30), connect() as (go, session):
        await go.do("echo")

        async def ask(size: int) -> None:
            transport, notes = await session.open_stream(Notes)
            transport.write(pattern(size))
            transport.write_eof()
            await notes.ended.wait()
            assert is_pattern(notes.data, size)
            transport.close()

        await asyncio.gather(*(ask(size) for number in range(100) for size in (number, INITIAL + number, number * 999)))
        await until(lambda: session.stream_count == 0)
        while await go.do("streams") != "0":
            pass


async def test_many_streams_of_go_are_echoed_by_us(connect: Connect) -> None:
    async with asyncio.timeout(30), connect() as (go, session):
        echoing = asyncio.create_task(echo_all(session))
        await asyncio.gather(go.do("ask", 300, 100, 1000), go.do("ask", 20, 20, INITIAL * 3 + 1))
        await until(lambda: session.stream_count == 0)
        assert await go.do("streams") == "0"
        echoing.cancel()


async def test_streams_of_both_sides_at_once(connect: Connect) -> None:
    async with asyncio.timeout(30), connect() as (go, session):
        echoing = asyncio.create_task(echo_all(session))
        await go.do("echo")
        asking = go.begin("ask", 40, 40, INITIAL * 2)
        streams = [await session.open_stream(Notes) for _ in range(40)]
        for transport, _ in streams:
            transport.write(pattern(INITIAL * 2))
        for transport, notes in streams:
            assert is_pattern(await notes.until(INITIAL * 2), INITIAL * 2)
            transport.close()
        await asking
        echoing.cancel()


@pytest.mark.parametrize("window", [INITIAL, INITIAL * 16], ids=["usual window", "large window"])
async def test_64_mb_go_through_one_stream(connect: Connect, window: int) -> None:
    config = YamuxConfig(window=window)
    async with asyncio.timeout(50), connect("-window", str(window), config=config) as (go, session):
        transport, notes = await session.open_stream(Notes)
        number = await go.do("accept")
        reading = go.begin("drain", number)
        transport.write(pattern(LARGE))
        transport.write_eof()
        assert await reading == digest(LARGE)
        await go.do("write", number, LARGE)
        await go.do("finish", number)
        await notes.ended.wait()
        assert is_pattern(notes.data, LARGE)
        transport.close()


async def test_each_direction_of_a_stream_ends_by_itself(connect: Connect) -> None:
    async with asyncio.timeout(10), connect() as (go, session):
        number = await go.do("open")
        transport, notes = await session.accept_stream(Notes)
        await go.do("write", number, 10)
        await go.do("finish", number)
        await notes.ended.wait()
        transport.write(pattern(20))
        assert await go.do("read", number, 20) == digest(20)
        transport.write_eof()
        assert await go.do("drain", number) == digest(0)
        assert (await go.do("streams"), session.stream_count) == ("0", 0)
        transport.close()


async def test_go_reads_what_we_wrote_before_we_closed(connect: Connect) -> None:
    async with asyncio.timeout(10), connect() as (go, session):
        number = await go.do("open")
        transport, notes = await session.accept_stream(Notes)
        transport.write(pattern(INITIAL * 2))
        transport.close()
        await go.do("write", number, INITIAL)  # into the void
        assert await go.do("drain", number) == digest(INITIAL * 2)
        await go.do("finish", number)
        await notes.lost.wait()
        await until(lambda: session.stream_count == 0)


async def test_a_stream_that_we_reset_fails_in_go(connect: Connect) -> None:
    async with asyncio.timeout(10), connect() as (go, session):
        transport, _ = await session.open_stream(Notes)
        number = await go.do("accept")
        reading = go.begin("drain", number)
        transport.abort()
        with pytest.raises(GoError, match="connection reset"):
            await reading
        with pytest.raises(GoError, match="connection reset"):
            await go.do("write", number, 1)
        await go.do("ping")
        assert await go.do("streams") == "0"


async def test_a_stream_that_go_resets_fails_here(connect: Connect) -> None:
    async with asyncio.timeout(10), connect("-close-timeout", "1ms") as (go, session):
        _, notes = await session.open_stream(Notes)
        await go.do("finish", await go.do("accept"))  # we do not end it, and Go does not wait
        await notes.lost.wait()
        assert isinstance(notes.error, ConnectionResetError)
        assert session.stream_count == 0


async def test_streams_over_the_backlog_of_go_are_not_opened_before_there_is_room(connect: Connect) -> None:
    async with asyncio.timeout(10), connect("-backlog", "2", config=YamuxConfig(backlog=2)) as (go, session):
        opening = [asyncio.create_task(session.open_stream(Notes)) for _ in range(5)]
        await until(lambda: sum(task.done() for task in opening) == 2)
        await session.ping()
        assert sum(task.done() for task in opening) == 2
        for _ in range(5):
            await go.do("accept")
        await asyncio.gather(*opening)


async def test_streams_over_the_backlog_of_go_are_reset(connect: Connect) -> None:
    async with asyncio.timeout(10), connect("-backlog", "2") as (_, session):
        streams = [await session.open_stream(Notes) for _ in range(4)]
        for _, notes in streams[2:]:
            await notes.lost.wait()
            assert isinstance(notes.error, ConnectionResetError)
        assert session.stream_count == 2


async def test_streams_of_go_over_our_backlog_are_reset(connect: Connect) -> None:
    async with asyncio.timeout(10), connect(config=YamuxConfig(backlog=2)) as (go, session):
        numbers = [await go.do("open") for _ in range(3)]
        with pytest.raises(GoError, match="connection reset"):
            await go.do("drain", numbers[2])
        for _ in range(2):
            await session.accept_stream(Notes)


async def test_a_reader_in_go_that_stops_stops_only_its_writer(connect: Connect) -> None:
    async with asyncio.timeout(20), connect() as (go, session):
        transport, notes = await session.open_stream(Notes)
        number = await go.do("accept")
        transport.write(pattern(INITIAL * 4))
        await until(lambda: transport.get_write_buffer_size() == INITIAL * 3)
        assert not notes.writable.is_set()
        await session.ping()
        other, _ = await session.open_stream(Notes)
        other.write(pattern(5))
        assert await go.do("read", await go.do("accept"), 5) == digest(5)
        assert transport.get_write_buffer_size() == INITIAL * 3
        assert await go.do("read", number, INITIAL * 4) == digest(INITIAL * 4)
        await notes.writable.wait()


async def test_a_reader_of_ours_that_stops_stops_only_its_writer_in_go(connect: Connect) -> None:
    async with asyncio.timeout(20), connect() as (go, session):
        number = await go.do("open")
        transport, notes = await session.accept_stream(Notes)
        transport.pause_reading()
        writing = go.begin("write", number, INITIAL * 4)
        echoing = asyncio.create_task(echo_all(session))
        await go.do("ask", 10, 10, INITIAL * 2)
        assert not writing.done()
        assert not notes.data
        transport.resume_reading()
        await writing
        assert is_pattern(await notes.until(INITIAL * 4), INITIAL * 4)
        echoing.cancel()


async def test_pings_go_both_ways(connect: Connect) -> None:
    async with asyncio.timeout(10), connect() as (go, session):
        assert await session.ping() >= 0
        await go.do("ping")


async def test_a_go_away_of_either_side_stops_new_streams_and_no_old_ones(connect: Connect) -> None:
    async with asyncio.timeout(10), connect() as (go, session):
        transport, _ = await session.open_stream(Notes)
        number = await go.do("accept")
        await go.do("goaway")
        await session.ping()
        with pytest.raises(BridgeError) as caught:
            await session.open_stream(Notes)
        assert caught.value.reason == "GONE_AWAY"
        session.go_away()
        await session.ping()
        with pytest.raises(GoError, match="not accepting connections"):
            await go.do("open")
        transport.write(pattern(3))
        assert await go.do("read", number, 3) == digest(3)


async def test_go_hears_that_we_close_the_session(connect: Connect) -> None:
    async with asyncio.timeout(10), connect() as (go, session):
        await session.open_stream(Notes)
        number = await go.do("accept")
        reading, closed = go.begin("drain", number), go.begin("closed")
        session.close()
        with pytest.raises(GoError, match="EOF"):
            await closed
        assert await reading == digest(0)


async def test_we_hear_that_go_closes_the_session(connect: Connect) -> None:
    async with asyncio.timeout(10), connect() as (go, session):
        _, notes = await session.open_stream(Notes)
        await go.do("accept")
        await go.do("close")
        await session.wait_closed()
        await notes.lost.wait()
        assert isinstance(notes.error, ConnectionAbortedError)
        assert session.failure is not None
        assert session.failure.reason == "SESSION_CLOSED"


async def test_keepalives_of_both_sides_keep_the_session(connect: Connect) -> None:
    config = YamuxConfig(keepalive_interval=0.005)
    async with asyncio.timeout(10), connect("-keepalive", "5ms", config=config) as (go, session):
        for _ in range(30):
            await go.do("ping")
            await session.ping()
        assert session.failure is None


async def test_a_go_that_has_stopped_is_given_up(connect: Connect) -> None:
    config = YamuxConfig(keepalive_interval=0.05, ping_timeout=0.05)
    async with asyncio.timeout(10), connect(config=config) as (go, session):
        await session.ping(timeout=5)
        os.kill(go.process.pid, signal.SIGSTOP)
        await session.wait_closed()
        assert session.failure is not None
        assert session.failure.reason == "KEEPALIVE_TIMEOUT"


async def test_a_go_that_is_killed_takes_its_streams_with_it(connect: Connect) -> None:
    async with asyncio.timeout(10), connect() as (go, session):
        _, notes = await session.open_stream(Notes)
        await go.do("accept")
        go.process.kill()
        await notes.lost.wait()
        assert isinstance(notes.error, ConnectionAbortedError)


async def test_go_ends_a_session_in_which_we_send_garbage(connect: Connect) -> None:
    async with asyncio.timeout(10), connect() as (go, session):
        closed = go.begin("closed")
        await session.ping()
        intrude(session, b"garbage garbage")
        with pytest.raises(GoError, match="invalid protocol version"):
            await closed
        await session.wait_closed()


async def test_go_says_that_we_broke_the_protocol(connect: Connect) -> None:
    async with asyncio.timeout(10), connect() as (go, session):
        transport, _ = await session.open_stream(Notes)
        await go.do("accept")
        for _ in range(2):  # what `Peer` does not do
            intrude(session, frame(WINDOW, FIN, transport.stream_id, 0))
        await session.wait_closed()
        assert session.failure is not None
        # Go sends its go-away and closes at the same time, so that it may not come.
        assert session.failure.reason in {"PEER_PROTOCOL_ERROR", "SESSION_CLOSED"}


async def test_an_aborted_echo_does_not_disturb_others(connect: Connect) -> None:
    async with asyncio.timeout(20), connect() as (go, session):
        asking = go.begin("ask", 50, 50, INITIAL * 2)
        accepted = [await session.accept_stream(Echo) for _ in range(50)]
        accepted[7][0].abort()
        with pytest.raises(GoError, match="connection reset"):
            await asking
        echoing = asyncio.create_task(echo_all(session))
        await go.do("ask", 10, 10, INITIAL)
        echoing.cancel()
