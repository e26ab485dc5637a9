"""Copies off the event loop: whoever gives up leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest

from bridge.errors import BridgeError, Code
from bridge.runtime.shared import THRESHOLD, Lent, Memory, lent
from bridge.worker.lending import OFF_LOOP, pack, read, viewed
from tests.support.shared_memory import memory_files, memory_with

Made = asyncio.Task[tuple[bytes, int, int]]


def packing(size: int) -> Callable[[], bytes]:
    """Makes a message with a buffer of so many bytes outside of it."""

    def make() -> bytes:
        buffers = lent()
        return buffers.lend(bytes(size)) if buffers is not None else bytes(size)

    return make


async def test_a_message_without_large_values_has_no_memory() -> None:
    assert await pack(lambda: b"message", (1, b"x", [2]), 2**30, "it") == (b"message", -1, 0)
    assert await pack(packing(THRESHOLD), (None, bytes(THRESHOLD)), 0, "it") == (bytes(THRESHOLD), -1, 0)


async def test_more_than_the_limit_is_refused_before_it_is_copied() -> None:
    with pytest.raises(BridgeError, match="it has values of 1000 bytes in shared memory, and 999") as caught:
        await pack(packing(1000), ([],), 999, "it")
    assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    assert memory_files() == 0


@pytest.mark.parametrize("size", [100, OFF_LOOP])
async def test_errors_of_a_reader_come_through_and_its_memory_is_closed(size: int) -> None:
    fd, size, _ = memory_with(bytes(size))

    def fail() -> None:
        raise LookupError("it cannot be read")

    with pytest.raises(LookupError, match="it cannot be read"):
        await read(Memory(fd, size), fail)
    assert memory_files() == 0


async def test_who_gives_up_before_the_copy_is_made_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, finished = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    write = Lent.write

    def slow(self: Lent) -> int:
        go_on.wait(5)
        return write(self)

    monkeypatch.setattr(Lent, "write", slow)
    task = asyncio.create_task(pack(packing(OFF_LOOP), ([],), 2**30, "it"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    after(loop, monkeypatch, finished.set)
    go_on.set()
    await asyncio.wait_for(finished.wait(), 5)
    assert memory_files() == 0


async def test_who_gives_up_when_the_copy_is_just_made_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    task: Made = asyncio.create_task(pack(packing(OFF_LOOP), ([],), 2**30, "it"))
    after(asyncio.get_running_loop(), monkeypatch, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert memory_files() == 0


def after(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Does something right after a thread has told the loop that it is done."""
    told = loop.call_soon_threadsafe

    def tell(callback: Callable[..., Any], *args: Any) -> Any:
        def both() -> None:
            callback(*args)
            then()

        return told(both)

    monkeypatch.setattr(loop, "call_soon_threadsafe", tell)


def test_a_loop_that_ends_meanwhile_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    write = Lent.write

    def slow(self: Lent) -> int:
        began.set()
        go_on.wait(5)
        return write(self)

    monkeypatch.setattr(Lent, "write", slow)

    async def give_up() -> None:
        task = asyncio.create_task(pack(packing(OFF_LOOP), ([],), 2**30, "it"))
        await asyncio.to_thread(began.wait, 5)
        task.cancel()

    asyncio.run(give_up())
    (copying,) = (thread for thread in threading.enumerate() if thread.name == "bridge-copy")
    go_on.set()
    copying.join(5)
    assert memory_files() == 0


def test_fields_that_take_a_view_are_found() -> None:
    fields: dict[str, Any] = {
        "plain": memoryview,
        "optional": memoryview | None,
        "annotated": Annotated[memoryview, msgspec.Meta(description="x")],
        "data": bytes,
        "either": memoryview | None | str,
        "any": Any,
        "any or view": memoryview | Any,
        "inside": list[memoryview],
    }
    arguments = msgspec.defstruct("Arguments", [(name.replace(" ", "_"), hint) for name, hint in fields.items()])
    assert viewed(arguments) == {"plain", "optional", "annotated", "either"}
