"""An adapter for workers that tests launch."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from bridge import Adapter, SessionContext, tool

END_SIGN = "LAUNCHED_END_SIGN"
"""Variable with the name of a file that is made when the adapter ends in order."""
HANGS_AT_END = "LAUNCHED_HANGS_AT_END"
"""Variable that has the adapter never end."""
NAME = f"{__file__}:Launched"
SLEEPER = [sys.executable, "-S", "-c", "import signal; signal.pause()"]


def children() -> list[int]:
    """Starts one of the group, and one that has left it."""
    return [subprocess.Popen(SLEEPER).pid, subprocess.Popen(SLEEPER, start_new_session=True).pid]


def touch(sign: str) -> None:
    """Tells a test that a tool runs."""
    Path(sign).touch()


async def _for_ever() -> None:
    """Also when it is cancelled."""
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


class Launched(Adapter):
    """Its plain tools run in a worker process, its asynchronous ones in the process that was launched."""

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncIterator[None]:
        yield
        if os.environ.get(HANGS_AT_END):
            await _for_ever()
        if sign := os.environ.get(END_SIGN):
            touch(sign)

    @tool
    async def echo(self, value: Any) -> Any:
        return value

    @tool
    async def own_pid(self) -> int:
        return os.getpid()

    @tool
    def plain_pid(self) -> int:
        return os.getpid()

    @tool
    async def variables(self, names: list[str]) -> dict[str, str | None]:
        return {name: os.environ.get(name) for name in names}

    @tool
    async def read_stdin(self) -> str:
        return sys.stdin.read()

    @tool
    async def complain(self, text: str) -> None:
        logging.getLogger("test").error("%s", text)

    @tool
    def complain_plainly(self, text: str) -> None:
        logging.getLogger("test").error("%s", text)

    @tool
    async def ask(self, context: SessionContext, name: str, parameters: dict[str, Any]) -> Any:
        return await context.call(name, **parameters)

    @tool
    async def start_children(self) -> list[int]:
        return children()

    @tool
    def start_children_plainly(self) -> list[int]:
        return children()

    @tool
    async def wait(self, sign: str) -> None:
        touch(sign)
        await asyncio.Event().wait()

    @tool
    def wait_plainly(self, sign: str) -> None:
        touch(sign)
        signal.pause()

    @tool
    async def hold_gil(self, sign: str) -> None:
        """Nothing of Python runs in the process that was launched."""
        touch(sign)
        ctypes.PyDLL(None).sleep(60)

    @tool
    def hold_gil_plainly(self, sign: str) -> None:
        touch(sign)
        ctypes.PyDLL(None).sleep(60)
