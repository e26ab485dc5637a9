"""Programs that speak over their stdin and stdout."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.jsonrpc.ends import FRAMINGS
from tests.jsonrpc.processes import ROOT, Child, environment
from tests.jsonrpc.serving import Client


@asynccontextmanager
async def program(
    path: str | Path, *arguments: str, framing: str = "content-length"
) -> AsyncIterator[tuple[Client, Child]]:
    """A Python program of this repository; killed at the end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / path), *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=environment()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            yield Client(process.stdout, process.stdin, FRAMINGS[framing]()), Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
