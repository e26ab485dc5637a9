"""Tools that stand still where a test wants to kill something, and say so by signs: files in a folder.

Served as adapters and as plugins, so there is nothing but the standard library here.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridge import Adapter, SessionContext, tool

SIGNS = Path(os.environ["KILL_SIGNS"])


def sign(name: str, pid: int = 0) -> None:
    """Says that something has come so far, and by which process: this one, if no other is named."""
    unfinished = SIGNS / f".{name}.{os.getpid()}"
    unfinished.write_text(str(pid or os.getpid()))
    unfinished.replace(SIGNS / name)


def stand(ctx: SessionContext, key: str, cancelled: str) -> None:
    """Waits until the test lets this call go on, or nobody wants it any more."""
    while not (SIGNS / f"{key} may go on").exists():
        if ctx.cancelled.is_set():
            sign(f"{key} {cancelled}")
            raise RuntimeError("cancelled")
        time.sleep(0.002)


class Standing(Adapter):
    """Tools that write to the session first, so that there is something that must not be lost."""

    ends_with = ""
    """What to sign when the tool has ended and its result is on its way."""

    def cleanup(self) -> None:
        if self.ends_with:
            sign(self.ends_with)

    def begin(self, key: str, ctx: SessionContext) -> None:
        """What every call does; when its sign is there the write is acknowledged."""
        ctx.sync.set(key, "written")
        sign(f"{key} runs")

    @tool(idempotent=True)
    def pid(self) -> int:
        return os.getpid()

    @tool
    def works(self, key: str, ctx: SessionContext) -> str:
        """Has a child while it stands, and needs the host in the end."""
        with subprocess.Popen(["sleep", "60"]) as child:
            try:
                sign(f"{key} child", child.pid)
                self.begin(key, ctx)
                stand(ctx, key, "cancelled")
            finally:
                child.kill()
        ctx.sync.set(f"{key}_end", "written")
        return "worked"

    @tool
    def counts(self, key: str, ctx: SessionContext) -> Iterator[int]:
        """Stands between two values, and needs the host in the end."""
        self.begin(key, ctx)
        yield from range(3)
        sign(f"{key} counted")
        stand(ctx, key, "cancelled")
        ctx.sync.set(f"{key}_end", "written")
        yield from range(3, 6)

    @tool
    def asks(self, key: str, ctx: SessionContext) -> Any:
        """Stands in a tool of the host."""
        self.begin(key, ctx)
        return ctx.sync.call("stands_on_host", key=key)

    @tool
    def pours(self, key: str, ctx: SessionContext, values: int, size: int) -> Iterator[bytes]:
        """Yields more than fits between it and a client that takes nothing."""
        self.begin(key, ctx)
        stand(ctx, key, "cancelled")
        try:
            for number in range(values):
                yield bytes(size)
                if number == 2:
                    sign(f"{key} pours")
        finally:
            sign(f"{key} closed")

    @tool
    def gives(self, key: str, ctx: SessionContext, size: int) -> str:
        """Returns one value that is larger than every buffer on its way."""
        self.begin(key, ctx)
        stand(ctx, key, "cancelled")
        self.ends_with = f"{key} given"
        return "x" * size


class Alone(Adapter):
    """A tool whose process is made for the call, and can be held up meanwhile."""

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncIterator[None]:
        sign(f"starts {os.getpid()}")
        with (SIGNS / "gate").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
        yield

    @tool(isolation="call")
    def works_alone(self, key: str, ctx: SessionContext) -> str:
        sign(f"alone {os.getpid()}")
        ctx.sync.set(key, "written")
        return "worked"


class OnHost(Adapter):
    """What the host has."""

    @tool
    def stands_on_host(self, key: str, ctx: SessionContext) -> str:
        sign(f"{key} on host")
        stand(ctx, key, "cancelled on host")
        return "stood"
