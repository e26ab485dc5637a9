"""Tools that show what a worker process is. Imported in processes that are started by tests: it must be quick."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from bridge import Adapter, SessionContext, tool

__all__ = ["Processes", "Restless"]


class Processes(Adapter):
    def initialize(self) -> None:
        self.thread = threading.current_thread().name

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncGenerator[None, None]:
        yield
        print("closed")

    @tool
    def pid(self) -> int:
        return os.getpid()

    @tool
    async def pid_async(self) -> int:
        return os.getpid()

    @tool
    def runs_in(self) -> list[str]:
        """The threads of ``initialize`` and of the tool."""
        return [self.thread, threading.current_thread().name]

    @tool
    def streams_from(self) -> Iterator[str]:
        yield threading.current_thread().name

    @tool
    def asks_a_loop_of_its_own(self) -> Any:
        return asyncio.run(asyncio.sleep(0, "answer"))

    @tool
    def speak(self) -> None:
        print("to stdout")
        print("to stderr", file=sys.stderr)

    @tool
    def spawn(self) -> int:
        """Starts a process that does not end, and holds what this one prints to."""
        return subprocess.Popen(["sleep", "600"]).pid

    @tool
    def leave_thread(self) -> None:
        threading.Thread(target=time.sleep, args=(600,), daemon=False).start()

    @tool
    def stuck(self, ctx: SessionContext) -> None:
        ctx.progress(0.0, "stuck")
        time.sleep(600)

    @tool
    async def crash(self) -> Any:
        """Ends the event loop, which no tool does by accident."""
        asyncio.get_running_loop().call_soon(sys.exit, "the loop is gone")
        await asyncio.sleep(600)


class Restless(Processes):
    """Does something all the time."""

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncGenerator[None, None]:
        task = asyncio.create_task(asyncio.sleep(600))
        yield
        task.cancel()
