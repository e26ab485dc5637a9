"""Serving a Unix socket within a process. Scenarios U01, U05, U06, U08, U10, C11 and the limits of accepting."""

# ruff: noqa: ASYNC240 - these look at files and wait for programs, and nothing else is to run meanwhile

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.jsonrpc import unix_server
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.unix_server import listen_unix
from bridge.protocols.content_length import ContentLength
from tests.jsonrpc.ends import Answers, Wire, encode
from tests.jsonrpc.processes import client
from tests.support.waiting import until


@pytest.fixture
def path() -> Iterator[Path]:
    """Of a socket, short: it may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="bridge-", dir="/tmp") as folder:
        yield Path(folder, "own", "rpc.sock")


@pytest.fixture
async def answers() -> Answers:
    return Answers()


def listening(path: Path, answers: Answers, **options: Any) -> Any:
    return listen_unix(path, lambda: Connection(ContentLength(), answers), **options)


async def ping(wire: Wire) -> bool:
    wire.say({"id": 1, "method": "echo"})
    return "result" in (await wire.hear() or {})


@asynccontextmanager
async def quickly(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Bounds the test, and has the server look often."""
    monkeypatch.setattr(unix_server, "LOOK_INTERVAL", 0.01)
    async with asyncio.timeout(5):
        yield


async def test_U01_the_socket_is_private_from_the_first_instant(path: Path, answers: Answers) -> None:
    modes, done = set(), threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                modes.add(path.lstat().st_mode)
            except FileNotFoundError:
                pass

    looking = threading.Thread(target=look)
    looking.start()
    before = os.umask(0)
    try:
        for _ in range(50):
            async with listening(path, answers):
                await asyncio.sleep(0)
    finally:
        os.umask(before)
        done.set()
        looking.join()
    assert modes <= {stat.S_IFSOCK | 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_while_it_accepts_its_number_is_beside_the_socket(path: Path, answers: Answers) -> None:
    number = path.with_name("rpc.sock.pid")
    async with asyncio.timeout(5), listening(path, answers) as server:
        assert server.address == f"unix:{path}"
        assert number.read_text() == f"{os.getpid()}\n"
        assert stat.S_IMODE(number.stat().st_mode) == 0o600
    assert not number.exists()
    assert not path.exists()
    async with listening(path, answers, pid_file=False):
        assert not number.exists()


@pytest.mark.parametrize("what", ["file", "folder", "dangling link", "link"])
async def test_U05_what_is_no_socket_is_refused_and_left_alone(path: Path, answers: Answers, what: str) -> None:
    path.parent.mkdir(mode=0o700)
    if what == "file":
        path.write_text("precious")
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere" if what == "dangling link" else path.parent)
    before = path.lstat()
    with pytest.raises(BridgeError, match=str(path)) as caught:
        async with listening(path, answers):
            pass
    assert caught.value.reason == "SOCKET_PERMISSIONS"
    assert path.lstat().st_ino == before.st_ino


async def test_U05_a_path_that_is_too_long_is_refused(path: Path, answers: Answers) -> None:
    with pytest.raises(BridgeError, match="a socket's may have 107") as caught:
        async with listening(path.with_name("x" * 108), answers):
            pass
    assert caught.value.reason == "ADDRESS"


async def test_U06_who_has_given_up_the_path_does_not_touch_the_next_ones_socket(path: Path, answers: Answers) -> None:
    async with asyncio.timeout(5):
        async with listening(path, answers) as first, client(path) as old:
            assert await ping(old)
            first.stop_accepting()
            async with listening(path, answers), client(path) as new:
                assert await ping(new)
                assert await ping(old)  # what was connected goes on
                assert await first.drain(1)
                async with client(path) as third:
                    assert await ping(third)
                assert path.with_name("rpc.sock.pid").exists()


async def test_U08_who_is_not_used_is_told_again_and_again(path: Path, answers: Answers) -> None:
    idle = asyncio.Semaphore(0)
    async with asyncio.timeout(5), listening(path, answers, idle_timeout=0.01, on_idle=idle.release):
        await idle.acquire()
        await idle.acquire()


async def test_U08_an_open_connection_counts_as_use(path: Path, answers: Answers) -> None:
    idle: list[None] = []
    options = {"idle_timeout": 0.02, "on_idle": lambda: idle.append(None)}
    async with asyncio.timeout(5), listening(path, answers, **options):
        async with client(path) as wire:
            assert await ping(wire)
            idle.clear()
            await asyncio.sleep(0.1)
            assert not idle
        await until(lambda: idle)


async def test_U08_who_has_come_and_was_not_accepted_yet_counts_as_use(path: Path, answers: Answers) -> None:
    idle: list[None] = []
    options = {"idle_timeout": 60.0, "on_idle": lambda: idle.append(None)}
    async with asyncio.timeout(5), listening(path, answers, **options) as server:
        with socket.socket(socket.AF_UNIX) as came:
            came.connect(str(path))
            server._is_idle()
            assert not idle
            assert len(server.connections) == 1


async def test_U08_a_request_that_outlives_its_client_counts_as_use(path: Path, answers: Answers) -> None:
    idle: list[None] = []
    options = {"idle_timeout": 0.02, "on_idle": lambda: idle.append(None)}
    async with asyncio.timeout(5), listening(path, answers, **options):
        async with client(path) as wire:
            wire.say({"id": 1, "method": "stubborn"})
            await until(lambda: answers.begun)
            idle.clear()
        await until(lambda: answers.cancelled)
        await asyncio.sleep(0.1)
        assert not idle
        answers.release.set()
        await until(lambda: idle)


async def test_U10_a_socket_that_was_removed_is_bound_again(
    path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with quickly(monkeypatch), listening(path, answers), client(path) as old:
        path.unlink()
        await until(path.exists)
        async with client(path) as new:
            assert await ping(new)
            assert await ping(old)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert not path.exists()


async def test_U10_who_loses_its_folder_is_told_once(
    path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[None] = []
    serving = listening(path, answers, on_lost=lambda: lost.append(None))
    async with quickly(monkeypatch), serving, client(path) as old:
        shutil.rmtree(path.parent)
        await until(lambda: lost)
        await asyncio.sleep(0.05)
        assert len(lost) == 1
        assert await ping(old)


async def test_U10_who_finds_another_socket_in_its_place_leaves_it_alone(
    path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[None] = []
    with socket.socket(socket.AF_UNIX) as other:
        async with quickly(monkeypatch), listening(path, answers, on_lost=lambda: lost.append(None)):
            path.unlink()
            other.bind(str(path))
            await until(lambda: lost)
        assert path.is_socket()


async def test_one_connection_too_many_is_told_so(path: Path, answers: Answers) -> None:
    async with asyncio.timeout(5), listening(path, answers, max_connections=1) as server:
        async with client(path) as first:
            assert await ping(first)
            async with client(path) as second:
                second.say({"id": 1, "method": "echo"})
                assert (await second.hear())["error"]["data"]["reason"] == "TOO_MANY_CONNECTIONS"
            assert answers.begun == ["echo"]
        await until(lambda: not server.connections)
        async with client(path) as third:
            assert await ping(third)


async def test_without_descriptors_accepting_goes_on_later(
    path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_server, "PAUSE", 0.05)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with asyncio.timeout(5), listening(path, answers) as server:
        with socket.socket(socket.AF_UNIX) as waiting:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                waiting.connect(str(path))
                for _ in range(10):
                    await asyncio.sleep(0)
                assert not server.connections
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: server.connections)


async def test_C11_what_runs_is_finished_and_who_comes_later_finds_nobody(path: Path, answers: Answers) -> None:
    async with asyncio.timeout(5), listening(path, answers) as server, client(path) as wire:
        wire.say({"id": 1, "method": "slow"})
        await until(lambda: answers.begun)
        draining = asyncio.create_task(server.drain(5))
        await until(lambda: not path.exists())
        answers.release.set()
        assert (await wire.hear())["id"] == 1
        assert await wire.hear() is None
        assert await draining


async def test_C11_who_does_not_take_its_answers_keeps_nobody(
    path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_server, "END_TIMEOUT", 0.05)
    async with asyncio.timeout(4), listening(path, answers) as server:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(path))
            silent.sendall(b"".join(ContentLength().encode(encode({"id": 1, "method": "big", "params": [10_000_000]}))))
            await until(lambda: answers.begun)
            (connection,) = server.connections
            assert await server.drain(1)
            await connection.ended


async def test_C11_what_does_not_end_in_time_is_cut_off(path: Path, answers: Answers) -> None:
    async with asyncio.timeout(5), listening(path, answers) as server, client(path) as wire:
        wire.say({"id": 1, "method": "slow"})
        await until(lambda: answers.begun)
        assert not await server.drain(0.01)
        assert answers.cancelled == ["slow"]
        assert not server.connections
