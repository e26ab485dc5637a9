"""One side of a session that runs in Go."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.yamux.config import DEFAULT_CONFIG, YamuxConfig
from bridge.yamux.session import Session
from tests.yamux.ends import pattern


class GoError(Exception):
    """What Go says went wrong."""


class GoPeer:
    """Commands for ``yamuxpeer`` (tests/goplugin), each a method call away: ``await go.do("open")``."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._tags = itertools.count(1)
        self._answers: dict[str, asyncio.Future[str]] = {}
        self._reading = asyncio.create_task(self._read())

    async def do(self, *words: object) -> str:
        """The result of a command. Raises ``GoError``."""
        return await self.begin(*words)

    def begin(self, *words: object) -> asyncio.Future[str]:
        """Has a command begin; the result will come."""
        tag = str(next(self._tags))
        answer = self._answers[tag] = asyncio.get_running_loop().create_future()
        assert self.process.stdin is not None
        self.process.stdin.write((" ".join(map(str, (tag, *words))) + "\n").encode())
        return answer

    async def stop(self) -> str:
        """Ends the program. Returns what it has logged."""
        if self.process.returncode is None:
            self.process.kill()
        self._reading.cancel()
        assert self.process.stderr is not None
        log = await self.process.stderr.read()
        await self.process.wait()
        return log.decode()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            tag, outcome, *rest = line.decode().strip().split(" ", 2)
            answer = self._answers.pop(tag)
            if answer.done():
                continue
            if outcome == "ok":
                answer.set_result(rest[0] if rest else "")
            else:
                answer.set_exception(GoError(*rest))


@asynccontextmanager
async def go_session(
    program: Path, folder: Path, *options: str, client: bool = False, config: YamuxConfig = DEFAULT_CONFIG
) -> AsyncIterator[tuple[GoPeer, Session]]:
    """A session between Go, which is the client if told so, and us."""
    address = str(folder / "socket")
    role = ["-client"] if client else []
    process = await asyncio.create_subprocess_exec(
        str(program), "-listen", "-socket", address, *role, *options, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"listening\n"
    loop = asyncio.get_running_loop()
    _, session = await loop.create_unix_connection(lambda: Session(client=not client, config=config), address)
    go = GoPeer(process)
    try:
        async with session:
            yield go, session
    finally:
        await go.stop()


def digest(size: int) -> str:
    """What ``yamuxpeer`` says of that many bytes of the pattern, when it has read them."""
    return f"{size} {hashlib.sha256(pattern(size)).hexdigest()}"
