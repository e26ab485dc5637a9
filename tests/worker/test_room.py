"""What becomes of workers when the system has no room for something, and of a worker that claims too much."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest

from bridge.host import CallScope
from bridge.hosts.memory import InMemoryHost
from bridge.runtime.host_messages import EXECUTE_STREAMING_TOOL
from bridge.runtime.host_tools import pack_request
from bridge.worker.frames import CREDIT, Ask
from bridge.worker.questions import Questions
from bridge.worker.zygote_process import when_ended
from tests.runtime.conftest import HostTools
from tests.support.waiting import until

if sys.platform != "linux":
    pytest.skip("worker processes need Linux", allow_module_level=True)


async def test_an_end_is_told_also_when_no_descriptor_was_left_to_wait_for_it() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])  # noqa: ASYNC220 - so that its end is ours to hear
    ended = asyncio.Event()
    taken: list[int] = []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(2))
        when_ended(process.pid, ended.set)
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    async with asyncio.timeout(5):
        await ended.wait()
    assert process.wait() == 0


_CROWDED = """
import asyncio, os, resource, socket
from bridge.runtime.zygote_messages import Fork, Kill, read
from bridge.worker.pipes import open_pipes
from bridge.worker.zygote_process import ZygoteProcess

class Alone(ZygoteProcess):
    def __init__(self, control):
        from collections import deque
        self._loop, self._control, self._outbox = asyncio.get_running_loop(), control, deque()

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    if os.geteuid() == 0:
        os.setuid(65534)
    ours, theirs, *ends = open_pipes(socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.setblocking(False)
    try:
        for _ in range(9):
            socket.send_fds(one, [b"x"], [0] * 50)
        print("there is room")
    except OSError:
        pass
    zygote = Alone(ours)
    zygote.send(Fork(1), *ends)
    zygote.send(Kill(5, 9))
    other.close()
    theirs.setblocking(False)
    while True:
        await asyncio.sleep(0.01)
        try:
            packet, fds, _, _ = socket.recv_fds(theirs, 1000, 2)
        except BlockingIOError:
            continue
        print(read(packet), len(fds))
        if not fds:
            break

asyncio.run(asyncio.wait_for(main(), 5))
"""


def test_what_is_told_a_zygote_waits_until_the_system_takes_more_descriptors() -> None:
    run = subprocess.run([sys.executable, "-c", _CROWDED], capture_output=True, text=True, timeout=20, check=False)
    if "there is room" in run.stdout:
        pytest.skip("this system does not count descriptors that are on their way")
    assert run.stdout == "Fork(id=1) 2\nKill(pid=5, signal=9) 0\n", run.stderr


class Sent(list[Any]):
    """What was sent; there is always room."""

    send = list.append

    async def drain(self) -> None:
        return


async def test_credit_that_no_worker_can_have_does_not_count() -> None:
    sent: Any = Sent()
    questions = Questions(sent)
    request = pack_request("count", {"n": 10 * CREDIT})
    host = InMemoryHost(tools=HostTools())
    questions.ask(Ask(1, 1, EXECUTE_STREAMING_TOOL, request, {}, None, True), host, CallScope())
    questions.credit(1, 2**20)
    async with asyncio.timeout(5):
        await until(lambda: len(sent) >= 2 * CREDIT)
        for _ in range(100):
            await asyncio.sleep(0)
    assert len(sent) == 2 * CREDIT
    questions.cancel_all()
