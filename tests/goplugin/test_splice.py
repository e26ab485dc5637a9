"""Two connections made one."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge import splice
from bridge.splice import Splice
from tests.support.waiting import until
from tests.yamux.ends import Notes, is_pattern, pattern

MIB = 1024 * 1024
Outer = tuple[asyncio.Transport, Notes]


class Spliced:
    """What a splice is between."""

    def __init__(self, splice: Splice, task: asyncio.Task[None], near: Outer, far: Outer) -> None:
        self.splice, self.task = splice, task
        (self.near, self.near_notes), (self.far, self.far_notes) = near, far


@asynccontextmanager
async def spliced() -> AsyncIterator[Spliced]:
    """Sockets, with a splice in the middle; all of them are closed in the end."""
    loop = asyncio.get_running_loop()
    joint = Splice()
    pairs = [socket.socketpair(), socket.socketpair()]

    async def connect(end: asyncio.BaseProtocol, inner: socket.socket) -> None:
        await loop.create_connection(lambda: end, sock=inner)

    task = asyncio.create_task(
        joint.carry(lambda: connect(joint.near, pairs[0][1]), lambda: connect(joint.far, pairs[1][1]))
    )
    near = await loop.create_connection(Notes, sock=pairs[0][0])
    far = await loop.create_connection(Notes, sock=pairs[1][0])
    try:
        yield Spliced(joint, task, near, far)
    finally:
        near[0].close()
        far[0].close()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: all(one.fileno() == -1 for pair in pairs for one in pair))


async def test_bytes_go_both_ways_at_once() -> None:
    async with asyncio.timeout(10), spliced() as it:
        it.near.write(pattern(8 * MIB))
        it.far.write(pattern(8 * MIB)[::-1])
        assert is_pattern(await it.far_notes.until(8 * MIB), 8 * MIB)
        assert is_pattern((await it.near_notes.until(8 * MIB))[::-1], 8 * MIB)


async def test_no_more_is_read_than_the_other_side_takes() -> None:
    async with asyncio.timeout(10), spliced() as it:
        it.near.write(b"x")
        await it.far_notes.until(1)
        it.far_notes.data.clear()
        it.far.pause_reading()
        it.near.write(pattern(8 * MIB))
        transport = it.splice.near.transport
        assert transport is not None
        await until(lambda: not transport.is_reading())
        assert it.near.get_write_buffer_size() > 4 * MIB
        it.far.resume_reading()
        assert is_pattern(await it.far_notes.until(8 * MIB), 8 * MIB)


@pytest.mark.parametrize("first", ["near", "far"])
async def test_who_has_sent_its_last_byte_still_gets_an_answer(first: str) -> None:
    async with asyncio.timeout(10), spliced() as it:
        asks, answers = (it.near, it.far) if first == "near" else (it.far, it.near)
        asked, answered = (it.far_notes, it.near_notes) if first == "near" else (it.near_notes, it.far_notes)
        asks.write(b"question")
        asks.write_eof()
        await asked.ended.wait()
        assert asked.data == b"question"
        assert not it.task.done()
        answers.write(pattern(4 * MIB))
        answers.write_eof()
        await answered.ended.wait()
        assert is_pattern(answered.data, 4 * MIB)
        await it.task


async def test_an_end_that_comes_with_much_still_to_be_taken_comes_after_it_and_once() -> None:
    async with asyncio.timeout(10), spliced() as it:
        it.far.pause_reading()
        it.near.write(pattern(MIB))
        it.near.write_eof()
        await until(lambda: it.splice.far.transport)
        transport = it.splice.near.transport
        await until(lambda: transport is not None and not transport.is_reading())
        it.far.resume_reading()
        await it.far_notes.ended.wait()
        assert is_pattern(it.far_notes.data, MIB)
        it.far.write(b"answer")
        assert await it.near_notes.until(6) == b"answer"
        assert not it.task.done()


async def test_when_one_closes_the_other_gets_what_is_left_and_closes() -> None:
    async with asyncio.timeout(10), spliced() as it:
        it.near.write(pattern(4 * MIB))
        it.near.close()
        await it.far_notes.ended.wait()
        assert is_pattern(it.far_notes.data, 4 * MIB)
        it.far.close()
        await it.task


async def test_when_one_breaks_the_other_is_cut_off() -> None:
    async with asyncio.timeout(10), spliced() as it:
        it.far.write(b"unread")
        it.near.pause_reading()
        await until(lambda: it.splice.far.transport)
        sock = it.near.get_extra_info("socket")
        await until(lambda: select.select([sock.fileno()], [], [], 0)[0])
        it.near.abort()  # with something unread: the other end of a Unix socket hears of a reset
        with pytest.raises(ConnectionError):
            await it.task
        await it.far_notes.ended.wait()


async def test_cancelled_it_closes_both() -> None:
    async with asyncio.timeout(10), spliced() as it:
        it.near.write(b"x")
        await it.far_notes.until(1)
        it.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await it.task
        await it.near_notes.ended.wait()
        await it.far_notes.ended.wait()


async def test_without_the_second_connection_the_first_is_closed_unread() -> None:
    loop = asyncio.get_running_loop()
    joint = Splice()
    outer, inner = socket.socketpair()

    async def connect_near() -> None:
        await loop.create_connection(lambda: joint.near, sock=inner)

    async def connect_far() -> None:
        raise ConnectionRefusedError

    async with asyncio.timeout(5):
        with pytest.raises(ConnectionRefusedError):
            await joint.carry(connect_near, connect_far)
        assert inner.fileno() == -1
    outer.close()


async def test_a_connection_that_is_made_when_it_was_given_up_is_closed() -> None:
    joint = Splice()
    outer, inner = socket.socketpair()
    joint.near.abort()
    async with asyncio.timeout(5):
        await asyncio.get_running_loop().create_connection(lambda: joint.near, sock=inner)
        await until(lambda: inner.fileno() == -1)
    outer.close()


async def test_a_first_connection_that_is_lost_while_the_second_is_made_ends_both() -> None:
    loop = asyncio.get_running_loop()
    joint = Splice()
    (outer, inner), (other, far) = socket.socketpair(), socket.socketpair()

    async def connect_near() -> None:
        await loop.create_connection(lambda: joint.near, sock=inner)

    async def connect_far() -> None:
        assert joint.near.transport is not None
        joint.near.transport.abort()
        await joint.near.lost
        await loop.create_connection(lambda: joint.far, sock=far)

    async with asyncio.timeout(5):
        await joint.carry(connect_near, connect_far)
        assert (inner.fileno(), far.fileno()) == (-1, -1)
    outer.close()
    other.close()


async def test_what_is_left_for_one_that_does_not_take_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "_FLUSH_TIMEOUT", 0.05)
    async with asyncio.timeout(10), spliced() as it:
        it.far.pause_reading()
        await until(lambda: it.splice.far.transport)
        to = it.splice.far.transport
        sent = 0
        while to is not None and not to.get_write_buffer_size():
            it.near.write(bytes(4096))
            sent += 4096
            await asyncio.sleep(0)
        it.splice.near.abort()
        await it.task
        it.far.resume_reading()
        await it.far_notes.ended.wait()
        assert len(it.far_notes.data) < sent


async def test_what_waits_to_be_taken_is_not_changed_by_what_comes_after_it() -> None:
    async with asyncio.timeout(10), spliced() as it:
        it.far.pause_reading()
        await until(lambda: it.splice.far.transport)
        to = it.splice.far.transport
        pieces = [pattern(MIB)[start : start + 1000] for start in range(0, MIB, 1000)]
        sent = 0
        while to is not None and to.get_write_buffer_size() < 30_000:
            it.near.write(pieces[sent])
            sent += 1
            await asyncio.sleep(0)
        it.far.resume_reading()
        assert is_pattern(await it.far_notes.until(sent * 1000), sent * 1000)
