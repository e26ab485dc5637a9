"""Starting ``child.py`` and talking to it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.jsonrpc.ends import FRAMINGS, Wire

ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).with_name("child.py")
PROGRAM = [sys.executable, str(CHILD)]


def environment(**more: str) -> Mapping[str, str]:
    """In which the child finds what it imports."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


class Child:
    """A server as a child process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []
        """Lines of its stderr that were read."""

    async def says(self, line: str) -> None:
        """Waits until it has said so."""
        assert self.process.stderr is not None
        while line not in self.said:
            data = await self.process.stderr.readline()
            if not data:
                raise EOFError(f"it has ended and said {self.said}")
            self.said.append(data.decode().removesuffix("\n"))

    async def ends(self) -> int:
        """Its exit code."""
        assert self.process.stderr is not None
        self.said += (await self.process.stderr.read()).decode().splitlines()
        return await self.process.wait()


@asynccontextmanager
async def started(*arguments: str, **env: str) -> AsyncIterator[Child]:
    """A child that is ready; killed at the end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(**env)
    )
    child = Child(process)
    try:
        await child.says("bridge: ready")
        yield child
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def over_stdio(framing: str, **env: str) -> AsyncIterator[tuple[Wire, Child]]:
    """A child that speaks over its stdin and stdout."""
    async with started("stdio", framing, **env) as child:
        assert child.process.stdin is not None
        assert child.process.stdout is not None
        yield Wire(child.process.stdout, child.process.stdin, FRAMINGS[framing]()), child


@asynccontextmanager
async def client(path: Path) -> AsyncIterator[Wire]:
    """A connection to a child's socket."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        yield Wire(reader, writer, FRAMINGS["content-length"]())
    finally:
        writer.close()
