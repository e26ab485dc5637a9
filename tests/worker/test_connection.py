"""The pipe between server and worker: what is sent comes, whole, in order, with its memory, and nothing else."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from bridge.errors import BridgeError, Code
from bridge.worker import frames
from bridge.worker.connection import HIGH_WATER
from tests.support.pipe_ends import End, pair, send_with
from tests.support.shared_memory import memory_files, memory_with, sealed
from tests.worker.pids import open_files

BIG = 3 * 1024 * 1024
"""Bytes that no socket takes at once."""


@pytest.fixture(autouse=True)
async def _leaves_no_descriptor() -> AsyncIterator[None]:
    await asyncio.sleep(0)  # the loop has what it needs
    before = open_files()
    yield
    assert open_files() <= before  # what older tests have left may go meanwhile


@pytest.fixture
async def ends() -> AsyncIterator[tuple[End, End]]:
    """Two ends that are connected."""
    one, other = await pair()
    yield one, other
    one.connection.close()
    other.connection.close()
    await one.end()
    await other.end()


@pytest.fixture
async def bare() -> AsyncIterator[tuple[socket.socket, End]]:
    """A socket, and the end of a connection that it is connected with; frames of 10,000 bytes, memory of 8192."""
    ours, theirs = socket.socketpair()
    end = await End.open(theirs, 10_000, 8192)
    with ours:
        yield ours, end
    end.connection.close()
    await end.end()


def call(number: int, request: bytes = b"", shared: int = 0) -> frames.Call:
    return frames.Call(number, request, {}, None, "", False, shared)


def nonsense(error: BaseException | None) -> str:
    """The message of a ``BAD_FRAME``."""
    assert isinstance(error, BridgeError)
    assert (error.code, error.reason) == (Code.DATA_LOSS, "BAD_FRAME")
    return error.message


# Messages


async def test_messages_come_in_order_whatever_their_size(ends: tuple[End, End]) -> None:
    one, other = ends
    sent = [call(n, bytes(size)) for n, size in enumerate((10, BIG, 0, 100, BIG, 20_000, 20_000, 5, 70_000, 1))]
    for message in sent:
        one.connection.send(message)
    other.connection.send(frames.Cancel(7))
    assert await other.has(len(sent)) == sent
    assert await one.has(1) == [frames.Cancel(7)]


async def test_messages_that_may_wait_keep_their_order_and_go_together(ends: tuple[End, End]) -> None:
    one, other = ends
    sizes = (10, 0, 20_000, 70_000, 5, BIG, 1, 100)
    sent = [call(number, bytes(size)) for number, size in enumerate(sizes * 2)]
    for number, message in enumerate(sent):
        (one.connection.send if number % 3 == 2 else one.connection.send_later)(message)
    assert await other.has(len(sent)) == sent


async def test_small_messages_that_may_wait_are_one_for_the_socket(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    sock.setblocking(False)
    for number in range(20):
        end.connection.send_later(call(number))
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    await asyncio.sleep(0)
    assert sock.recv(10_000) == b"".join(frames.encode(call(number)) for number in range(20))


async def test_what_may_wait_is_sent_before_the_end(ends: tuple[End, End]) -> None:
    one, other = ends
    one.connection.send_later(call(1))
    one.connection.close()
    one.connection.send_later(call(2))
    assert await other.has(1) == [call(1)]
    await one.end()
    assert await other.end() is None
    assert other.messages == [call(1)]


async def test_bytes_come_however_they_are_cut(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    data = b"".join(frames.encode(call(n, b"x" * n)) for n in (1, 50, 0, 300))
    for byte in data:
        sock.send(bytes([byte]))
        await asyncio.sleep(0)
    assert [len(message.request) for message in await end.has(4)] == [1, 50, 0, 300]


async def test_who_sends_much_is_told_to_wait_until_it_is_read(ends: tuple[End, End]) -> None:
    one, other = ends
    asyncio.get_running_loop().remove_reader(other.connection._sock)
    while one.connection.has_room:
        one.connection.send(call(1, bytes(HIGH_WATER // 4)))
    waiting = asyncio.create_task(one.connection.drain())
    await asyncio.sleep(0)
    assert not waiting.done()
    asyncio.get_running_loop().add_reader(other.connection._sock, other.connection._read)
    async with asyncio.timeout(5):
        await waiting


async def test_what_was_sent_before_the_end_comes(ends: tuple[End, End]) -> None:
    one, other = ends
    for number in range(5):
        fd, size, _ = memory_with(b"x")
        one.connection.send(call(number, bytes(BIG), size), fd)
    one.connection.close()
    fd, size, _ = memory_with(b"too late")
    one.connection.send(call(6, shared=size), fd)
    assert [message.id for message in await other.has(5)] == [0, 1, 2, 3, 4]
    assert await other.end() is None
    assert await one.end() is None
    assert len(other.messages) == 5
    for memory in other.memories:
        assert memory is not None
        memory.close()


async def test_the_last_words_of_who_is_gone_are_heard_by_who_writes_to_it(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    asyncio.get_running_loop().remove_reader(end.connection._sock)
    for number in range(3):
        sock.send(frames.encode(call(number)))
    sock.close()
    end.connection.send(call(1))
    assert [message.id for message in await end.has(3)] == [0, 1, 2]
    assert await end.end() is None


async def test_what_waits_for_who_is_gone_is_dropped(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    while end.connection.has_room:
        fd, size, _ = memory_with(b"x")
        end.connection.send(call(1, bytes(HIGH_WATER // 4), size), fd)
    sock.close()
    await end.end()
    await end.connection.drain()
    assert memory_files() == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ((10_001).to_bytes(4, "big"), "10001 bytes, and 10000 are allowed"),
        ((3).to_bytes(4, "big") + b"\x93\xff\xff", "pipe sent"),
        ((1).to_bytes(4, "big") + b"\xc1", "pipe sent"),
    ],
)
async def test_nonsense_ends_the_connection(bare: tuple[socket.socket, End], data: bytes, why: str) -> None:
    sock, end = bare
    sock.send(frames.encode(call(1)) + data)
    assert why in nonsense(await end.end())
    assert len(end.messages) == 1


async def test_a_receiver_that_fails_ends_the_connection(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    loop = asyncio.get_running_loop()
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    def fail(_: object) -> None:
        raise LookupError("a bug")

    end.connection._on_message = fail
    fd, size, _ = memory_with(b"x")
    send_with(sock, frames.encode(call(1, shared=size)), fd)
    os.close(fd)
    error = await end.end()
    assert isinstance(error, LookupError)
    assert told == [error]


# Memory


async def test_every_frame_gets_its_own_memory_however_full_the_pipe_is(ends: tuple[End, End]) -> None:
    one, other = ends
    handles: list[bytes] = []
    for number in range(12):
        if number % 3 == 2:
            one.connection.send(call(number, bytes(number % 2 * BIG)))
            continue
        fd, size, (handle,) = memory_with(b"memory of %d" % number)
        handles.append(handle)
        one.connection.send(call(number, bytes(number % 2 * BIG), size), fd)
    assert [message.id for message in await other.has(12)] == list(range(12))
    contents: list[bytes] = []
    for memory in other.memories:
        if memory is not None:
            with memory:
                contents.append(memory.read(handles[len(contents)]))
    assert contents == [b"memory of %d" % number for number in range(12) if number % 3 != 2]


async def test_memory_that_nobody_claims_is_closed(ends: tuple[End, End]) -> None:
    one, other = ends
    other.claims = False
    fd, size, _ = memory_with(b"x")
    one.connection.send(call(1, shared=size), fd)
    await other.has(1)
    assert memory_files() == 0
    assert other.connection.claim() is None


async def test_a_frame_without_its_memory_is_nonsense(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    sock.send(frames.encode(call(1, shared=100)))
    assert "without the memory" in nonsense(await end.end())
    assert end.messages == []


@pytest.mark.parametrize("announced", [1, 4095, 4097, -4096])
async def test_memory_of_another_size_than_announced_is_nonsense(
    bare: tuple[socket.socket, End], announced: int
) -> None:
    sock, end = bare
    fd = sealed(b"x" * 4096)
    send_with(sock, frames.encode(call(1, shared=announced)), fd)
    os.close(fd)
    assert "were announced" in nonsense(await end.end())
    assert end.messages == []


async def test_memory_that_can_be_cut_is_nonsense(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    fd = sealed(b"x" * 4096, 0)
    send_with(sock, frames.encode(call(1, shared=4096)), fd)
    os.close(fd)
    assert "not sealed" in nonsense(await end.end())


async def test_more_memory_than_is_allowed_is_nonsense(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    fd = sealed(b"x" * 8193)
    send_with(sock, frames.encode(call(1, shared=8193)), fd)
    os.close(fd)
    assert "8193 bytes, and 8192 are allowed" in nonsense(await end.end())


async def test_a_descriptor_that_nobody_announced_is_closed_and_nonsense(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    send_with(sock, frames.encode(call(1)), 0)
    assert "no frame has announced" in nonsense(await end.end())


async def test_many_descriptors_at_once_are_closed_and_nonsense(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    send_with(sock, frames.encode(call(1))[:5], *[0] * 100)
    assert "no frame has announced" in nonsense(await end.end())


async def test_descriptors_cannot_be_piled_up_while_a_frame_comes(bare: tuple[socket.socket, End]) -> None:
    sock, end = bare
    data = frames.encode(call(1, b"x" * 100))
    send_with(sock, data[:1], 0)
    send_with(sock, data[1:2], 0)
    assert "no frame has announced" in nonsense(await end.end())


async def test_what_was_never_read_is_closed_at_the_end() -> None:
    async with AsyncExitStack() as stack:
        one, other = await pair()
        stack.push_async_callback(other.end)
        stack.push_async_callback(one.end)
        stack.callback(other.connection.close)
        stack.callback(one.connection.close)
        asyncio.get_running_loop().remove_reader(other.connection._sock)
        fd, size, _ = memory_with(b"x")
        one.connection.send(call(1, shared=size), fd)


async def test_no_child_inherits_what_has_come(ends: tuple[End, End]) -> None:
    one, other = ends
    fd, size, _ = memory_with(b"x")
    assert not os.get_inheritable(fd)
    one.connection.send(call(1, shared=size), fd)
    await other.has(1)
    (memory,) = other.memories
    assert memory is not None
    assert not os.get_inheritable(memory._fd)
    memory.close()
