"""Tools that do to their process what tools do, for any Python."""

# ruff: noqa: UP031, UP035, PTH208 - as people write for old Pythons

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Iterator

from bridge import Adapter, SessionContext, tool

print("imported")


class Processes(Adapter):
    @tool
    def facts(self) -> dict[str, Any]:
        return {
            "version": "%d.%d" % sys.version_info[:2],
            "thread": threading.current_thread() is threading.main_thread(),
            "pid": os.getpid(),
        }

    @tool
    def add(self, a: int, b: int = 1) -> int:
        return a + b

    @tool
    async def add_later(self, a: int) -> int:
        await asyncio.sleep(0)
        return a + 1

    @tool
    def echo(self, value: Any) -> Any:
        return value

    @tool
    def measure(self, data: memoryview) -> list[Any]:
        return [type(data).__name__, len(data), data.readonly, bytes(data[:4])]

    @tool
    def bytes_of(self, size: int) -> bytes:
        return bytes(size)

    @tool
    def chunks(self, size: int, count: int) -> Iterator[bytes]:
        for number in range(count):
            yield bytes((number,)) * size

    @tool
    def spin(self, ctx: SessionContext) -> None:
        """Computes for ever, and never looks."""
        ctx.progress(0.0, "started")
        while True:
            pass

    @tool
    def spin_until_cancelled(self, ctx: SessionContext) -> str:
        ctx.progress(0.0, "started")
        while not ctx.cancelled.is_set():
            pass
        return "told"

    @tool
    def sleep(self, ctx: SessionContext) -> None:
        ctx.progress(0.0, "started")
        time.sleep(600)

    @tool
    async def sleep_later(self, ctx: SessionContext) -> None:
        ctx.progress(0.0, "started")
        try:
            await asyncio.sleep(600)
        finally:
            print("slept")

    @tool
    def spawn(self, ctx: SessionContext) -> None:
        """Starts a child that lasts, tells its number, and waits."""
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        ctx.progress(0.0, str(child.pid))
        time.sleep(600)

    @tool
    def sockets_of_a_child(self) -> list[str]:
        """The sockets that a child has got from us."""
        listing = "[os.readlink(link) for link in map('/proc/self/fd/{}'.format, range(50)) if os.path.islink(link)]"
        command = [sys.executable, "-S", "-c", f"import os; print({listing})"]
        shown = subprocess.run(command, stdout=subprocess.PIPE, close_fds=False, check=True)
        return [name for name in shown.stdout.decode().split("'") if name.startswith("socket")]

    @tool
    def fork(self) -> list[Any]:
        """A child that is forked and comes back from its tool."""
        pid = os.fork()
        if pid == 0:
            return ["a child that came back"]
        _, status = os.waitpid(pid, 0)
        return [os.WIFSIGNALED(status) or os.WIFEXITED(status)]

    @tool
    def terminate_a_fork(self) -> int:
        """The signal that a forked child dies of when it is told to end."""
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
        os.kill(pid, signal.SIGTERM)
        return os.WTERMSIG(os.waitpid(pid, 0)[1])

    @tool
    def exits(self, code: int) -> None:
        os._exit(code)

    @tool
    def prints(self, text: str) -> None:
        print(text)

    @tool
    def listens(self) -> str:
        """Where others could connect to this process: nowhere."""
        found = []
        for number in os.listdir("/proc/self/fd"):
            try:
                sock = socket.socket(fileno=os.dup(int(number)))
            except OSError:
                continue
            with sock:
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    found.append(number)
        return ",".join(found)
