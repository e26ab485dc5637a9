"""Tools of the scenarios: an adapter for workers of both kinds, so there is nothing but the standard library here."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bridge import Adapter, SessionContext, tool

CHATTER = """
import os, time
while True:
    try:
        os.write(2, b"chatter\\n")
    except OSError:
        pass
    time.sleep(0.01)
"""


class Scenarios(Adapter):
    """Tools that wait, get stuck, die and take memory."""

    @tool
    def echo(self, value: Any = None) -> Any:
        return value

    @tool(idempotent=True)
    def pid(self) -> int:
        return os.getpid()

    @tool
    def zygote(self) -> int:
        return os.getppid()

    @tool
    def waits(self, begun: str, release: str, ctx: SessionContext) -> str:
        """Ends when the test says so, or when it is cancelled."""
        Path(begun).touch()
        while not Path(release).exists():
            if ctx.cancelled.is_set():
                Path(f"{begun}.cancelled").touch()
                return "cancelled"
            time.sleep(0.002)
        return "released"

    @tool
    def sleeps(self, begun: str) -> None:
        """Does not hear that it is cancelled."""
        Path(begun).touch()
        time.sleep(60)

    @tool
    def holds_the_interpreter(self, begun: str) -> None:
        """Stays in native code that does not let go of the interpreter."""
        Path(begun).touch()
        ctypes.PyDLL(None).sleep(60)

    @tool
    def dies(self, how: str, begun: str, release: str) -> None:
        """Dies when the test says so."""
        Path(begun).touch()
        while not Path(release).exists():
            time.sleep(0.002)
        if how == "exit":
            os._exit(3)
        if how == "segfault":
            ctypes.string_at(0)
        if how == "abort":
            take_memory_in_c()
        os.kill(os.getpid(), signal.SIGKILL)

    @tool
    def takes_memory(self, size: int) -> int:
        return len(bytearray(size))

    @tool
    def starts_a_chatterer(self) -> int:
        """A child that prints on what this process prints on, and does not mind if that is gone."""
        return subprocess.Popen([sys.executable, "-S", "-c", CHATTER]).pid

    @tool
    def prints(self, lines: int) -> None:
        print("a line\n" * lines, end="", flush=True)


def take_memory_in_c() -> None:
    """As native code does that does not expect to get none."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    while libc.malloc(ctypes.c_size_t(64 << 20)):
        pass
    libc.abort()
