"""Streams as transports of asyncio."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from bridge.errors import BridgeError
from bridge.yamux.config import YamuxConfig
from tests.support.waiting import until
from tests.yamux.ends import Echo, Notes, connected, echo_all, is_pattern, pair, pattern, raw
from tests.yamux.wires import DATA, INITIAL, KIB, frames

QUIET = YamuxConfig(keepalive_interval=0)


async def test_what_is_written_arrives_and_both_sides_open_streams() -> None:
    async with asyncio.timeout(5), connected() as (client, server):
        for opener, accepter in ((client, server), (server, client)):
            near, near_notes, far, far_notes = await pair(opener, accepter)
            near.write(b"ask")
            assert await far_notes.until(3) == b"ask"
            far.write(bytearray(b"ans"))
            far.write(memoryview(b"wer"))
            assert await near_notes.until(6) == b"answer"
            near.close()
            far.close()
            await near_notes.lost.wait()
            await far_notes.lost.wait()
            assert (near_notes.error, far_notes.error) == (None, None)
        await until(lambda: client.stream_count + server.stream_count == 0)


async def test_data_that_came_before_a_stream_is_accepted_is_delivered() -> None:
    async with asyncio.timeout(5), connected() as (client, server):
        near, _ = await client.open_stream(Notes)
        near.write(b"early")
        near.close()
        await until(lambda: server.stream_count)
        await client.ping()
        _, notes = await server.accept_stream(Notes)
        await notes.ended.wait()
        assert notes.data == b"early"


async def test_a_changed_buffer_does_not_change_what_was_written() -> None:
    async with asyncio.timeout(5), connected() as (client, server):
        near, _, _, notes = await pair(client, server)
        buffer = bytearray(INITIAL + 1)
        near.write(buffer)
        buffer[:] = b"x" * len(buffer)
        assert await notes.until(len(buffer)) == bytes(len(buffer))


async def test_one_direction_of_a_stream_can_be_closed() -> None:
    async with asyncio.timeout(5), connected() as (client, server):
        near, near_notes, far, far_notes = await pair(client, server)
        assert near.can_write_eof()
        near.write(b"question")
        near.write_eof()
        near.write_eof()
        with pytest.raises(RuntimeError):
            near.write(b"more")
        await far_notes.ended.wait()
        assert far_notes.data == b"question"
        far.write(pattern(INITIAL * 2))
        far.write_eof()
        await near_notes.ended.wait()
        assert is_pattern(near_notes.data, INITIAL * 2)
        near.close()
        far.close()


async def test_a_protocol_that_does_not_stay_at_the_end_closes_its_stream() -> None:
    async with asyncio.timeout(5), connected() as (client, server):
        near, notes = await client.open_stream(Notes)
        far, _ = await server.accept_stream(Echo)
        near.write(b"x")
        near.write_eof()
        await notes.ended.wait()
        assert far.is_closing()
        assert notes.data == b"x"
        await until(lambda: client.stream_count == 0)
        near.close()


async def test_an_aborted_stream_is_reset_and_the_session_goes_on() -> None:
    async with asyncio.timeout(5), connected() as (client, server):
        near, near_notes, _, far_notes = await pair(client, server)
        near.write(pattern(INITIAL * 3))
        near.abort()
        near.abort()
        await far_notes.lost.wait()
        assert isinstance(far_notes.error, ConnectionResetError)
        await near_notes.lost.wait()
        assert near_notes.error is None
        near.write(b"ignored")
        await client.ping()
        assert client.stream_count == server.stream_count == 0


async def test_a_reader_that_stops_stops_its_writer_and_no_other() -> None:
    async with asyncio.timeout(10), connected(QUIET, QUIET) as (client, server):
        near, near_notes, far, far_notes = await pair(client, server)
        far.pause_reading()
        assert not far.is_reading()
        big = pattern(INITIAL * 8)
        near.write(big)
        assert not near_notes.writable.is_set()
        await until(lambda: near.get_write_buffer_size() <= len(big) - INITIAL)
        other, _, _, other_notes = await pair(client, server)
        other.write(b"passes")
        await other_notes.until(6)
        await server.ping()
        assert near.get_write_buffer_size() == len(big) - INITIAL
        assert not far_notes.data
        far.resume_reading()
        await near_notes.writable.wait()
        assert near.get_write_buffer_size() <= near.get_write_buffer_limits()[0]
        assert is_pattern(await far_notes.until(len(big)), len(big))


async def test_a_connection_that_is_not_read_stops_all_writers() -> None:
    async with asyncio.timeout(10), raw(QUIET) as (server, (reader, _)):
        transports = [await server.open_stream(Notes) for _ in range(40)]
        for transport, _ in transports:
            transport.write(bytes(INITIAL))
        held = sum(transport.get_write_buffer_size() for transport, _ in transports)
        assert held > 20 * INITIAL  # of it, the connection has taken little
        assert not any(notes.writable.is_set() for _, notes in transports[1:])
        for _ in range(40):
            await reader.readexactly(12)
        await reader.readexactly(40 * INITIAL + 12 * 40 * 4)  # in frames of 64 KiB
        assert all(notes.writable.is_set() for _, notes in transports)


async def test_streams_take_turns() -> None:
    async with asyncio.timeout(10), raw(QUIET) as (server, (reader, _)):
        streams = [await server.open_stream(Notes) for _ in range(20)]
        for transport, _ in streams:
            transport.write(bytes(INITIAL))
        size = 20 * (12 + INITIAL + 12 * INITIAL // (64 * KIB))
        sent = [number for kind, _, number, *_ in frames(await reader.readexactly(size)) if kind == DATA]
        # The first went out while the others had nothing to say; the last had to wait for the connection.
        assert [number for number in sent if number in (38, 40)] == [38, 40] * 4


async def test_marks_of_the_write_buffer_are_kept() -> None:
    async with asyncio.timeout(5), connected(QUIET, QUIET) as (client, server):
        near, notes, far, far_notes = await pair(client, server)
        far.pause_reading()
        await server.ping()
        near.set_write_buffer_limits(high=1000)
        assert near.get_write_buffer_limits() == (250, 1000)
        with pytest.raises(ValueError, match="at least"):
            near.set_write_buffer_limits(high=1, low=2)
        near.write(bytes(INITIAL + 1000))
        assert near.get_write_buffer_size() in {1000, INITIAL + 1000}
        await until(lambda: near.get_write_buffer_size() == 1000)
        near.write(b"x")
        assert not notes.writable.is_set()
        far.resume_reading()
        await far_notes.until(INITIAL + 1001)
        assert notes.writable.is_set()


async def test_more_streams_than_the_backlog_wait_for_their_turn() -> None:
    few = YamuxConfig(backlog=2)
    async with asyncio.timeout(5), connected(few, few) as (client, server):
        opening = [asyncio.create_task(client.open_stream(Notes)) for _ in range(6)]
        await until(lambda: server.stream_count == 2)
        await client.ping()
        assert sum(task.done() for task in opening) == 2
        for _ in range(6):
            await server.accept_stream(Notes)
        await asyncio.gather(*opening)


async def test_a_cancelled_wait_takes_no_stream() -> None:
    few = YamuxConfig(backlog=1)
    async with asyncio.timeout(5), connected(few, few) as (client, server):
        accepting = asyncio.create_task(server.accept_stream(Notes))
        await asyncio.sleep(0)
        accepting.cancel()
        await asyncio.wait([accepting])
        await client.open_stream(Notes)
        opening = asyncio.create_task(client.open_stream(Notes))
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        assert (await server.accept_stream(Notes))[0].stream_id == 1
        assert (await client.open_stream(Notes))[0].stream_id == 3


async def test_a_stream_that_is_reset_before_it_is_accepted_is_not_accepted() -> None:
    async with asyncio.timeout(5), connected() as (client, server):
        gone, _ = await client.open_stream(Notes)
        gone.abort()
        await client.open_stream(Notes)
        assert (await server.accept_stream(Notes))[0].stream_id == 3


async def test_after_a_go_away_no_stream_is_opened_and_open_ones_go_on() -> None:
    async with asyncio.timeout(5), connected(YamuxConfig(backlog=1)) as (client, server):
        near, _ = await client.open_stream(Notes)
        waiting = asyncio.create_task(client.open_stream(Notes))
        await until(lambda: server.stream_count)
        server.go_away()
        with pytest.raises(BridgeError) as caught:
            await waiting
        assert caught.value.reason == "GONE_AWAY"
        _, notes = await server.accept_stream(Notes)
        near.write(b"still")
        await notes.until(5)


async def test_a_ping_tells_how_long_it_took_and_gives_up() -> None:
    async with asyncio.timeout(5), connected() as (client, _):
        assert 0 <= await client.ping() < 5
    async with asyncio.timeout(5), raw() as (server, _):
        with pytest.raises(BridgeError) as caught:
            await server.ping(timeout=0.01)
        assert caught.value.reason == "PING_TIMEOUT"


async def test_sessions_that_ping_each_other_stay() -> None:
    hasty = YamuxConfig(keepalive_interval=0.001)
    async with asyncio.timeout(5), connected(hasty, hasty) as (client, server):
        for _ in range(50):
            await client.ping()
            await asyncio.sleep(0.001)
        assert (client.failure, server.failure) == (None, None)


async def test_a_closed_stream_that_nobody_reads_is_given_up() -> None:
    hasty = YamuxConfig(keepalive_interval=0, close_timeout=0.01)
    async with asyncio.timeout(5), connected(hasty, hasty) as (client, server):
        near, near_notes, far, far_notes = await pair(client, server)
        far.pause_reading()
        near.write(bytes(INITIAL * 2))
        near.close()
        await near_notes.lost.wait()
        await far_notes.lost.wait()
        assert isinstance(far_notes.error, ConnectionResetError)
        near, near_notes, far, far_notes = await pair(client, server)
        near.close()
        await far_notes.lost.wait()
        assert client.stream_count == server.stream_count == 0


async def test_a_protocol_that_fails_loses_its_stream_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy(Notes):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    async with asyncio.timeout(5), connected() as (client, server):
        near, near_notes = await client.open_stream(Notes)
        _, clumsy = await server.accept_stream(Clumsy)
        other, _, _, other_notes = await pair(client, server)
        near.write(b"x")
        other.write(b"y")
        await near_notes.lost.wait()
        assert isinstance(near_notes.error, ConnectionResetError)
        await clumsy.lost.wait()
        assert isinstance(clumsy.error, ZeroDivisionError)
        assert await other_notes.until(1) == b"y"
        assert "the protocol of a yamux stream has failed" in caplog.text


async def test_a_protocol_that_cannot_be_made_resets_the_stream() -> None:
    def broken() -> Notes:
        raise ZeroDivisionError

    async with asyncio.timeout(5), connected() as (client, server):
        _, notes = await client.open_stream(Notes)
        with pytest.raises(ZeroDivisionError):
            await server.accept_stream(broken)
        await notes.lost.wait()
        assert server.stream_count == client.stream_count == 0


async def test_tls_runs_in_a_stream() -> None:
    authority = trustme.CA()
    theirs, ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(theirs)
    authority.configure_trust(ours)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10), connected() as (client, server):
        near, near_notes, far, _ = await pair(client, server)
        echo = Echo()
        answering = asyncio.create_task(loop.start_tls(far, echo, theirs, server_side=True))
        tls_near = await loop.start_tls(near, near_notes, ours, server_hostname="localhost")
        tls_far = await answering
        assert tls_near is not None
        assert tls_far is not None
        echo.connection_made(tls_far)
        big = pattern(INITIAL * 4)
        tls_near.write(big)
        assert is_pattern(await near_notes.until(len(big)), len(big))
        tls_near.close()
        await near_notes.lost.wait()
        await until(lambda: client.stream_count == server.stream_count == 0)


async def test_stream_readers_and_writers_of_asyncio_work() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10), connected() as (client, server):
        echoing = asyncio.create_task(echo_all(server))
        reader = asyncio.StreamReader()
        transport, protocol = await client.open_stream(lambda: asyncio.StreamReaderProtocol(reader))
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        writer.write(pattern(INITIAL * 3))
        reading = asyncio.create_task(reader.read())
        await writer.drain()
        writer.write_eof()
        assert is_pattern(await reading, INITIAL * 3)
        writer.close()
        await writer.wait_closed()
        echoing.cancel()
