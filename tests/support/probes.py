"""Adapters that record what happens to them, so that tests can wait for it instead of sleeping.

The same behaviour is there twice, ``Inline`` (async tools) and ``Threaded`` (plain ones), and each of them in worker
processes: a test that takes the ``probe`` fixture runs through all executors.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from bridge import Adapter, SessionContext, ToolError, tool

OWNER = "PROBE_JOURNAL"
"""Environment variable with the number of the test's process and the socket to which others write their events."""


_MARK = b"\0"


class Journal:
    """Events by name, counted, to be waited for from the test and set from tools in any thread or process."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._pid = int(os.environ.get(OWNER, "").partition(":")[0] or os.getpid())
        self._marks = 0
        self.counts: dict[str, int] = {}
        self.release = threading.Event()
        """Not known in other processes."""
        self.notes: dict[str, Any] = {}

    def listen(self) -> None:
        """Takes the events of processes that are started from here on."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind("")  # the kernel chooses a name that is in no folder
        os.environ[OWNER] = f"{os.getpid()}:{sock.getsockname().decode('latin-1')[1:]}"
        threading.Thread(target=self._read, args=(sock,), name="probe-journal", daemon=True).start()

    def _read(self, sock: socket.socket) -> None:
        with sock:
            while event := sock.recv(1024):
                if event == _MARK:
                    with self._lock:
                        self._marks += 1
                        self._lock.notify_all()
                else:
                    self.add(event.decode())

    def close(self) -> None:
        """Takes no more events of others."""
        if os.environ.get(OWNER):
            _tell(b"")
            del os.environ[OWNER]

    def add(self, name: str) -> None:
        if os.getpid() != self._pid:
            _tell(name.encode())
            return
        with self._lock:
            self.counts[name] = self.counts.get(name, 0) + 1
            self._lock.notify_all()

    def count(self, name: str) -> int:
        if self._pid == os.getpid() and os.environ.get(OWNER):
            # What others have told is in the queue before their result arrives: so wait until it is read up to here.
            with self._lock:
                seen = self._marks
            _tell(_MARK)
            with self._lock:
                self._lock.wait_for(lambda: self._marks > seen, 5.0)
        with self._lock:
            return self.counts.get(name, 0)

    async def wait(self, name: str, count: int = 1, timeout: float = 5.0) -> None:
        """Returns when the event has happened ``count`` times."""

        def blocking() -> bool:
            with self._lock:
                return self._lock.wait_for(lambda: self.counts.get(name, 0) >= count, timeout)

        if not await asyncio.to_thread(blocking):
            raise TimeoutError(f"{name!r} happened {self.count(name)} times in {timeout} s, not {count}")


def _tell(event: bytes) -> None:
    _, _, name = os.environ.get(OWNER, "").partition(":")
    if not name:
        return  # no test listens
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(event, b"\0" + name.encode("latin-1"))


journal = Journal()


def new_journal() -> Journal:
    """Forgets what happened; called before each test."""
    global journal
    journal.release.set()
    journal = Journal()
    return journal


class Interrupt(BaseException):
    """Something that ``except Exception`` does not catch."""


class Hooks(Adapter):
    def initialize(self) -> None:
        journal.add("initialize")

    def cleanup(self) -> None:
        journal.add("cleanup")


def stream_forever() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def pour_forever() -> Iterator[bytes]:
    while True:
        yield bytes(64 * 1024)
        journal.add("poured")


class Inline(Hooks):
    """Async tools."""

    async def cleanup(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        journal.add("cleanup")

    @tool
    async def echo(self, value: Any = None) -> Any:
        return value

    @tool
    async def add(self, a: int, b: int = 1) -> int:
        """Adds.  a: one number.  b: another."""
        return a + b

    @tool
    async def hang(self, ctx: SessionContext) -> None:
        """Runs until it is cancelled."""
        journal.add("started")
        try:
            await ctx.cancelled.wait()
        finally:
            journal.add("ended")

    @tool
    async def stubborn(self, ctx: SessionContext) -> None:
        """Ignores its cancellation until the test lets it go."""
        journal.add("started")
        release = journal.release
        while not release.is_set():
            try:
                await asyncio.to_thread(release.wait, 0.01)
            except asyncio.CancelledError:
                journal.add("ignored")
        journal.add("ended")

    @tool
    async def fail(self, kind: str) -> None:
        explode(kind)

    @tool
    async def count(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @tool(collect=True)
    async def collect(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @tool
    async def endless(self) -> AsyncIterator[int]:
        try:
            for number in stream_forever():
                yield number
                await asyncio.sleep(0)
        finally:
            journal.add("closed")

    @tool
    async def sizes(self, pattern: list[int], ctx: SessionContext) -> AsyncIterator[bytes]:
        for number, size in enumerate(pattern):
            ctx.progress(number / len(pattern))
            if number % 7 == 0:
                await asyncio.sleep(0)
            yield bytes(size)

    @tool
    async def pour(self) -> AsyncIterator[bytes]:
        try:
            for drops in pour_forever():
                yield drops
        finally:
            journal.add("closed")

    @tool
    async def fail_midway(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number
        raise ValueError("midway")

    @tool
    async def silent(self, ctx: SessionContext) -> AsyncIterator[int]:
        """Streams nothing, for ever."""
        journal.add("started")
        await ctx.cancelled.wait()
        yield 0

    @tool
    async def yields_after_cancel(self) -> AsyncIterator[int]:
        try:
            for number in stream_forever():
                yield number
                await asyncio.sleep(0)
        except (asyncio.CancelledError, GeneratorExit):
            journal.add("cancel seen")
            raise
        finally:
            journal.add("closed")

    @tool
    async def progress(self, ctx: SessionContext) -> AsyncIterator[str]:
        ctx.progress(0.5, "half")
        await asyncio.sleep(0)
        yield "value"
        ctx.progress(1.0, "whole")

    @tool
    async def whoami(self, ctx: SessionContext) -> dict[str, Any]:
        return context_facts(ctx)

    @tool
    async def read(self, name: str, ctx: SessionContext) -> Any:
        return await ctx.get(name)

    @tool
    async def write(self, name: str, value: Any, ctx: SessionContext) -> int:
        return await ctx.set(name, value)

    @tool
    async def remaining(self, ctx: SessionContext) -> float | None:
        return ctx.time_remaining()

    @tool(timeout=0.2)
    async def impatient(self, ctx: SessionContext) -> None:
        await ctx.cancelled.wait()

    @tool
    async def ask_host(self, tool: str, ctx: SessionContext, value: Any = None) -> Any:
        return await ctx.call(tool, value=value)


class Threaded(Hooks):
    """The same as plain functions."""

    @tool
    def echo(self, value: Any = None) -> Any:
        return value

    @tool
    def add(self, a: int, b: int = 1) -> int:
        """Adds.  a: one number.  b: another."""
        return a + b

    @tool
    def hang(self, ctx: SessionContext) -> None:
        """Runs until it is cancelled."""
        journal.add("started")
        ctx.cancelled.wait_blocking(30)
        journal.add("ended")

    @tool
    def stubborn(self) -> None:
        """Ignores its cancellation until the test lets it go."""
        journal.add("started")
        journal.release.wait(30)
        journal.add("ended")

    @tool
    def fail(self, kind: str) -> None:
        explode(kind)

    @tool
    def count(self, n: int) -> Iterator[int]:
        yield from range(n)

    @tool(collect=True)
    def collect(self, n: int) -> Iterator[int]:
        yield from range(n)

    @tool
    def endless(self) -> Iterator[int]:
        try:
            yield from stream_forever()
        finally:
            journal.add("closed")

    @tool
    def sizes(self, pattern: list[int], ctx: SessionContext) -> Iterator[bytes]:
        for number, size in enumerate(pattern):
            ctx.progress(number / len(pattern))
            yield bytes(size)

    @tool
    def pour(self) -> Iterator[bytes]:
        try:
            yield from pour_forever()
        finally:
            journal.add("closed")

    @tool
    def fail_midway(self, n: int) -> Iterator[int]:
        yield from range(n)
        raise ValueError("midway")

    @tool
    def silent(self, ctx: SessionContext) -> Iterator[int]:
        """Streams nothing, for ever."""
        journal.add("started")
        ctx.cancelled.wait_blocking(30)
        yield 0

    @tool
    def yields_after_cancel(self) -> Iterator[int]:
        try:
            yield from stream_forever()
        except GeneratorExit:
            journal.add("cancel seen")
            raise
        finally:
            journal.add("closed")

    @tool
    def progress(self, ctx: SessionContext) -> Iterator[str]:
        ctx.progress(0.5, "half")
        yield "value"
        ctx.progress(1.0, "whole")

    @tool
    def whoami(self, ctx: SessionContext) -> dict[str, Any]:
        return context_facts(ctx)

    @tool
    def read(self, name: str, ctx: SessionContext) -> Any:
        return ctx.sync.get(name)

    @tool
    def write(self, name: str, value: Any, ctx: SessionContext) -> int:
        return ctx.sync.set(name, value)

    @tool
    def remaining(self, ctx: SessionContext) -> float | None:
        return ctx.time_remaining()

    @tool(timeout=0.2)
    def impatient(self, ctx: SessionContext) -> None:
        ctx.cancelled.wait_blocking(30)

    @tool
    def ask_host(self, tool: str, ctx: SessionContext, value: Any = None) -> Any:
        return ctx.sync.call(tool, value=value)


class Processed(Threaded):
    """Plain tools in worker processes."""

    isolation = "process"
    """Of the server's configuration; see the fixture ``start``."""


class ProcessedAsync(Inline):
    """Async tools in worker processes."""

    isolation = "process"


class Called(Threaded):
    """Plain tools, each call in a process of its own."""

    isolation = "call"


def context_facts(ctx: SessionContext) -> dict[str, Any]:
    return {
        "tool": ctx.tool,
        "session": ctx.session_id,
        "metadata": dict(ctx.metadata),
        "principal": ctx.principal,
        "has_deadline": ctx.deadline is not None,
        "thread": threading.current_thread().name.startswith("bridge-tool-"),
    }


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def explode(kind: str) -> None:
    """Raises, by name."""
    if kind == "exit":
        sys.exit(3)
    if kind == "print":
        print("to stdout")
        sys.stdout.flush()
        return
    raise {
        "value": ValueError("a plain mistake"),
        "tool": ToolError("NOT_FOUND", "no such planet", reason="NO_PLANET", metadata={"planet": "Vulcan"}),
        "base": Interrupt("not an Exception"),
        "keyboard": KeyboardInterrupt(),
        "stop": StopIteration("stop"),
        "cancelled": asyncio.CancelledError(),
        "unprintable": Unprintable(),
        "surrogate": ValueError("\ud800 and \x00 and \x1b[31m"),
        "long": ValueError("x" * 1_000_000),
        "generator": GeneratorExit(),
        "memory": MemoryError("none left"),
        "recursion": RecursionError("too deep"),
    }[kind]


FAILURES = (
    "value", "base", "keyboard", "stop", "cancelled", "unprintable", "surrogate", "long", "generator", "memory",
    "recursion", "exit",
)  # fmt: skip


class HostTools(Adapter):
    """What a host offers in these tests."""

    @tool
    async def double(self, value: int) -> int:
        return 2 * value

    @tool
    async def hang_up(self, value: Any, ctx: SessionContext) -> None:
        journal.add("host started")
        try:
            await ctx.cancelled.wait()
        finally:
            journal.add("host ended")

    @tool
    async def refuse(self, value: Any) -> None:
        raise ToolError("PERMISSION_DENIED", "the host says no", reason="HOST_SAYS_NO")
