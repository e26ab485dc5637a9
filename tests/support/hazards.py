"""Adapters for worker processes: tools that get stuck, die, and talk too much."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridge import Adapter, SessionContext, tool
from bridge.host import CallScope
from bridge_client import BridgeClient
from tests.support import probes

KEPT: list[bytes] = []
"""What ``grows`` does not let go of."""


def begun() -> None:
    """Tells the test which process is at work."""
    probes.journal.add(f"pid {os.getpid()}")
    probes.journal.add("started")


async def worker_of(journal: probes.Journal) -> int:
    """The process of the first tool that has begun."""
    await journal.wait("started")
    return next(int(name.removeprefix("pid ")) for name in journal.counts if name.startswith("pid "))


class Stuck(Adapter):
    """Tools that do not end, each in a harder way than the one before."""

    isolation = "process"

    @tool
    async def waits(self) -> None:
        begun()
        await asyncio.sleep(60)

    @tool
    def polls(self, ctx: SessionContext) -> None:
        begun()
        ctx.cancelled.wait_blocking(60)

    @tool
    def sleeps(self) -> None:
        begun()
        time.sleep(60)

    @tool
    def computes(self, ctx: SessionContext) -> None:
        begun()
        while not ctx.cancelled.is_set():
            sum(range(1000))

    @tool
    async def blocks_the_loop(self) -> None:
        begun()
        time.sleep(60)  # noqa: ASYNC251 - what it is for

    @tool
    def holds_the_gil(self) -> None:
        begun()
        ctypes.PyDLL(None).sleep(60)

    @tool
    async def stands_still_for_a_while(self) -> None:
        begun()
        time.sleep(0.5)  # noqa: ASYNC251 - what it is for
        await asyncio.sleep(60)

    @tool
    async def ignores_sigterm(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        begun()
        time.sleep(60)  # noqa: ASYNC251 - what it is for

    @tool
    def has_children(self) -> None:
        child = subprocess.Popen(["sleep", "60"])
        probes.journal.add(f"child {child.pid}")
        begun()
        child.wait()

    @tool
    async def ticks(self) -> AsyncIterator[int]:
        while True:
            yield os.getpid()

    @tool
    def pid(self) -> int:
        return os.getpid()


def die(how: str) -> None:
    print("last words", file=sys.stderr, flush=True)
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


def write_to_all_sockets(data: bytes) -> None:
    for link in Path("/proc/self/fd").iterdir():
        if link.is_socket():
            try:
                os.write(int(link.name), data)
            except OSError:
                pass  # not the pipe to the server


class Mortal(Adapter):
    """Tools whose process dies."""

    isolation = "process"

    @tool
    def dies(self, how: str) -> None:
        begun()
        die(how)

    @tool
    async def dies_midway(self, how: str, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number  # each is on its way when the next one is asked for
        die(how)

    @tool(idempotent=True)
    def dies_once(self, marker: str) -> str:
        begun()
        if not Path(marker).exists():
            Path(marker).touch()
            die("kill")
        return "alive"

    @tool
    async def talks_nonsense(self) -> None:
        begun()
        write_to_all_sockets(b"\xff" * 64)
        await asyncio.sleep(60)

    @tool
    def leaves(self) -> None:
        sys.exit(3)

    @tool
    def pid(self) -> int:
        return os.getpid()


class Chatty(Adapter):
    """Tools that say much, keep much, and call others."""

    isolation = "process"

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncIterator[int]:
        probes.journal.add("lifespan entered")
        yield os.getpid()
        probes.journal.add("lifespan left")

    @tool
    def prints(self, lines: int) -> str:
        for _ in range(lines):
            print("x" * 99)
        os.write(2, b"and from below\n" * lines)
        return "done"

    @tool
    def says(self, what: str) -> None:
        """Says the same in every way there is, with and without an end of the line."""
        print("print", what)
        print("error", what, file=sys.stderr)
        os.write(1, f"write {what}\n".encode())
        ctypes.CDLL(None).puts(f"puts {what}".encode())
        subprocess.run(["echo", "child", what], check=True)
        sys.stdout.write(f"begun {what}")

    @tool
    async def says_awaiting(self, what: str) -> None:
        print("print", what)
        os.write(2, f"write {what}".encode())

    @tool
    def open_to_children(self) -> str:
        """What a child sees of our descriptors if nothing is closed for it."""
        program = (
            "import os; print(*(entry.name + ':' + os.readlink(entry.path) for entry in os.scandir('/proc/self/fd')))"
        )
        command = [sys.executable, "-c", program]
        return subprocess.run(command, check=True, close_fds=False, stdout=subprocess.PIPE, text=True).stdout

    @tool
    def logs(self, ctx: SessionContext) -> None:
        ctx.log.warning("from the tool", extra={"step": 3})
        print("printed", flush=True)

    @tool
    def grows(self, mib: int) -> int:
        KEPT.append(b"x" * (mib * 1024 * 1024))
        return os.getpid()

    @tool
    def pid(self) -> int:
        return os.getpid()

    @tool
    def lives_in(self) -> Any:
        return self.resources

    @tool
    async def calls_back(self, address: str) -> list[int]:
        """Calls a tool of its own server, which then waits for a worker while this one has one."""
        async with BridgeClient(address) as client:
            return [os.getpid(), await client.call("pid")]

    @tool
    async def pretends(self, owner: str, name: str, ctx: SessionContext) -> Any:
        """Asks for a variable of somebody else's session, past everything that could keep a tool from it."""
        scope = CallScope(owner, principal="somebody", changed_by="host")
        return (await ctx._call.host.get_variables(scope, [name]))[name].value

    @tool
    def slow(self, ctx: SessionContext) -> None:
        begun()
        ctx.cancelled.wait_blocking(60)


class CannotBegin(Adapter):
    """Its workers do not start."""

    isolation = "process"

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncIterator[None]:
        raise RuntimeError("no model here")
        yield

    @tool
    def add(self, a: int) -> int:
        return a
