"""What a connection takes of a side that is slow, silent, greedy or wrong. Scenarios F04, F08-F10, F12, C09."""

from __future__ import annotations

import asyncio
import itertools
import socket

import msgspec
import pytest
from msgspec import Raw

from bridge.errors import BridgeError, Code
from bridge.jsonrpc import connection as connections
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.slow_sender import MIN_RATE
from bridge.protocols.limits import ProtocolLimits
from tests.jsonrpc.ends import FRAMINGS, Answers, connected, raw_client
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("framing", FRAMINGS)

BEGUN = {"content-length": b"Content-Len", "newline": b'{"jsonrpc"'}
"""The beginning of a message."""


@pytest.fixture
async def answers() -> Answers:
    return Answers()


async def test_F09_who_begins_a_message_and_falls_silent_is_closed(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers, partial_timeout=0.05) as (client, connection):
        client.writer.write(BEGUN[framing])
        assert (await client.hear())["error"]["data"]["reason"] == "MESSAGE_TIMEOUT"
        assert await client.hear() is None
        await connection.ended


async def test_F09_dripping_does_not_help(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers, partial_timeout=0.1) as (client, connection):
        for byte in b"Content-Length: 7   " * 1000:
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0.005)
            if not connection.is_open:
                break
        assert (await client.hear())["error"]["data"]["reason"] == "MESSAGE_TIMEOUT"


async def test_F09_who_says_nothing_or_only_whole_messages_is_left_in_peace(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers, partial_timeout=0.02) as (client, connection):
        client.say({"id": 1, "method": "echo"})
        await client.hear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.shield(connection.lost)
        assert connection.is_open


async def test_F09_a_large_message_may_take_its_time(framing: str, answers: Answers) -> None:
    interval = 0.05
    async with asyncio.timeout(10), raw_client(framing, answers, partial_timeout=interval) as (client, connection):
        text = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "echo", "params": ["x" * 2000]})
        wire = b"".join(FRAMINGS[framing]().encode(text))
        assert len(wire) > 4 * MIN_RATE * interval
        for begin in range(0, len(wire), 200):
            client.writer.write(wire[begin : begin + 200])
            await asyncio.sleep(0.02)  # a fifth of a message in the time of a look
        assert (await client.hear())["id"] == 1
        assert connection.is_open


async def test_F09_each_message_has_a_time_of_its_own(framing: str, answers: Answers) -> None:
    wire = b"".join(FRAMINGS[framing]().encode(b'{"jsonrpc":"2.0","id":"x","method":"echo"}'))
    async with asyncio.timeout(10), raw_client(framing, answers, partial_timeout=0.2) as (client, _):
        client.writer.write(wire[:10])
        for _ in range(5):
            await asyncio.sleep(0.12)
            client.writer.write(wire[10:] + wire[:10])
            assert (await client.hear())["id"] == "x"


async def test_F10_large_messages_pass_both_ways_while_others_are_answered(framing: str, answers: Answers) -> None:
    limits = ProtocolLimits(max_frame_bytes=20 * 1024 * 1024)
    pair = connected(framing, answers, limits=limits)
    async with asyncio.timeout(30), pair as (client, _), connected(framing, answers) as (other, _):
        texts = [b'["' + bytes([65 + n]) * 10_000_000 + b'"]' for n in range(2)]
        large = [asyncio.create_task(client.request("echo", text)) for text in texts]
        pings = 0
        while not all(task.done() for task in large):
            assert await other.request("echo", [pings]) == Raw(b"[%d]" % pings)
            pings += 1
        assert pings > 5
        assert [bytes(await task or b"") for task in large] == texts


async def test_F10_large_messages_that_cross_do_not_wait_for_each_other(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(30), connected(framing, answers, Answers()) as (client, _):
        text = b'["' + b"x" * 3_000_000 + b'"]'
        results = await asyncio.gather(*(client.request("ask" if n % 2 else "echo", text) for n in range(6)))
        assert all(bytes(result or b"") == text for result in results)


def takes(end: socket.socket, data: bytes) -> bool:
    """Sends something; whether there was room for it."""
    try:
        return bool(end.send(data))
    except BlockingIOError:
        return False


async def test_F12_who_does_not_read_is_not_read_and_others_are(framing: str, answers: Answers) -> None:
    here, there = socket.socketpair()
    here.setblocking(False)
    loop = asyncio.get_running_loop()
    connection = Connection(FRAMINGS[framing](), answers)
    await loop.connect_accepted_socket(lambda: connection, there)
    texts = (b'{"jsonrpc":"2.0","id":%d,"method":"big","params":[100000]}' % n for n in itertools.count())
    framed = (b"".join(FRAMINGS[framing]().encode(text)) for text in texts)
    async with asyncio.timeout(10), connected(framing, answers) as (other, _):
        asked = 0
        while takes(here, next(framed)) or connection.transport.is_reading():
            asked += 1
            await asyncio.sleep(0)
        assert len(answers.begun) < asked
        assert connection.transport.get_write_buffer_size() < 10 * 100_000
        assert await other.request("echo", [1]) == Raw(b"[1]")
        connection.abort()
        await connection.ended
    here.close()


async def test_F12_who_streams_to_it_waits(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(10), raw_client(framing, answers) as (client, connection):
        said = 0

        async def stream() -> None:
            nonlocal said
            while True:
                connection.notify("chunk", ["x" * 10_000])
                said += 1
                await connection.drained()

        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # as a client that does not read
        streaming = asyncio.create_task(stream())
        await until(lambda: connection.transport.get_write_buffer_size() > 0 and not streaming.done())
        before = said
        for _ in range(20):
            await asyncio.sleep(0)
        assert said == before
        connection.abort()
        with pytest.raises(BridgeError) as caught:
            await streaming
        assert caught.value.reason == "CLIENT_GONE"


async def test_F12_who_does_not_take_the_last_words_is_cut_off(
    framing: str, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LINGER", 0.05)
    async with asyncio.timeout(5), raw_client(framing, answers) as (client, connection):
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        connection.notify("chunk", ["x" * 10_000_000])
        connection.close()
        await connection.ended


async def test_F04_after_a_violation_it_is_answered_and_closed(framing: str, answers: Answers) -> None:
    limits = ProtocolLimits(max_frame_bytes=100)
    async with asyncio.timeout(5), raw_client(framing, answers, limits=limits) as (client, connection):
        client.say({"id": 1, "method": "slow"}, {"id": 2, "method": "echo", "params": ["x" * 200]})
        heard = await client.hear()
        assert (heard["id"], heard["error"]["code"]) == (None, -32700)
        assert await client.hear() is None
        await connection.ended
        assert answers.cancelled == ["slow"]


async def test_F08_a_message_that_is_cut_by_the_end_is_not_run(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers) as (client, connection):
        wire = b"".join(FRAMINGS[framing]().encode(b'{"jsonrpc":"2.0","id":1,"method":"echo"}'))
        client.writer.write(wire[:-1])
        client.writer.write_eof()
        assert await client.hear() is None
        await connection.ended
        assert answers.begun == []


async def test_C09_what_is_over_the_limit_of_running_requests_is_refused_at_once(
    framing: str, answers: Answers
) -> None:
    limits = ProtocolLimits(max_in_flight=2)
    async with asyncio.timeout(5), raw_client(framing, answers, limits=limits) as (client, _):
        client.say(*({"id": n, "method": "slow"} for n in range(3)))
        heard = await client.hear()
        assert (heard["id"], heard["error"]["data"]["reason"]) == (2, "SERVER_BUSY")


async def test_S03_what_was_asked_before_the_end_is_answered_within_the_grace(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers, eof_grace=5.0) as (client, connection):
        client.say({"id": 1, "method": "slow"}, {"id": 2, "method": "echo"})
        client.writer.write_eof()
        assert (await client.hear())["id"] == 2
        answers.release.set()
        assert (await client.hear())["id"] == 1
        assert await client.hear() is None
        await connection.ended


async def test_S03_what_is_not_answered_within_the_grace_is_cancelled(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers, eof_grace=0.05) as (client, connection):
        client.say({"id": 1, "method": "slow"})
        client.writer.write_eof()
        assert await client.hear() is None
        await connection.ended
        assert answers.cancelled == ["slow"]


async def test_a_request_waits_for_room_and_its_timeout_counts(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers) as (client, connection):
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        connection.notify("chunk", ["x" * 10_000_000])
        with pytest.raises(BridgeError) as caught:
            await connection.request("echo", timeout=0.05)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
