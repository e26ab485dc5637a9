"""A program is run only if it has the checksum that it must have."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from io import FileIO
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.goplugin.process.checksum import SecureConfig, open_program
from bridge.goplugin.process.launch import prepare, run, verify
from tests.goplugin.process_programs import LINE, SAY, Lines, copied_shell, open_files, script, started
from tests.support.waiting import until


def digest(path: Path, name: str = "sha256") -> bytes:
    """Of a file."""
    return hashlib.new(name, path.read_bytes()).digest()


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """A shell."""
    return copied_shell(tmp_path.resolve() / "binary")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A script that tells what it was called."""
    return script(tmp_path / "plugin", f'#!/bin/sh\necho "$0" "$@" >&2; {SAY}\n')


@pytest.mark.parametrize("name", ["sha256", "sha512", "blake2b", "md5"])
async def test_program_with_the_right_checksum_runs(program: Path, name: str) -> None:
    before = open_files()
    lines = Lines()
    async with asyncio.timeout(20):
        secure = SecureConfig(digest(program, name), name)
        process = await started([program, "x"], secure=secure, on_stderr=lines)
        await process.exited()
    assert lines.all == [(f"{program} x".encode(), True)]
    assert open_files() == before


async def test_binary_keeps_its_arguments_and_its_name(binary: Path) -> None:
    lines = Lines()
    text = f'echo "$0" "$1" >&2; readlink /proc/$$/exe >&2; {SAY}'
    async with asyncio.timeout(20):
        process = await started([binary, "-c", text, "name", "x"], secure=SecureConfig(digest(binary)), on_stderr=lines)
        await process.exited()
    assert lines.all == [(b"name x", True), (bytes(binary), True)]


async def test_program_with_another_checksum_is_not_run(program: Path, tmp_path: Path) -> None:
    before = open_files()
    secure = SecureConfig(digest(program))
    script(program, f"#!/bin/sh\ntouch {tmp_path}/was-run; {SAY}\n")
    with pytest.raises(BridgeError, match="checksums did not match") as caught:
        await started([program], secure=secure)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "CHECKSUM")
    assert not (tmp_path / "was-run").exists()
    assert open_files() == before


@pytest.mark.parametrize(
    ("secure", "problem"),
    [
        (SecureConfig(b""), "error verifying checksum: no checksum provided"),
        (SecureConfig(b"x", ""), "error verifying checksum: no hash implementation provided"),
        (SecureConfig(b"x", "sha-none"), "error verifying checksum: no hash implementation provided"),
        (SecureConfig(b"x", "shake_128"), "error verifying checksum: no hash implementation provided"),
        (SecureConfig(b"x"), "checksums did not match"),
    ],
)
async def test_what_cannot_be_verified_is_not_run(program: Path, secure: SecureConfig, problem: str) -> None:
    with pytest.raises(BridgeError, match=problem):
        await started([program], secure=secure)


async def test_what_is_no_file_is_not_verified(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing", tmp_path / "fifo", tmp_path):
        with pytest.raises(BridgeError, match="error verifying checksum: ") as caught:
            await started([path], secure=SecureConfig(b"x"))
        assert caught.value.reason == "CHECKSUM"


async def test_binary_that_takes_the_place_of_a_checked_one_is_not_run(binary: Path, tmp_path: Path) -> None:
    launch = prepare([binary, "-c", f"{SAY}; exit 3"], dict(os.environ), None, inherit_stdin=False)
    with open_program(launch.program.path) as program:
        await verify(SecureConfig(digest(binary)), program)
        script(tmp_path / "other", "#!/bin/sh\necho other\n").replace(binary)
        with run(launch, program, []) as popen:
            assert popen.stdout is not None
            assert popen.stdout.read() == f"{LINE}\n".encode()
    assert popen.returncode == 3


async def test_file_of_a_cancelled_check_is_open_as_long_as_it_is_read(program: Path) -> None:
    begun, release, was_closed = asyncio.Event(), threading.Event(), list[bool]()
    loop = asyncio.get_running_loop()

    class Slow(SecureConfig, frozen=True):
        def check(self, program: FileIO) -> None:
            loop.call_soon_threadsafe(begun.set)
            release.wait(10)
            was_closed.append(program.closed)

    before = open_files()
    async with asyncio.timeout(20):
        starting = asyncio.ensure_future(started([program], secure=Slow(b"x")))
        await begun.wait()
        starting.cancel()
        loop.call_later(0.01, release.set)
        with pytest.raises(asyncio.CancelledError):
            await starting
        release.set()
        await until(lambda: was_closed)
    assert was_closed == [False]
    assert open_files() == before
