"""Parts of a proxy by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from bridge.call import Chunk, Emit
from bridge.worker.callers_loop import CallersLoop
from bridge.worker.frames import Settings
from bridge.worker.journal import KEPT_BYTES, Journal
from bridge.worker.memory import is_running, tree, tree_rss
from bridge.worker.plugin_workers import PluginWorkers
from bridge.worker.pool import PoolLimits
from bridge.worker.process import Worker
from bridge.worker.proxy_stream import AHEAD, AsyncValues
from bridge.worker.recipe import adapters_recipe
from bridge.worker.usage import UsageMeter

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "print(1, flush=True); input()"], stdin=subprocess.PIPE, stdout=-1)
child.stdout.readline()
print(child.pid, flush=True)
input()
"""


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """A process and its child."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            yield parent.pid, child
        finally:
            os.kill(child, signal.SIGKILL)
            parent.kill()


def test_a_tree_has_the_process_and_those_it_has_started(family: tuple[int, int]) -> None:
    parent, child = family
    assert list(tree(parent)) == [parent, child]
    assert tree_rss(parent) > tree_rss(child) > 1_000_000


def test_what_has_ended_is_nobody() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        assert is_running(process.pid) in (True, False)
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_running(process.pid), "a zombie"
        process.wait(5)
        assert not is_running(process.pid)
        assert tree_rss(process.pid) == 0


def test_usage_counts_the_time_since_the_look_before() -> None:
    meter = UsageMeter()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    first = meter.look(os.getpid())
    assert first.cpu_seconds >= 0.1
    assert first.cpu_percent > 0
    assert first.rss > 1_000_000
    assert meter.look(os.getpid()).cpu_seconds >= first.cpu_seconds


def test_usage_of_what_is_gone_is_nothing() -> None:
    usage = UsageMeter().look(2**22 + 1)
    assert (usage.cpu_seconds, usage.cpu_percent, usage.rss) == (0.0, 0.0, 0)


async def test_a_stream_is_no_further_ahead_than_it_should_be() -> None:
    given = []

    async def start(emit: Emit) -> None:
        for number in range(1000):
            given.append(number)
            await emit(Chunk(number))

    async def nothing() -> None:
        return

    values = AsyncValues(CallersLoop(nothing), start, None)
    taken = [await anext(values)]
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(given) <= 2 * AHEAD
    taken += [value async for value in values]
    assert taken == list(range(1000))


def test_a_journal_keeps_the_last_lines() -> None:
    journal = Journal()
    assert journal.lines(3) == []
    journal.write(b"one\ntw")
    journal.write(b"o\nthree")
    assert journal.lines(2) == ["two", "three"]
    assert journal.lines(0) == []


def test_a_journal_does_not_grow_for_ever() -> None:
    journal = Journal()
    for number in range(3 * KEPT_BYTES // 1000):
        journal.write(b"%08d" % number + b"x" * 991 + b"\n")
    lines = journal.lines(10**6)
    assert KEPT_BYTES - 2000 < sum(len(line) + 1 for line in lines) <= KEPT_BYTES
    assert lines[-1].startswith(f"{number:08d}")
    assert sum(map(len, journal._parts)) <= 2 * KEPT_BYTES + 1000


async def test_workers_can_be_looked_at_while_others_come_and_go() -> None:
    def as_another_thread_does() -> bool:
        workers._all.add(cast("Any", object()))
        return True

    class Looked(Worker):
        usable = property(lambda _: as_another_thread_does())  # type: ignore[assignment]
        since = 0.0

        def __init__(self) -> None:
            pass

    workers = PluginWorkers(adapters_recipe([]), PoolLimits(), Settings(), 0.0, no_preparation, Journal())
    workers._all |= {Looked(), Looked()}
    assert len(workers.all) == 2


async def no_preparation(worker: Worker) -> None:
    """Leaves it as it is."""
