"""Starting a plugin's process: what it gets, what is heard of it, and what is left when it cannot be started."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.goplugin.handshake import MAX_LINE
from bridge.goplugin.process.process_identity import ProcessIdentity
from bridge.goplugin.process.watched_process import WatchedProcess
from tests.goplugin.process_programs import LINE, SAY, Lines, ended, open_files, opened, script, shell, started


@pytest.mark.parametrize("end", ["\\n", "\\r\\n", ""], ids=["unix", "dos", "none"])
async def test_first_line_of_stdout_is_told(end: str) -> None:
    async with asyncio.timeout(20):
        process = await shell(f"printf '%s{end}' '{LINE}'")
        await process.aclose()
    assert process.line.strip() == LINE


async def test_program_gets_its_arguments_environment_and_directory_as_given(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder / "plugin", f'#!/bin/sh\necho "$0,$1,$2,$NAME,$HOME,$(pwd -P)" >&2; {SAY}\n')
    lines = Lines()
    async with asyncio.timeout(20):
        command = ["./plugin", "a b", Path("c")]
        env = {"NAME": "value", "PATH": os.defpath}
        process = await started(command, env=env, cwd=folder, on_stderr=lines)
        await process.exited()
    assert lines.all == [(f"./plugin,a b,c,value,,{folder.resolve()}".encode(), True)]


async def test_program_leads_a_session_and_gets_no_descriptor_but_its_own_and_the_leash() -> None:
    code = (
        "import os, sys; fds = os.listdir('/proc/self/fd'); "
        f"print(os.getsid(0), os.getpgrp(), len(fds), file=sys.stderr); print({LINE!r})"
    )
    lines = Lines()
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    try:
        async with asyncio.timeout(20):
            process = await started([sys.executable, "-c", code], on_stderr=lines)
            await process.exited()
    finally:
        os.close(reader)
        os.close(writer)
    of_the_listing = 1
    assert lines.all == [(f"{process.pid} {process.pid} {3 + 1 + of_the_listing}".encode(), True)]


async def test_stdin_is_the_hosts_or_nothing() -> None:
    async with asyncio.timeout(20):
        inheriting = await shell(f"{SAY}; exec sleep 60", inherit_stdin=True)
        with_nothing = await shell(f"{SAY}; exec sleep 60", inherit_stdin=False)
        try:
            assert opened(inheriting.pid, 0) == opened("self", 0)
            assert opened(with_nothing.pid, 0) == Path("/dev/null")
        finally:
            await inheriting.aclose()
            await with_nothing.aclose()


async def test_more_of_stdout_is_read_and_dropped() -> None:
    async with asyncio.timeout(20):
        process = await shell(f"{SAY}; head -c 1000000 /dev/zero")
        end = await process.exited()
    assert end.code == 0
    assert process.stdout_dropped == 1_000_000


async def test_stderr_comes_in_lines_and_a_longer_one_in_pieces() -> None:
    lines = Lines()
    async with asyncio.timeout(20):
        text = "echo one >&2; echo >&2; head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; printf last >&2"
        process = await shell(f"{SAY}; {text}", on_stderr=lines)
        await process.exited()
    pieces = [line for line, is_whole in lines.all if not is_whole]
    assert b"".join(pieces) == b"x" * 100_000
    assert len(pieces) == 2
    assert [line for line, is_whole in lines.all if is_whole] == [b"one", b"", b"last"]
    assert process.stderr_tail[-1] == "last"


async def test_only_the_end_of_stderr_is_kept() -> None:
    async with asyncio.timeout(20):
        process = await shell(f"{SAY}; seq 1 10000 >&2; head -c 50000 /dev/zero | tr '\\0' x >&2")
        await process.exited()
    assert process.stderr_tail[-2] == "10000"
    assert len(process.stderr_tail) == 50
    assert max(map(len, process.stderr_tail)) == 1000


async def test_stderr_is_read_on_when_nobody_can_take_it(caplog: pytest.LogCaptureFixture) -> None:
    def broken(line: bytes, is_whole: bool) -> None:
        raise ZeroDivisionError

    async with asyncio.timeout(20):
        process = await shell(f"{SAY}; seq 1 100000 >&2", on_stderr=broken)
        end = await process.exited()
    assert end.code == 0
    assert process.stderr_tail[-1] == "100000"
    assert sum(record.exc_info is not None for record in caplog.records) == 1


async def test_noise_before_the_line_is_told_with_notes_about_the_program(tmp_path: Path) -> None:
    program = script(tmp_path / "noisy", f"#!/bin/sh\necho 'Hello, I load'; echo why >&2; {SAY}; exec sleep 60\n")
    with pytest.raises(BridgeError, match="Unrecognized remote plugin message: Hello, I load") as caught:
        await started([program])
    assert caught.value.reason == "HANDSHAKE"
    for part in (f"Path: {program}", "Mode: -rwxr-xr-x", f"Owner: {os.getuid()} [", f"Group: {os.getgid()} ["):
        assert part in caught.value.message


async def test_line_without_end_is_not_waited_for(tmp_path: Path) -> None:
    code = f"import os; os.write(1, b'1|1|unix|/' + b'x' * {MAX_LINE}); import time; time.sleep(60)"
    async with asyncio.timeout(20):
        with pytest.raises(BridgeError, match="Unrecognized remote plugin message") as caught:
            await started([sys.executable, "-c", code])
    assert caught.value.reason == "HANDSHAKE"
    assert len(caught.value.message) < 5000


async def test_line_for_another_host_is_left_to_its_client() -> None:
    async with asyncio.timeout(20):
        process = await shell("echo '1|9|tcp|127.0.0.1:1234|netrpc'")
        await process.aclose()
    assert process.line.startswith("1|9|")


async def test_program_that_exits_before_its_line_is_told_with_code_and_stderr() -> None:
    with pytest.raises(BridgeError, match="plugin exited before we could connect: ") as caught:
        await shell("echo 'no such library' >&2; printf '\\033[31m' >&2; exit 3")
    error = caught.value
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "PLUGIN_EXITED")
    assert error.details.metadata == {"exit_code": "3"}
    assert "ended with exit code 3\n" in error.message
    assert "Failed to read any lines from plugin's stdout" in error.message
    assert "no such library\n\\x1b[31m" in error.message


async def test_program_that_exits_a_while_after_it_has_closed_stdout_is_told_with_its_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.goplugin.process.process._EXIT_WITHIN", 15.0)
    with pytest.raises(BridgeError, match="ended with exit code 3"):
        await shell("exec >&-; sleep 0.05; exit 3")


async def test_program_that_is_killed_before_its_line_is_told_with_the_signal() -> None:
    with pytest.raises(BridgeError, match=r"ended with signal SIGSEGV") as caught:
        await shell("kill -SEGV $$")
    assert caught.value.details.metadata == {"signal": "SIGSEGV"}


async def test_program_that_closes_stdout_and_lives_on_is_no_plugin() -> None:
    lines = Lines()
    with pytest.raises(BridgeError, match="Failed to read any lines from plugin's stdout") as caught:
        await shell("echo $$ >&2; exec >&-; exec sleep 60", on_stderr=lines)
    assert caught.value.reason == "HANDSHAKE"
    with pytest.raises(ProcessLookupError):
        await lines.identity()


async def test_program_that_says_nothing_in_time_is_killed_with_its_children() -> None:
    lines = Lines()
    before = open_files()
    with pytest.raises(BridgeError, match="timeout while waiting for plugin to start") as caught:
        await shell("sleep 60 & echo $! >&2; wait", start_timeout=0.5, on_stderr=lines)
    assert (caught.value.code, caught.value.reason) == (Code.DEADLINE_EXCEEDED, "PLUGIN_START_TIMEOUT")
    pid = int(lines.all[0][0])
    assert f"its stderr ended with:\n{pid}" in caught.value.message
    try:
        await ended(ProcessIdentity.of(pid))
    except ProcessLookupError:
        pass  # it is reaped already
    assert open_files() == before


async def test_cancelled_start_leaves_nothing() -> None:
    lines = Lines()
    before = open_files()
    starting = asyncio.ensure_future(shell("sleep 60 & echo $! >&2; wait", on_stderr=lines))
    child = await lines.identity()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await ended(child)
    assert open_files() == before


async def test_start_without_descriptors_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_files()
    pids: list[int] = []
    init = WatchedProcess.__init__

    def failing(self: WatchedProcess, identity: ProcessIdentity, *args: object) -> None:
        pids.append(identity.pid)
        monkeypatch.setattr(WatchedProcess, "__init__", init)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(WatchedProcess, "__init__", failing)
    with pytest.raises(BridgeError, match="too many open files") as caught:
        await shell(f"{SAY}; exec sleep 60")
    assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "PLUGIN_START_FAILED")
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert open_files() == before


@pytest.mark.parametrize("command", [[], [""], ["a\0b"], ["sh", "\0"], "sh -c true"])
async def test_what_is_no_command_is_refused(command: list[str]) -> None:
    with pytest.raises(BridgeError) as caught:
        await started(command)
    assert caught.value.code is Code.INVALID_ARGUMENT
