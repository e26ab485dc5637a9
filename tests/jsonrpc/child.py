"""A server as a process of its own: ``child.py stdio FRAMING`` or ``child.py unix PATH [IDLE_TIMEOUT]``.

Prints ``ready`` on stderr, ends as ``bridge`` does, and says ``clean`` or ``unclean`` if it gets so far.
"""

# ruff: noqa: ASYNC221 - these look at files and wait for programs, and nothing else is to run meanwhile

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from bridge.errors import BridgeError
from bridge.foreground import StopSignals, run_in_foreground, say
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.stdio import Stdio, serve_stdio
from bridge.jsonrpc.unix_server import listen_unix
from bridge.protocols.content_length import ContentLength
from bridge.protocols.messages import Notification, Request
from bridge.protocols.newline import Newline

GRACE = 0.5
UNFINISHED = 3


class Deeds:
    """Methods that do to a process what tools do."""

    async def request(self, connection: Connection, request: Request) -> Any:
        say(f"begun {request.method}")
        try:
            return await getattr(self, request.method)(*msgspec.json.decode(request.params or b"[]"))
        except asyncio.CancelledError:
            say(f"cancelled {request.method}")
            raise

    def notification(self, connection: Connection, notification: Notification) -> None:
        pass

    def closed(self, connection: Connection) -> None:
        pass

    async def echo(self, *values: Any) -> Any:
        return values

    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    async def stick(self) -> None:
        """A plain tool that nothing stops, in a thread."""
        thread = asyncio.get_running_loop().create_future()
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        while True:
            try:
                await asyncio.shield(thread)
            except asyncio.CancelledError:
                pass

    async def block(self) -> None:
        """A tool that lets nothing else run."""
        time.sleep(600)  # noqa: ASYNC251 - as it is meant

    async def chat(self) -> None:
        """Says something to stdout in all ways there are."""
        print("printed: ü\N{SNOWMAN}")
        os.write(1, b"written\n")
        libc = ctypes.CDLL(None)
        libc.puts(b"put by C")
        libc.fflush(None)
        subprocess.run(["echo", "echoed by a child"], check=True)
        subprocess.run([sys.executable, "-S", "-c", "print('printed by a child')"], check=True)

    async def read(self) -> list[str]:
        """What there is to read."""
        return [sys.stdin.read(), subprocess.run(["cat"], stdout=subprocess.PIPE, check=True, text=True).stdout]

    async def log(self, count: int) -> str:
        """Many bytes for stderr."""
        for _ in range(count // 100):
            logging.getLogger("tool").error("x" * 99)
        return "logged"

    async def pid(self) -> int:
        return os.getpid()


async def serve(stop: StopSignals, kind: str, arguments: list[str], stdio: Stdio | None) -> bool:
    deeds = Deeds()
    if stdio is not None:
        make = ContentLength if arguments[0] == "content-length" else Newline
        serving = asyncio.create_task(serve_stdio(lambda: Connection(make(), deeds), stdio))
        stopping = asyncio.create_task(stop.wait())
        say("ready")
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not serving.done():
            serving.cancel()
            return True
        return serving.result()
    timeout = float(arguments[1]) if len(arguments) > 1 else None
    async with listen_unix(
        Path(arguments[0]),
        lambda: Connection(ContentLength(), deeds),
        idle_timeout=timeout,
        on_idle=stop.request,
        on_lost=stop.request,
    ) as server:
        say("ready")
        await stop.wait()
        return await server.drain(GRACE)


def main(kind: str, *arguments: str) -> int:
    try:
        stdio = Stdio.take() if kind == "stdio" else None
    except BridgeError as error:
        say(f"{error.reason}: {error.message}")
        return 1
    logging.basicConfig(format="%(message)s")

    async def run(stop: StopSignals) -> bool:
        clean = await serve(stop, kind, list(arguments), stdio)
        say("clean" if clean else "unclean")
        return clean

    try:
        return run_in_foreground(run, GRACE, unfinished=UNFINISHED)
    except BridgeError as error:
        say(f"{error.reason}: {error.message}")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
