"""A handler server as a process: ``server_child.py ADDRESS FRAMING GRACE [IDLE_TIMEOUT]``."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import Any

from bridge.foreground import say
from bridge.jsonrpc import Context, Server


def main(address: str, framing: Any, grace: str, idle_timeout: str = "") -> int:
    server = Server(grace=float(grace))

    @server.method("ping")
    async def ping() -> str:
        return "pong"

    @server.method("slow")
    async def slow(seconds: float) -> str:
        say("begun slow")
        await asyncio.sleep(seconds)
        return "slow"

    @server.method("big")
    async def big(size: int) -> str:
        say("begun big")
        return "x" * size

    @server.method("stuck")
    def stuck() -> None:
        say("begun stuck")
        time.sleep(600)

    @server.notification("note")
    async def note(text: str, ctx: Context) -> None:
        say("begun note")
        await asyncio.sleep(0.05)
        say(f"noted {text}")

    @server.method("chat")
    def chat() -> str:
        print("printed")
        os.write(1, b"written\n")
        subprocess.run(["echo", "echoed"], check=True)
        return sys.stdin.read()

    @server.notification("exit")
    async def end() -> None:
        server.request_stop()

    timeout = float(idle_timeout) if idle_timeout else None
    code = server.run(address, framing=framing, idle_timeout=timeout)
    say("ended")
    return code


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
