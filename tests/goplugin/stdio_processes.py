"""Starting ``stdio_child.py``, with a parent of its own if wanted, and talking to it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from bridge import engines
from bridge.engines.base import Channel
from bridge.errors import BridgeError
from bridge.goplugin.messages import StdioData
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).with_name("stdio_child.py")
HOST = Path(__file__).with_name("stdio_host.py")
PIPE = asyncio.subprocess.PIPE
BEHIND_SHELL = '"$@" & echo "pid $!" >&2; wait $!'
"""A shell that is the parent of what it starts."""


class Stream:
    """What a host gets of a plugin's output; read from the beginning."""

    def __init__(self, channel: Channel) -> None:
        self._messages = channel.stream("/plugin.GRPCStdio/StreamStdio", b"")
        self.got: dict[int, bytearray] = defaultdict(bytearray)
        self.in_order = False
        """Whether the stream has ended as it should."""
        self.changed = asyncio.Event()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self._messages:
                data = StdioData.FromString(message)
                assert data.data
                self.got[data.channel] += data.data
                self.changed.set()
            self.in_order = True
        except BridgeError:
            pass  # the process is gone

    async def until(self, channel: int, end: int | bytes) -> bytes:
        """What came on a channel, when so many bytes are there, or these are among them."""
        got = self.got[channel]
        while not (end in got if isinstance(end, bytes) else len(got) >= end):
            assert not self.task.done(), f"only {len(got)} bytes came"
            self.changed.clear()
            waits = asyncio.ensure_future(self.changed.wait())
            await asyncio.wait([waits, self.task], return_when=asyncio.FIRST_COMPLETED)
            waits.cancel()
        return bytes(got)

    @classmethod
    async def begin(cls, channel: Channel) -> Stream:
        """One that is certainly read from; what came with it is there, unless it came before and from C."""
        stream = cls(channel)
        await do(channel, "print", "listening")
        await stream.until(1, b"listening\n")
        return stream

    async def close(self) -> None:
        """Hangs up."""
        self.task.cancel()
        await asyncio.wait([self.task])
        await self._messages.aclose()
        del self._messages, self.task
        gc.collect()  # gRPC's client keeps a connection as long as there is a call of it


class Child:
    """The process."""

    def __init__(self, process: asyncio.subprocess.Process, path: Path) -> None:
        self.process, self.path = process, path
        self.pid = process.pid
        self.out, self.err = bytearray(), bytearray()
        assert process.stdout is not None
        assert process.stderr is not None
        self._reading = [
            asyncio.create_task(self._read(process.stdout, self.out)),
            asyncio.create_task(self._read(process.stderr, self.err)),
        ]
        self._changed = asyncio.Event()

    async def _read(self, reader: asyncio.StreamReader, into: bytearray) -> None:
        while data := await reader.read(65536):
            into += data
            self._changed.set()

    async def says(self, text: bytes) -> None:
        """Waits until this is on its real stdout or stderr."""
        while text not in self.out and text not in self.err:
            if all(task.done() for task in self._reading):
                raise EOFError(f"it has ended and said {bytes(self.out)!r}, {bytes(self.err)!r}")
            self._changed.clear()
            waits = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait([waits, *(t for t in self._reading if not t.done())], return_when="FIRST_COMPLETED")
            waits.cancel()

    async def ends(self) -> int:
        """Its exit code."""
        code = await self.process.wait()
        await asyncio.gather(*self._reading)
        return code

    async def kill(self) -> None:
        """Kills it, or its parent, and returns when that is gone. (``wait`` waits for the pipes, too.)"""
        self.process.kill()
        await until(lambda: self.process.returncode is not None)

    def close_stderr(self) -> None:
        """Has nobody read it any more."""
        transport = self.process._transport  # type: ignore[attr-defined]
        transport.get_pipe_transport(2).close()

    @property
    def why(self) -> str:
        return Path(f"{self.path}.why").read_text()

    def log(self) -> list[dict[str, Any]]:
        """Its log, as its host reads it."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith(b"{")]

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        for task in self._reading:
            task.cancel()
        await asyncio.wait(self._reading)
        transport: asyncio.BaseTransport = self.process._transport  # type: ignore[attr-defined]
        transport.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}


@asynccontextmanager
async def begun(path: Path, wrap: tuple[str, ...] = (), program: Path = CHILD, **options: Any) -> AsyncIterator[Child]:
    """A process of which nothing is known; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        *wrap, sys.executable, str(program), str(path), json.dumps(options),
        stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment(),
    )  # fmt: skip
    child = Child(process, path)
    try:
        yield child
    finally:
        await child.stop()


@asynccontextmanager
async def started(path: Path, wrap: tuple[str, ...] = (), **options: Any) -> AsyncIterator[Child]:
    """A process that is ready."""
    async with begun(path, wrap, **options) as child:
        await child.says(b"ready\n")
        yield child


@asynccontextmanager
async def behind_shell(path: Path, **options: Any) -> AsyncIterator[tuple[Child, int]]:
    """A process whose parent is a shell, and a descriptor that tells of its end (pidfd_open(2))."""
    async with started(path, ("sh", "-c", BEHIND_SHELL, "sh"), **options) as shell, _told(shell) as pidfd:
        yield shell, pidfd


@asynccontextmanager
async def behind_host(path: Path, **options: Any) -> AsyncIterator[tuple[Child, int]]:
    """A process whose parent is connected to it, and a descriptor that tells of its end."""
    async with begun(path, (), HOST, **options) as host, _told(host) as pidfd:
        yield host, pidfd


@asynccontextmanager
async def _told(parent: Child) -> AsyncIterator[int]:
    """A descriptor for the process whose number a parent tells; killed at the end."""
    while b"pid " not in parent.err or not parent.err.endswith(b"\n"):
        await parent.says(b"pid ")
        await asyncio.sleep(0)
    parent.pid = int(parent.err.split()[1])
    pidfd = os.pidfd_open(parent.pid)
    try:
        yield pidfd
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


async def gone(pidfd: int) -> None:
    """Waits until a process has ended."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)


@asynccontextmanager
async def connected(child: Child) -> AsyncIterator[Channel]:
    """A connection to a process."""
    channel = engines.connect(f"unix:{child.path}")
    try:
        await channel.ready()
        yield channel
    finally:
        await channel.aclose()


async def do(channel: Channel, *action: Any) -> Any:
    """Has it do something, and returns what came of it."""
    return json.loads(await channel.unary("/test.Child/Do", json.dumps(action).encode()))
