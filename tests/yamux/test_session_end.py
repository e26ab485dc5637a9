"""How a session ends, and what its streams and everybody who waits hear of it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from bridge.yamux.config import YamuxConfig
from bridge.yamux.failures import SessionFailed
from bridge.yamux.session import Session
from bridge.yamux.stream_transport import StreamTransport
from tests.yamux.ends import Notes, connected, pair, raw, unread
from tests.yamux.wires import ACK, AWAY, FIN, INITIAL, PING, SYN, WINDOW, data, frame


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_a_silent_connection_is_given_up() -> None:
    hasty = YamuxConfig(keepalive_interval=0.01, ping_timeout=0.01)
    async with asyncio.timeout(5), raw(hasty) as (server, (reader, writer)):
        _, notes = await server.open_stream(Notes)
        writer.write(frame(WINDOW, ACK, 2, 0))
        await server.wait_closed()
        await notes.lost.wait()
        assert isinstance(notes.error, ConnectionAbortedError)
        assert notes.error.__cause__ is server.failure
        assert server.failure is not None
        assert server.failure.reason == "KEEPALIVE_TIMEOUT"
        assert (await reader.read()).startswith(frame(WINDOW, SYN, 2, 0) + frame(PING, SYN, 0, 0))


async def test_garbage_ends_the_session_with_a_go_away() -> None:
    async with asyncio.timeout(5), raw() as (server, (reader, writer)):
        accepting = asyncio.create_task(server.accept_stream(Notes))
        _, notes = await server.open_stream(Notes)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(SessionFailed) as caught:
            await accepting
        assert caught.value.reason == "BAD_VERSION"
        await notes.lost.wait()
        assert await reader.read() == frame(WINDOW, SYN, 2, 0) + frame(AWAY, 0, 0, 1)
        await server.wait_closed()


async def test_what_came_before_the_end_of_the_session_is_delivered_to_who_has_paused() -> None:
    async with asyncio.timeout(5), raw() as (server, (_, writer)):
        writer.write(data(1, b"first", SYN) + data(3, b"all", SYN))
        cut, cut_notes = await server.accept_stream(Notes)
        whole, whole_notes = await server.accept_stream(Notes)
        cut.pause_reading()
        whole.pause_reading()
        writer.write(data(1, b"") + data(3, b" of it", FIN))
        writer.close()
        await server.wait_closed()
        assert not cut_notes.lost.is_set()
        assert not whole_notes.lost.is_set()
        cut.resume_reading()
        whole.resume_reading()
        await cut_notes.lost.wait()
        await whole_notes.lost.wait()
        assert (bytes(cut_notes.data), cut_notes.ended.is_set()) == (b"first", False)
        assert (bytes(whole_notes.data), whole_notes.ended.is_set()) == (b"all of it", True)
        assert isinstance(cut_notes.error, ConnectionAbortedError)


async def test_everybody_hears_of_a_closed_session() -> None:
    async with asyncio.timeout(5), connected(YamuxConfig(backlog=1)) as (client, server):
        near, near_notes = await client.open_stream(Notes)
        waits = [client.open_stream(Notes), client.accept_stream(Notes), client.ping()]
        tasks = [asyncio.create_task(wait) for wait in waits]
        await asyncio.sleep(0)
        client.close()
        client.close()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(outcome, "reason", "") for outcome in outcomes] == ["SESSION_CLOSED"] * 3
        await server.wait_closed()
        with pytest.raises(SessionFailed):
            await server.accept_stream(Notes)
        await near_notes.lost.wait()
        assert near.is_closing()
        for use in (client.open_stream(Notes), client.ping(), client.accept_stream(Notes)):
            with pytest.raises(SessionFailed):
                await use


async def test_a_connection_that_breaks_while_it_is_written_is_written_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with asyncio.timeout(5), unread() as (server, near):
        streams = [await server.open_stream(Notes) for _ in range(20)]
        near.close()
        for transport, _ in streams:
            transport.write(bytes(INITIAL))
        for _, notes in streams:
            await notes.lost.wait()
            assert isinstance(notes.error, ConnectionAbortedError)
        await server.wait_closed()
        assert not caplog.records


async def test_a_session_whose_peer_does_not_read_closes_all_the_same() -> None:
    async with asyncio.timeout(5), unread(YamuxConfig(flush_timeout=0.01)) as (server, _):
        for _ in range(20):
            stream, _ = await server.open_stream(Notes)
            stream.write(bytes(INITIAL))
        server.close()
        await server.wait_closed()


async def test_nothing_is_left_of_sessions_that_are_over() -> None:
    things: weakref.WeakSet[Session | StreamTransport] = weakref.WeakSet()

    async def one() -> None:
        async with connected() as (client, server):
            things.update((client, server))
            for _ in range(20):
                near, _, far, _ = await pair(client, server)
                things.update((near, far))
                near.write(b"x")
                far.abort()

    async with asyncio.timeout(20):
        await one()
        gc.collect()
        before, tasks = descriptors(), asyncio.all_tasks()
        for _ in range(10):
            await one()
        assert descriptors() == before
        assert asyncio.all_tasks() == tasks
        gc.collect()
        assert not list(things)
