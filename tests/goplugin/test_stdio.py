"""What plugins print, in processes of their own: every byte gets to the host, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from bridge.goplugin.output.output_buffer import HELD_BYTES
from tests.goplugin.stdio_child import MIB, SPOKEN, pattern
from tests.goplugin.stdio_processes import Child, Stream, begun, connected, do, started
from tests.support.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "child.sock"


IMPORTED = b"printed before, imported\nby a child, imported\nby a fork, imported\n"


def dropped(child: Child, name: str) -> int:
    """Bytes that it has said it dropped."""
    notes = (re.match(rf"(\d+) bytes of {name} were dropped", entry["@message"]) for entry in child.log())
    return sum(int(note[1]) for note in notes if note)


@pytest.mark.parametrize("thread", [False, True], ids=["loop", "thread"])
async def test_all_that_is_printed_arrives_byte_by_byte(path: Path, thread: bool) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        stream = await Stream.begin(channel)
        await do(channel, *(["later"] if thread else []), "speak")
        assert await stream.until(1, 10 + len(SPOKEN)) == b"listening\n" + SPOKEN
        assert await stream.until(2, 21) == b"to stderr\nby a child\n"
        await do(channel, "end")
        assert await child.ends() == 0
        await stream.close()
        assert stream.got[1] == b"listening\n" + SPOKEN
        assert child.out == b"ready\nthe end\n"


@pytest.mark.parametrize("thread", [False, True], ids=["loop", "thread"])
async def test_ten_megabytes_at_once_arrive(path: Path, thread: bool) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        stream = Stream(channel)
        later = ["later"] if thread else []
        await do(channel, *later, "burst", 1, 10 * MIB)
        await do(channel, *later, "burst", 2, 10 * MIB)
        assert await stream.until(1, 10 * MIB) == pattern(10 * MIB)
        assert await stream.until(2, 10 * MIB) == pattern(10 * MIB)
        await stream.close()


async def test_more_than_is_held_arrives_where_the_loop_is_free(path: Path) -> None:
    size = 3 * HELD_BYTES
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        stream = Stream(channel)
        await do(channel, "later", "burst", 1, size)
        assert await stream.until(1, size) == pattern(size)
        await stream.close()


async def test_the_channels_keep_their_order_while_nobody_takes_them(path: Path) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        await do(channel, "interleave")
        stream = Stream(channel)
        assert await stream.until(1, 18) == b"out 0\nout 1\nout 2\n"
        assert await stream.until(2, 18) == b"err 0\nerr 1\nerr 2\n"
        await stream.close()


@pytest.mark.parametrize("before", [False, True], ids=["never", "any more"])
async def test_without_a_stream_the_beginning_is_kept_and_the_rest_counted(path: Path, before: bool) -> None:
    size = 20 * MIB
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        if before:
            await (await Stream.begin(channel)).close()
            while await do(channel, "streams"):
                pass
        await do(channel, "burst", 1, size)
        stream = Stream(channel)
        assert await stream.until(1, HELD_BYTES) == pattern(HELD_BYTES)
        await do(channel, "print", "and on")
        await stream.until(1, HELD_BYTES + 7)
        await do(channel, "end")
        assert await child.ends() == 0
        await stream.close()
        assert stream.got[1] == pattern(HELD_BYTES) + b"and on\n"
        assert dropped(child, "stdout") == size - HELD_BYTES
        assert "nobody asked for them" in child.log()[0]["@message"]


async def test_a_host_that_does_not_read_stops_nobody_for_ever(path: Path) -> None:
    size = 3 * HELD_BYTES
    async with asyncio.timeout(20), started(path, patience=0.05) as child, connected(child) as channel:
        messages = channel.stream("/plugin.GRPCStdio/StreamStdio", b"")
        await do(channel, "burst", 1, 8)
        await anext(messages)
        await do(channel, "later", "burst", 1, size)
        await child.says(b"dropped because the host takes none")
        await messages.aclose()
        stream = Stream(channel)  # it gets what the other one has not
        await stream.until(1, MIB)
        await do(channel, "end")
        assert await child.ends() == 0
        await stream.close()
        assert 0 < dropped(child, "stdout") < size
        assert pattern(size).find(bytes(stream.got[1][:MIB])) > 0


async def test_what_is_dropped_is_counted_to_the_byte(path: Path) -> None:
    size = 2 * HELD_BYTES
    async with asyncio.timeout(20), started(path, patience=0.05) as child, connected(child) as channel:
        stream = Stream(channel)
        await do(channel, "burst", 1, size)  # the loop is blocked, so nothing can be sent
        await do(channel, "end")
        assert await child.ends() == 0
        await stream.close()
        assert len(stream.got[1]) + dropped(child, "stdout") == size
        assert stream.got[1][:HELD_BYTES] == pattern(size)[:HELD_BYTES]


async def test_a_second_stream_waits_until_the_first_is_gone(path: Path) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as one, connected(child) as other:
        first = Stream(one)
        await do(one, "print", "1")
        await first.until(1, 2)
        second = Stream(other)
        await do(one, "print", "2")
        assert await first.until(1, 4) == b"1\n2\n"
        await first.close()
        while await do(one, "streams") > 1:
            pass
        await do(one, "print", "3")
        assert await second.until(1, 2) == b"3\n"
        await second.close()


async def test_what_was_printed_last_is_there_when_the_end_is_answered(path: Path) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        stream = Stream(channel)
        await do(channel, "print", "begun")
        await stream.until(1, 6)
        await do(channel, "end", "x" * 500_000)
        await child.ends()
        await asyncio.wait([stream.task])
        assert stream.got[1] == b"begun\n" + b"x" * 500_000
        assert stream.in_order
        await stream.close()


async def test_a_flush_returns_when_the_host_has_got_all(path: Path) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        stream = await Stream.begin(channel)
        assert await do(channel, "flush", "x" * 500_000) is True
        await stream.close()


async def test_what_python_has_not_written_yet_arrives_before_the_end(path: Path) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        stream = await Stream.begin(channel)
        await do(channel, "murmur", "no end of line")
        await do(channel, "end")
        await child.ends()
        await asyncio.wait([stream.task])
        assert stream.got[1] == b"listening\nno end of line"
        await stream.close()


async def test_what_lies_in_the_pipe_is_read_before_the_end(path: Path) -> None:
    async with asyncio.timeout(20), begun(path, unread=True) as child:
        assert await child.ends() == 0


async def test_a_grandchild_with_the_pipes_does_not_hold_up_the_end(path: Path) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        stream = Stream(channel)
        pid = await do(channel, "grandchild")
        try:
            await do(channel, "end", "last words")
            assert await child.ends() == 0
            await asyncio.wait([stream.task])
            assert stream.got[1] == b"last words"
        finally:
            os.kill(pid, signal.SIGKILL)
        await stream.close()


async def test_nothing_but_the_handshake_is_on_a_protected_stdout(path: Path) -> None:
    async with asyncio.timeout(20), started(path, protect=True) as child, connected(child) as channel:
        stream = Stream(channel)
        text = IMPORTED + b"put by C, imported\n"
        assert sorted((await stream.until(1, len(text))).splitlines()) == sorted(text.splitlines())
        await do(channel, "end")
        assert await child.ends() == 0
        assert child.out == b"ready\nthe end\n"
        assert child.err == b"stderr is not protected\n"
        await stream.close()


async def test_who_never_serves_prints_on_stderr(path: Path) -> None:
    async with asyncio.timeout(20), begun(path, protect=True, never=True) as child:
        assert await child.ends() == 0
        assert child.out == b""
        assert child.err == b"stderr is not protected\n" + IMPORTED + b"put by C, imported\n"


@pytest.mark.parametrize("protect", [False, True], ids=["plain", "protected"])
async def test_in_test_mode_nothing_is_captured(path: Path, protect: bool) -> None:
    async with asyncio.timeout(20), started(path, test=True, protect=protect) as child, connected(child) as channel:
        stream = Stream(channel)
        await do(channel, "print", "as ever")
        await do(channel, "end")
        assert await child.ends() == 0
        assert b"as ever" in child.out
        assert (IMPORTED in child.out) is protect
        await asyncio.wait([stream.task])
        assert not stream.got
        await stream.close()


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("protect", [False, True], ids=["plain", "protected"])
async def test_descriptors_may_be_closed_at_the_start(path: Path, closed: str, protect: bool) -> None:
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh")
    async with asyncio.timeout(20), begun(path, shell, protect=protect) as child, connected(child) as channel:
        stream = await Stream.begin(channel)
        await do(channel, "speak")
        await stream.until(1, SPOKEN)
        await stream.until(2, b"to stderr\nby a child\n")
        await do(channel, "end")
        assert await child.ends() == 0
        await stream.close()


@pytest.mark.parametrize("action", ["replace_stdout", "close_stdout"])
async def test_what_user_code_does_to_the_text_streams_does_no_harm(path: Path, action: str) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        stream = Stream(channel)
        await do(channel, action)
        await do(channel, "burst", 2, 80)
        assert (await stream.until(2, 80)).endswith(pattern(80))
        if action == "replace_stdout":
            assert await stream.until(1, 15) == b"still captured\n"
        await do(channel, "end")
        await child.ends()
        assert child.why == "asked"
        await stream.close()


async def test_what_was_captured_is_given_back_with_nothing_left(path: Path) -> None:
    async with asyncio.timeout(20), begun(path, cycles=True) as child:
        assert await child.ends() == 0, child.err
        assert child.out == b"." * 21


async def test_a_forked_child_does_not_wait_for_a_dead_reader(path: Path) -> None:
    async with asyncio.timeout(20), started(path, protect=True, survivor=True) as child:
        child.process.kill()
        await until(Path(f"{path}.broke").exists)


async def test_an_exception_of_a_thread_reaches_the_host_at_error(path: Path) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        await do(channel, "fail_in_thread")
        await child.says(b"nobody catches this")
        (entry,) = child.log()
        assert (entry["@level"], entry["@message"]) == ("error", "an exception ended unlucky")
        assert "ValueError" in entry["stacktrace"]


async def test_a_crash_reaches_the_host(path: Path) -> None:
    async with asyncio.timeout(20), started(path) as child, connected(child) as channel:
        call = asyncio.create_task(do(channel, "crash"))
        assert await child.ends() == -signal.SIGSEGV
        assert b"Fatal Python error: Segmentation fault" in child.err
        await asyncio.wait([call])
        assert call.exception() is not None
