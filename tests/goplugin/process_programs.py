"""Programs that behave like plugins, up to a point, and ways to start and to watch them."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.goplugin.process.process import PluginProcess
from bridge.goplugin.process.process_identity import ProcessIdentity
from tests.support.waiting import until

LINE = "1|1|unix|/run/some/plugin.sock|grpc|"
SAY = f"echo '{LINE}'"
"""A shell's way to be a plugin."""

logger = logging.getLogger("tests.goplugin.process")


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    """A file that can be executed."""
    path.write_text(text)
    path.chmod(mode)
    return path


def copied_shell(path: Path) -> Path:
    """A binary that can be executed."""
    return Path(shutil.copy(Path(shutil.which("sh") or "/bin/sh").resolve(), path))


def is_known(pid: int) -> bool:
    """Whether there is a process of that number, be it one that only waits to be reaped."""
    return Path(f"/proc/{pid}").exists()


def opened(pid: int | str, fd: int) -> Path:
    """What a descriptor of a process is open on."""
    return Path(f"/proc/{pid}/fd/{fd}").readlink()


async def started(command: Sequence[Any], **options: Any) -> PluginProcess:
    """A process of a command, with our environment."""
    defaults: dict[str, Any] = {"env": dict(os.environ), "start_timeout": 20.0, "logger": logger}
    defaults["inherit_stdin"] = False
    return await PluginProcess.start(command, **(defaults | options))


async def shell(text: str, **options: Any) -> PluginProcess:
    """A process of a shell that runs a text."""
    return await started(["sh", "-c", text], **options)


class Lines:
    """Takes lines of stderr, in which programs tell process ids too."""

    def __init__(self) -> None:
        self.all: list[tuple[bytes, bool]] = []

    def __call__(self, line: bytes, is_whole: bool) -> None:
        self.all.append((line, is_whole))

    async def identity(self) -> ProcessIdentity:
        """Of the process that the first line tells."""
        async with asyncio.timeout(10):
            await until(lambda: self.all)
        return ProcessIdentity.of(int(self.all[0][0]))


async def ended(*processes: ProcessIdentity) -> None:
    """Returns when none of them runs."""
    async with asyncio.timeout(10):
        await until(lambda: not any(process.is_running() for process in processes))


def open_files() -> set[str]:
    """What our descriptors are open on."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except OSError:  # the descriptor of the listing itself
            pass
    return found
