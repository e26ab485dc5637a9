"""Plugins of the tests, copied to where a test wants them, and run by any Python >= 3.9 without packages."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import Adapter, SessionContext, tool


def mark(path: str) -> None:
    """Tells the test that something has come so far."""
    Path(path).touch()


def wait_for(path: str) -> None:
    """Waits for the test."""
    while not Path(path).exists():
        time.sleep(0.002)


class Sample(Adapter):
    """Tools of all kinds."""

    config: Any = None

    @dataclass
    class Config:
        """How it is configured."""

        label: str = "none"
        """What ``label`` returns."""
        begun: str = ""
        """A file that is made when the lifespan begins."""
        release: str = ""
        """A file that it waits for."""
        once: str = ""
        """A file that is made, and must not be there before."""
        fails: bool = False
        """Whether the lifespan fails."""

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncIterator[str]:
        config = cls.config
        if config.begun:
            mark(config.begun)
        if config.release:
            wait_for(config.release)
        if config.once:
            try:  # in one step: all workers are configured at the same time
                os.close(os.open(config.once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                raise RuntimeError("only once") from None
        if config.fails:
            raise RuntimeError("this configuration fails")
        yield config.label

    @tool
    def echo(self, value: Any = None) -> Any:
        """Returns what it gets."""
        return value

    @tool
    def about(self) -> dict[str, Any]:
        """Says where it runs."""
        return {"version": sys.version_info[:2], "executable": sys.executable, "modules": sorted(sys.modules)}

    @tool
    def pid(self) -> int:
        return os.getpid()

    @tool
    def label(self) -> str:
        return str(self.resources)

    @tool
    async def label_later(self) -> str:
        return str(self.resources)

    @tool
    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    @tool
    def odd_names(self, timeout: int, call_id: str, tool: str, retries: int, session_id: str) -> list[Any]:
        """Has parameters that are called as options of calls are."""
        return [timeout, call_id, tool, retries, session_id]

    @tool
    def fails(self, printing: str = "") -> None:
        if printing:
            print(printing, flush=True)
        raise LookupError("there is no such thing")

    @tool
    def reports(self, begun: str, release: str, ctx: SessionContext) -> str:
        """Tells of its progress before and after the test lets it go on."""
        ctx.progress(0.25, "first")
        mark(begun)
        wait_for(release)
        ctx.progress(0.75, "second")
        return "reported"

    @tool
    def waits(self, begun: str, release: str, ctx: SessionContext) -> str:
        """Ends when the test says so, or when it is cancelled."""
        mark(begun)
        while not Path(release).exists():
            if ctx.cancelled.is_set():
                mark(begun + ".cancelled")
                return "cancelled"
            time.sleep(0.002)
        return "released"

    @tool
    def hangs(self, begun: str = "") -> None:
        """Does not hear that it is cancelled."""
        if begun:
            mark(begun)
        time.sleep(60)

    @tool
    def holds_the_interpreter(self, begun: str, seconds: int) -> None:
        """Stays in native code that does not let go of the interpreter."""
        mark(begun)
        ctypes.PyDLL(None).sleep(seconds)

    @tool
    def dies(self, how: str, begun: str = "", release: str = "") -> None:
        print("last words", flush=True)
        if begun:
            mark(begun)
            wait_for(release)
        if how == "exit":
            os._exit(3)
        if how == "segfault":
            ctypes.string_at(0)
        os.kill(os.getpid(), signal.SIGKILL)

    @tool(idempotent=True)
    def yields_and_dies(self) -> Iterator[int]:
        """Dies when its first value is on its way."""
        yield 1
        os.kill(os.getpid(), signal.SIGKILL)

    @tool(idempotent=True)
    def dies_once(self, path: str) -> str:
        return _die_once(path)

    @tool
    def dies_once_for_good(self, path: str) -> str:
        return _die_once(path)

    @tool
    def prints(self, size: int) -> str:
        """Writes so many bytes."""
        line = b"x" * 999 + b"\n"
        for _ in range(size // 1000):
            os.write(1, line)
        return "printed"

    @tool
    def starts_a_child(self) -> int:
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid

    @tool
    def counts(self, until: int, closed: str = "", fails: bool = False) -> Iterator[int]:
        """Yields numbers."""
        try:
            yield from range(until)
            if fails:
                raise LookupError("after the last one")
        finally:
            if closed:
                mark(closed)

    @tool
    async def counts_later(self, until: int, closed: str = "") -> AsyncIterator[int]:
        try:
            for number in range(until):
                yield number
        finally:
            if closed:
                mark(closed)

    @tool
    def remembers(self, name: str, value: Any, ctx: SessionContext) -> Any:
        """Writes a variable and returns what was there."""
        before = ctx.sync.get(name, None)
        ctx.sync.set(name, value)
        return before

    @tool
    def asks_its_host(self, ctx: SessionContext) -> Any:
        return ctx.sync.call("anything")


def _die_once(path: str) -> str:
    if Path(path).exists():
        return "alive"
    mark(path)
    os._exit(3)


class Plain:
    """A class that knows nothing of the bridge, as those of cjm-plugin-system."""

    name = "plain"
    version = "1.2"

    report_progress: Any  # given by whoever runs it

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}

    def initialize(self, config: dict[str, Any]) -> None:
        self.config = dict(config or {})
        if self.config.get("fails"):
            raise RuntimeError("this configuration fails")

    def get_config_schema(self) -> dict[str, Any]:
        return {"type": "object", "properties": {"model": {"type": "string"}}}

    def get_current_config(self) -> dict[str, Any]:
        return self.config

    def execute(self, text: str = "", times: int = 1) -> str:
        return str(self.config.get("model", "-")) + text * times

    def execute_stream(self, text: str) -> Iterator[str]:
        yield from text

    def prefetch(self) -> None:
        for step in range(int(self.config.get("steps", 0))):
            self.report_progress(step / 10, "loading")
            time.sleep(self.config["pause"])
        if self.config.get("stalls"):
            time.sleep(60)

    def cleanup(self) -> None:
        if "cleaned" in self.config:
            mark(self.config["cleaned"])


class FailsToBegin:
    """Cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("it cannot be made")

    def execute(self) -> None:
        return
