"""A plugin of ours without a host: its process, what it says, and ways to look into it from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bridge.goplugin.handshake import Handshake
from tests.goplugin.ways import CHECKOUT, OUR_PLUGIN

__all__ = ["RawPlugin", "descriptors", "ended_badly", "raw_plugin", "sockets_in"]

COOKIE = {"BASIC_PLUGIN": "hello"}


class RawPlugin:
    """A process that has said its line, or has nothing more to say."""

    def __init__(self, process: Process, line: str, folder: Path) -> None:
        self.process, self.line, self.folder = process, line, folder

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def handshake(self) -> Handshake:
        """What it has said."""
        return Handshake.parse(self.line)

    async def rest(self) -> tuple[int, str, str]:
        """Exit code, and what else came on stdout and stderr until the end."""
        stdout, stderr = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, stdout.decode(), stderr.decode()


@asynccontextmanager
async def raw_plugin(
    *flags: str, env: Mapping[str, str] | None = None, command: Sequence[str] = OUR_PLUGIN
) -> AsyncIterator[RawPlugin]:
    """One in a process group of its own, with the cookie and what else the environment is to have."""
    with tempfile.TemporaryDirectory(prefix="plugin-") as folder:
        process = await asyncio.create_subprocess_exec(
            *command,
            *flags,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=CHECKOUT,
            env={**os.environ, **COOKIE, "TMPDIR": folder, **(env or {})},
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            line = await process.stdout.readline()
            yield RawPlugin(process, line.decode(), Path(folder))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()


async def ended_badly(*flags: str, env: Mapping[str, str] | None = None) -> str:
    """Stderr of a plugin that cannot be served: it has exit code 1, and nothing on stdout."""
    async with raw_plugin(*flags, env=env) as plugin:
        code, stdout, stderr = await plugin.rest()
        assert (code, plugin.line + stdout) == (1, ""), stderr
        assert not list(plugin.folder.iterdir())
    return stderr


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def sockets_in(folder: Path) -> list[Path]:
    """What plugins have left, or use, in a folder for temporary files: sockets and their folders."""
    return [path for path in folder.rglob("*") if path.is_socket() or path.name.startswith("plugin")]
