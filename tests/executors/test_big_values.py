"""Large values go to workers and back beside the pipe; the same without that, only slower."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from bridge.call import Chunk, ToolCall
from bridge.codec import pack
from bridge.errors import BridgeError, Code
from bridge.host import NoHost
from bridge.manifest import Manifest, manifest_recipe
from bridge.runtime.death import Exit
from bridge.runtime.shared import BYTES_URL, Lent
from bridge.v1.bridge_pb2 import ExecuteToolResponse, ToolChunk
from bridge.worker import frames, lending
from bridge.worker.frames import Settings
from bridge.worker.nursery import Newborn, Nursery
from bridge.worker.process import Worker
from bridge.worker.recipe import adapters_recipe
from tests.conftest import Connect
from tests.support import big_values
from tests.support.pipe_ends import send_with
from tests.support.shared_memory import mapped, memory_files, memory_with, nothing_mapped, sealed
from tests.support.waiting import until
from tests.unit.codec_values import same
from tests.worker.pids import open_files, watched

__all__ = ["nothing_mapped"]

MB = 1024 * 1024
FILE = Path(big_values.__file__)
PLUGIN = Manifest(name="big", adapter=f"{FILE}:Big", folder=str(FILE.parent))

Launch = Callable[..., Awaitable["Calls"]]


class Calls:
    """A worker, and calls of it without anything around them."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.chunks: list[Any] = []

    async def __call__(self, tool: str, /, *, streaming: bool = False, **arguments: Any) -> Any:
        async def take(chunk: Chunk) -> None:
            self.chunks.append(chunk.value)

        async with asyncio.timeout(30):
            return await self.worker.run(
                ToolCall(tool=tool, arguments=arguments, host=NoHost(), streaming=streaming, emit=take)
            )


@pytest.fixture(scope="module", params=["adapter", "plugin"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of worker."""
    kind: str = request.param
    return kind


@pytest.fixture
async def launch(kind: str) -> AsyncIterator[Launch]:
    """``call = await launch(setting=value)``: a worker."""
    async with AsyncExitStack() as stack:
        nursery = Nursery(
            manifest_recipe(PLUGIN) if kind == "plugin" else adapters_recipe(["tests.support.big_values:Big"])
        )
        stack.push_async_callback(nursery.aclose)
        async with asyncio.timeout(20):
            await nursery.start()

        async def launch(**settings: Any) -> Calls:
            async with asyncio.timeout(20):
                worker = await Worker.start(await nursery.fork(), nursery.kill, Settings(**settings), grace=0.2)
            stack.push_async_callback(worker.shut_down)
            return Calls(worker)

        yield launch


@pytest.fixture(params=["shared", "in the message"])
async def call(request: pytest.FixtureRequest, launch: Launch) -> Calls:
    """A worker, with memory and without."""
    how: dict[str, Any] = {"max_shared_bytes": 0, "max_message_bytes": 2**30} if request.param != "shared" else {}
    return await launch(**how)


VALUES: dict[str, Any] = {
    "bytes": os.urandom(MB) * 5,
    "array": np.arange(3 * MB, dtype="f4").reshape(3, -1),
    "table": pa.table({"n": np.arange(MB // 2), "t": ["text"] * (MB // 2)}),
    "nested": {"a": [np.ones(MB), {"b": b"x" * MB}], "c": b"small", "d": None, "s": "text" * 1000},
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
async def test_w13_large_values_come_back_the_same(call: Calls, value: Any) -> None:
    back = await call("echo", value=value)
    assert same(back, value)


def free_memory() -> int:
    """Bytes that can be had without harm to others (proc(5))."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


@pytest.mark.skipif(free_memory() < 4 * 1024 * MB, reason="needs 4 GiB of memory")
async def test_w13_a_gigabyte_comes_through(launch: Launch) -> None:
    call = await launch()
    array = np.zeros(1024 * MB, "u1")
    array[-1] = 7
    assert await call("ends", value=array) == [1024 * MB, 0, 7]


async def test_only_a_parameter_that_says_so_gets_a_view(call: Calls) -> None:
    data = os.urandom(MB)
    back = await call("kinds", view=data, data=bytearray(data), either=memoryview(data))
    assert back == ["memoryview", True, "bytes", "bytes", data, data]


async def test_a_stream_of_large_values_comes_in_order(call: Calls) -> None:
    array = np.arange(5 * MB // 8)
    await call("repeat", value=[array, b"x" * MB], times=20, streaming=True)
    assert len(call.chunks) == 20
    assert all(same(chunk, [array, b"x" * MB]) for chunk in call.chunks)


async def test_nothing_is_left_of_what_was_shared(launch: Launch) -> None:
    call = await launch()
    await call("echo", value=VALUES["nested"])
    pid = await call("pid")
    before, theirs = open_files(), open_files(pid)
    for _ in range(5):
        for value in VALUES.values():
            await call("echo", value=value)
        await call("repeat", value=VALUES["array"], times=10, streaming=True)
        call.chunks.clear()
    assert (mapped(), memory_files()) == (0, 0)
    assert open_files() <= before
    await call("pid")  # so that the worker has let go of the last result
    assert (mapped(pid), memory_files(pid), open_files(pid)) == (0, 0, theirs)


async def test_a_worker_may_keep_what_it_got_without_a_descriptor(launch: Launch) -> None:
    call = await launch()
    pid = await call("pid")
    before = open_files(pid)
    for _ in range(20):
        await call("keep", value=np.ones(MB))
    assert mapped(pid) == 20
    assert open_files(pid) == before
    assert mapped() == 0


# Limits


async def test_what_is_shared_does_not_count_as_message(launch: Launch) -> None:
    call = await launch(max_message_bytes=10_000)
    assert len(await call("echo", value=bytes(MB))) == MB
    with pytest.raises(BridgeError) as caught:
        await call("give", size=20_000)
    assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")


async def test_what_is_shared_has_a_limit_of_its_own(launch: Launch) -> None:
    call = await launch(max_shared_bytes=2 * MB)
    for tool, arguments in (("echo", {"value": [bytes(MB), bytes(MB + 1)]}), ("give", {"size": 2 * MB + 1})):
        with pytest.raises(BridgeError, match="max_shared_bytes") as caught:
            await call(tool, **arguments)
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    await call("give", size=2 * MB + 1 - 1)
    assert memory_files() == 0


async def test_without_a_descriptor_left_values_go_in_the_message(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await launch()

    def none_left(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", none_left)
    assert same(await call("echo", value=VALUES["array"]), VALUES["array"])


# Time


async def test_many_bytes_are_copied_in_a_thread_and_few_are_not(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await launch()
    threads: dict[int, bool] = {}
    write = Lent.write

    def noted(lent: Lent) -> int:
        threads[lent.size] = threading.current_thread() is threading.main_thread()
        return write(lent)

    monkeypatch.setattr(Lent, "write", noted)
    for size in (lending.OFF_LOOP - 1, lending.OFF_LOOP):
        await call("echo", value=bytes(size))
    assert threads == {lending.OFF_LOOP - 1: True, lending.OFF_LOOP: False}


async def test_a_call_that_is_given_up_while_it_is_copied_leaves_nothing(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await launch()
    before = open_files()
    began, go_on, done = threading.Event(), threading.Event(), threading.Event()
    write = Lent.write

    def slow(lent: Lent) -> int:
        began.set()
        go_on.wait(5)
        fd = write(lent)
        done.set()
        return fd

    monkeypatch.setattr(Lent, "write", slow)
    running = asyncio.create_task(call("echo", value=bytes(lending.OFF_LOOP)))
    await asyncio.to_thread(began.wait, 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    go_on.set()
    await asyncio.to_thread(done.wait, 5)
    async with asyncio.timeout(5):
        await until(lambda: memory_files() == 0)
    assert open_files() <= before + 1  # the loop's own, for its threads
    assert await call("pid")


# The ends


async def test_w13_a_dead_worker_leaves_nothing_and_what_it_gave_stays_good(launch: Launch) -> None:
    call = await launch()
    array = np.arange(MB)
    back = await call("echo", value=array)
    pid = await call("pid")
    with watched([pid]) as worker:
        with pytest.raises(BridgeError) as caught:
            await call("die", value=[array, bytes(MB)])
        assert caught.value.reason == "WORKER_DIED"
        assert await asyncio.to_thread(worker.left) == []
    assert (mapped(), memory_files()) == (1, 0)
    assert (back == array).all()
    del back
    assert mapped() == 0


class Impostor:
    """Plays a worker by hand."""

    def __init__(self) -> None:
        self.sock, self.theirs = socket.socketpair()
        self.signals: list[int] = []
        self._output = os.pipe()
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.newborn = Newborn(2**22, self.theirs, self._output[0], self.exited)

    async def start(self) -> Calls:
        self.sock.send(frames.encode(frames.Ready(1)))
        return Calls(await Worker.start(self.newborn, self._kill, Settings()))

    def _kill(self, _: int, sig: int) -> None:
        self.signals.append(sig)
        if not self.exited.done():
            self.exited.set_result(Exit(signal=sig))

    def close(self) -> None:
        self.sock.close()
        os.close(self._output[1])


def result(offset: int, size: int, count: int = 1) -> bytes:
    """A result, or a chunk, with handles to memory."""
    handle = offset.to_bytes(8, "little") + size.to_bytes(8, "little")
    value = pack([AnyMessage(type_url=BYTES_URL, value=handle)] * count)
    return ExecuteToolResponse(result=value).SerializeToString()


def good(content: bytes) -> int:
    return memory_with(content)[0]


@pytest.mark.parametrize("streaming", [False, True], ids=["result", "chunk"])
@pytest.mark.parametrize(
    ("message", "make", "why"),
    [
        (result(0, 100), lambda: sealed(b"x" * 100, 0), "not sealed"),
        (result(0, 100), lambda: good(b"x" * 101), "were announced"),
        (result(0, 100), lambda: sealed(b"", size=100), "has holes"),
        (result(0, 101), lambda: good(b"x" * 100), "outside of the memory"),
        (result(128, 1), lambda: good(b"x" * 100), "outside of the memory"),
        (result(0, 100, 2), lambda: good(b"x" * 100), "another one"),
    ],
    ids=["unsealed", "size", "holes", "too long", "beyond", "twice"],
)
async def test_a_worker_whose_memory_is_not_good_is_killed(
    message: bytes, make: Callable[[], int], why: str, streaming: bool
) -> None:
    before = open_files()
    with ExitStack() as stack:
        impostor = Impostor()
        stack.callback(impostor.close)
        call = await impostor.start()
        running = asyncio.create_task(call("any", streaming=streaming))
        await asyncio.sleep(0)
        fd = make()
        value = ExecuteToolResponse.FromString(message).result
        frame: Any = frames.Result(1, message, 100)
        if streaming:
            frame = frames.Chunk(1, ToolChunk(value=value).SerializeToString(), 100)
        send_with(impostor.sock, frames.encode(frame), fd)
        os.close(fd)
        with pytest.raises(BridgeError, match=why) as caught:
            await running
        assert caught.value.code is Code.DATA_LOSS
        async with asyncio.timeout(5):
            await call.worker.shut_down()
        assert signal.SIGKILL in impostor.signals
    assert mapped() == 0
    assert open_files() <= before


# Through a server


@pytest.fixture
async def client(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> Any:
    return await connect(big_values.Big, workers=1)


async def test_large_values_come_through_a_server(client: Any) -> None:
    async with asyncio.timeout(30):
        for name in ("bytes", "array", "table"):
            assert same(await client.call("echo", value=VALUES[name]), VALUES[name])
        chunks = [chunk async for chunk in client.stream("repeat", value=VALUES["array"], times=3)]
    assert all(same(chunk, VALUES["array"]) for chunk in chunks)
    assert mapped() == 0


async def test_a_result_that_no_message_can_hold_is_refused_by_the_server(client: Any) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(BridgeError, match="--max-message-bytes") as caught:
            await client.call("give", size=17 * MB)
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
        assert len(await client.call("give", size=MB)) == MB


async def test_a_client_cannot_send_a_handle(client: Any) -> None:
    handle = AnyMessage(type_url=BYTES_URL, value=bytes(8) + (100).to_bytes(8, "little"))
    async with asyncio.timeout(30):
        for value in (handle, [bytes(MB), handle]):
            with pytest.raises(BridgeError) as caught:
                await client.call("echo", value=value)
            assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "VALUE_REFUSED")
