"""Memory that travels as a descriptor: nothing can change it, nothing bad is taken, nothing is left of it."""

from __future__ import annotations

import errno
import fcntl
import gc
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.runtime import shared
from bridge.runtime.shared import ALIGNMENT, Lent, Memory, borrowed, borrowing, lending, lent
from tests.support.interpreters import interpreter
from tests.support.shared_memory import GOOD_SEALS, mapped, memory_files, memory_with, nothing_mapped, sealed
from tests.worker.pids import open_files, watched

__all__ = ["interpreter", "nothing_mapped"]

PAGE = mmap.PAGESIZE


def test_buffers_come_as_they_were_lent_views_and_copies() -> None:
    random.seed(1)
    buffers = [random.randbytes(size) for size in (1, 63, 64, 65, 3 * PAGE + 1, 1_000_000)]
    fd, size, handles = memory_with(*buffers)
    with Memory(fd, size) as memory:
        assert [bytes(memory.view(handle)) for handle in handles] == buffers
    fd, size, handles = memory_with(*buffers)
    with Memory(fd, size) as memory:
        assert [memory.read(handle) for handle in handles] == buffers


def test_a_buffer_in_parts_comes_as_one_and_every_buffer_is_aligned() -> None:
    sent = Lent(2**20)
    handles = [sent.lend(b"ab", bytearray(b"c"), b"", memoryview(b"defg")), sent.lend(b"x"), sent.lend(b"yz")]
    assert [int.from_bytes(handle[:8], "little") % ALIGNMENT for handle in handles] == [0, 0, 0]
    with Memory(sent.write(), sent.size) as memory:
        assert [memory.read(handle) for handle in handles] == [b"abcdefg", b"x", b"yz"]


def test_more_bytes_than_one_write_takes_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_MAX_WRITE", 1000)
    content = random.randbytes(10_500)
    fd, size, (handle,) = memory_with(content)
    with Memory(fd, size) as memory:
        assert memory.read(handle) == content


def test_nobody_can_change_what_was_sent() -> None:
    fd, size, _ = memory_with(b"x" * PAGE)
    for change in (
        lambda: os.pwrite(fd, b"y", 0),
        lambda: os.ftruncate(fd, 0),
        lambda: os.ftruncate(fd, 2 * size),
        lambda: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0),
        lambda: mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
    ):
        with pytest.raises(OSError) as refused:
            change()
        assert refused.value.errno in (errno.EPERM, errno.EACCES)
    os.close(fd)


def test_a_view_cannot_be_written_to() -> None:
    fd, size, (handle,) = memory_with(b"x" * PAGE)
    with Memory(fd, size) as memory:
        view = memory.view(handle)
    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 1


def test_the_last_view_frees_the_memory_and_none_keeps_a_descriptor() -> None:
    files = open_files()
    fd, size, handles = memory_with(b"a" * PAGE, b"b" * PAGE)
    with Memory(fd, size) as memory:
        views = [memory.view(handle) for handle in handles]
    assert (open_files(), mapped()) == (files, 1)
    part = views.pop()[10:20]
    views.clear()
    assert (part.tobytes(), mapped()) == (b"b" * 10, 1)
    del part
    assert mapped() == 0


def test_views_are_good_as_long_as_anything_may_look_at_them() -> None:
    """Also in the last moments of what the garbage collector has found."""

    class Owner:
        def __init__(self, view: memoryview) -> None:
            self.view, self.me = view, self

        def __del__(self) -> None:
            seen.append(self.view[-1])

    seen: list[int] = []
    fd, size, (handle,) = memory_with(b"z" * PAGE)
    with Memory(fd, size) as memory:
        Owner(memory.view(handle))
    del memory
    gc.collect()
    assert (seen, mapped()) == ([ord("z")], 0)


def test_memory_that_nobody_closes_is_closed() -> None:
    before = open_files()
    fd, size, _ = memory_with(b"x")
    memory = Memory(fd, size)
    assert open_files() == before + 1
    del memory
    assert open_files() == before


@pytest.mark.parametrize("take", [Memory.view, Memory.read])
def test_closed_memory_gives_nothing(take: Callable[[Memory, bytes], object]) -> None:
    fd, size, (handle,) = memory_with(b"x")
    with Memory(fd, size) as memory:
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        take(memory, handle)


# What is not taken


@pytest.mark.parametrize("missing", [fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE])
def test_memory_without_a_seal_is_refused(missing: int) -> None:
    refused(lambda: sealed(b"x" * PAGE, GOOD_SEALS & ~missing), PAGE, "not sealed")


@pytest.mark.parametrize("announced", [0, 1, PAGE - 1, PAGE + 1, 2 * PAGE, -1, 2**62])
def test_memory_of_another_size_is_refused(announced: int) -> None:
    refused(lambda: sealed(b"x" * PAGE), announced, "were announced")


def test_memory_with_holes_is_refused() -> None:
    """They are filled when they are read; where there is no memory for that, the reader is killed."""
    refused(lambda: sealed(b"x", size=4 * PAGE), 4 * PAGE, "has holes")


@pytest.mark.parametrize(
    "other",
    [
        lambda: os.open("/dev/zero", os.O_RDONLY),
        lambda: os.dup(0),
        lambda: os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR),
        lambda: os.open(__file__, os.O_RDONLY),
    ],
    ids=["device", "stdin", "temporary file", "file"],
)
def test_what_is_no_memory_is_refused(other: Callable[[], int]) -> None:
    refused(other, 0, "cannot be looked at|not sealed")


def refused(make: Callable[[], int], size: int, why: str) -> None:
    before = open_files()
    with pytest.raises(ValueError, match=why):
        Memory(make(), size)
    assert open_files() == before


HANDLES = {
    "nothing": b"",
    "cut": b"\0" * 15,
    "beyond the end": (0).to_bytes(8, "little") + (2 * PAGE + 1).to_bytes(8, "little"),
    "begins beyond": (4 * PAGE).to_bytes(8, "little") + (1).to_bytes(8, "little"),
    "not aligned": (8).to_bytes(8, "little") + (8).to_bytes(8, "little"),
    "wraps": (2**64 - 64).to_bytes(8, "little") + (65).to_bytes(8, "little"),
    "endless": b"\xff" * 16,
}


@pytest.mark.parametrize("handle", HANDLES.values(), ids=HANDLES.keys())
@pytest.mark.parametrize("take", [Memory.view, Memory.read])
def test_a_bad_handle_is_refused_and_noted(take: Callable[[Memory, bytes], object], handle: bytes) -> None:
    fd, size, _ = memory_with(b"x" * 2 * PAGE)
    with Memory(fd, size) as memory:
        with pytest.raises(ValueError, match="handle"):
            take(memory, handle)
        assert memory.is_misused


def test_a_short_message_cannot_ask_for_the_same_bytes_again_and_again() -> None:
    fd, size, (handle,) = memory_with(b"x" * PAGE)
    with Memory(fd, size) as memory:
        memory.read(handle)
        with pytest.raises(ValueError, match="another one"):
            memory.read(handle)


# Who lends and borrows


def test_buffers_are_lent_only_where_and_as_long_as_somebody_says_so() -> None:
    assert lent() is None
    with lending(1) as outer:
        assert lent() is outer
        with lending(1) as inner:
            assert lent() is inner
        with lending(0):
            assert lent() is None
        assert lent() is outer
        others: list[object] = []
        thread = threading.Thread(target=lambda: others.append(lent()))
        thread.start()
        thread.join()
        assert others == [None]
    assert lent() is None


def test_memory_is_borrowed_only_as_long_as_somebody_says_so() -> None:
    fd, size, _ = memory_with(b"x")
    with Memory(fd, size) as memory, borrowing(memory):
        assert borrowed() is memory
        with borrowing(None):
            assert borrowed() is None
    assert borrowed() is None


def test_nothing_is_lent_where_the_platform_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    shared.available.cache_clear()
    try:
        with lending(1):
            assert lent() is None
    finally:
        shared.available.cache_clear()


# The ends


HOLDS = """
import sys, os
sys.path.insert(0, sys.argv[1])
from bridge.runtime.shared import Lent, Memory
sent = Lent(2**30)
handle = sent.lend(b"x" * 1_000_000)
memory = Memory(sent.write(), sent.size)
view = memory.view(handle)
print(bytes(view[:3]).decode(), flush=True)
sys.stdin.read()
"""
ROOT = str(Path(__file__).parents[2])


def names() -> set[str]:
    """Of shared memory that has a name."""
    return {file.name for file in Path("/dev/shm").iterdir()}


def test_nothing_is_left_of_the_memory_of_a_killed_process() -> None:
    named = names()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, ROOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "xxx\n"
        assert (mapped(process.pid), memory_files(process.pid)) == (1, 1)
        assert names() <= named
        with watched([process.pid]) as holder:
            process.send_signal(signal.SIGKILL)
            assert holder.left() == []
    assert names() <= named


ALONE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("shared", sys.argv[1])
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)
assert shared.available()
with shared.lending(2**30) as lent:
    handles = [shared.lent().lend(b"a" * 300_000), shared.lent().lend(b"b", b"c")]
memory = shared.Memory(lent.write(), lent.size)
view = memory.view(handles[0])
assert memory.read(handles[1]) == b"bc"
memory.close()
assert bytes(view) == b"a" * 300_000
maps = lambda: open("/proc/self/maps").read().count("memfd:bridge")
assert maps() == 1
del view
assert maps() == 0
"""


def test_it_works_in_every_python_that_plugins_may_use(interpreter: str) -> None:
    file = shared.__file__
    done = subprocess.run([interpreter, "-I", "-c", ALONE, file], capture_output=True, timeout=20, text=True)
    assert (done.returncode, done.stderr) == (0, "")
