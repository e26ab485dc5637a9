"""In which pieces texts leave a connection, and in which order."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.jsonrpc.sending import Sending
from bridge.protocols.newline import Newline


class Recorder(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))


def sending() -> tuple[Sending, Recorder]:
    recorder = Recorder()
    made = Sending(asyncio.get_running_loop(), Newline())
    made.transport = recorder
    return made, recorder


async def test_what_waits_for_nothing_goes_at_once() -> None:
    out, there = sending()
    out.write_soon(b"1", waits=False)
    assert there.written == [b"1\n"]


async def test_what_comes_in_one_turn_of_the_loop_goes_together() -> None:
    out, there = sending()
    out.write_soon(b"1", waits=True)
    out.write_soon(b"2", waits=True)
    assert there.written == []
    await asyncio.sleep(0)
    assert there.written == [b"1\n2\n"]


async def test_the_last_of_some_takes_the_others_with_it() -> None:
    out, there = sending()
    out.write_soon(b"1", waits=True)
    out.write_soon(b"2", waits=False)
    assert there.written == [b"1\n2\n"]
    await asyncio.sleep(0)
    assert there.written == [b"1\n2\n"]


async def test_what_is_held_goes_with_the_flush() -> None:
    out, there = sending()
    out.hold()
    out.write_soon(b"1", waits=False)
    out.write_soon(b"2", waits=False)
    assert there.written == []
    out.flush()
    out.write_soon(b"3", waits=False)
    assert there.written == [b"1\n2\n", b"3\n"]


async def test_nothing_overtakes_what_goes_soon() -> None:
    out, there = sending()
    out.write_soon(b"1", waits=True)
    out.write(b"2")
    out.write_soon(b"3", waits=True)
    out.write_soon(b"x" * 100_000, waits=True)
    assert b"".join(there.written) == b"1\n2\n3\n" + b"x" * 100_000 + b"\n"


async def test_no_more_than_some_texts_wait() -> None:
    out, there = sending()
    for _ in range(100):
        out.write_soon(b"1", waits=True)
    assert 50 <= b"".join(there.written).count(b"1") < 100


async def test_what_goes_soon_goes_before_the_end_and_nothing_after_it() -> None:
    out, there = sending()
    out.write_soon(b"1", waits=True)
    out.end()
    out.write(b"2")
    out.write_soon(b"3", waits=True)
    await asyncio.sleep(0)
    assert there.written == [b"1\n"]


async def test_who_waits_for_room_goes_on_when_there_is_some_or_at_the_end() -> None:
    out, _ = sending()
    for go_on in (out.resume, out.end):
        out.pause()
        waiting = asyncio.create_task(out.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        go_on()
        async with asyncio.timeout(5):
            await waiting
