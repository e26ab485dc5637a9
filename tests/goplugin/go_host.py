"""Drives a host that is another program: steps go to its stdin, answers come from its stdout (host/main.go says how).

async with go_host([program, "-mux", "--", plugin]) as host:
    await host.put("k", b"v")
    ending = await host.kill()
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

__all__ = [
    "Answer",
    "Ending",
    "Failure",
    "GoHost",
    "HostError",
    "Info",
    "Reattach",
    "Started",
    "Stdio",
    "go_host",
    "is_running",
]

T = TypeVar("T")

_LONGEST = 256 * 1024 * 1024
"""Bytes of an answer."""


class Failure(msgspec.Struct, frozen=True):
    """What a step says went wrong; ``code`` and ``message`` are those of a gRPC status."""

    text: str
    code: str = ""
    message: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What came of a step, and after how many seconds."""

    id: int
    seconds: float
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Failure | None = None


class Started(msgspec.Struct, frozen=True):
    """A plugin that has said where it listens."""

    network: str
    address: str
    version: int
    pid: int
    """0 if the host has only attached to it."""
    protocol: str = "grpc"


class Ending(msgspec.Struct, frozen=True):
    """How a plugin ended."""

    forced: bool
    """The host has logged that the plugin did not end by itself."""
    exited: bool
    exit_code: int | None
    signal: int | None


class Stdio(msgspec.Struct, frozen=True):
    """What a host has got through GRPCStdio."""

    stdout: bytes
    stderr: bytes


class Counted(msgspec.Struct, frozen=True):
    """The counter's value, and how often it has asked for a sum."""

    value: int
    sums: int


class Info(msgspec.Struct, frozen=True):
    """What a plugin sees (InfoResponse in proto/probe.proto)."""

    pid: int
    language: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    hanging: int
    app_version: int


class ReattachAddress(msgspec.Struct, frozen=True, rename="pascal"):
    """Where a running plugin listens."""

    network: str
    string: str


class Reattach(msgspec.Struct, frozen=True, rename="pascal"):
    """How to attach to a running plugin, as Terraform's ``TF_REATTACH_PROVIDERS`` has it."""

    protocol: str
    protocol_version: int
    pid: int
    test: bool
    addr: ReattachAddress


class HostError(Exception):
    """A step failed. ``code`` is the name of a gRPC status as Go writes it (``Unavailable``), or empty."""

    def __init__(self, failure: Failure, seconds: float) -> None:
        super().__init__(failure.text)
        self.code = failure.code
        self.message = failure.message
        self.seconds = seconds


class GoHost:
    """A host with one plugin. All waits have to be bounded by the caller."""

    def __init__(self, process: Process, folder: Path, log: IO[bytes]) -> None:
        self.process = process
        self.folder = folder
        """The folder for temporary files of host and plugin, which goes with the host."""
        self._log = log
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._reading = asyncio.create_task(self._read())

    def begin(self, step: str, **arguments: Any) -> asyncio.Future[Answer]:
        """Has a step begin; its answer will come, with ``error`` set if it fails."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        if self._reading.done():
            answer.set_exception(self._ended())
            return answer
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode({"id": number, "do": step, **arguments}) + b"\n")
        return answer

    async def ask(self, kind: type[T], step: str, **arguments: Any) -> T:
        """The result of a step. Raises ``HostError``."""
        answer = await self.begin(step, **arguments)
        if answer.error is not None:
            raise HostError(answer.error, answer.seconds)
        return msgspec.json.decode(answer.result, type=kind)

    async def do(self, step: str, **arguments: Any) -> Any:
        """The result of a step, as JSON has it. Raises ``HostError``."""
        return await self.ask(object, step, **arguments)

    async def start(self) -> Started:
        """Has the plugin running; opens no connection."""
        return await self.ask(Started, "start")

    async def ping(self) -> None:
        """Asks for the health of "plugin"."""
        await self.do("ping")

    async def put(self, key: str, value: bytes) -> None:
        """Of the KV service."""
        await self.do("put", key=key, value=value)

    async def get(self, key: str) -> bytes:
        """Of the KV service."""
        return await self.ask(bytes, "get", key=key)

    async def big(self, size: int) -> int:
        """Puts a value of so many bytes, gets it back and compares. Returns its size."""
        return await self.ask(int, "big", size=size)

    async def count(self, key: str, number: int, times: int = 1) -> Counted:
        """Adds to a counter, so often, each time with a helper of the host's own behind the broker."""
        return await self.ask(Counted, "count", key=key, number=number, times=times)

    async def helper(self, number: int) -> int:
        """Has a helper that the plugin serves behind the broker double a number."""
        return await self.ask(int, "helper", number=number)

    async def stream(self, chunks: int, size: int = 1) -> int:
        """How many chunks the plugin has streamed, all checked."""
        return await self.ask(int, "stream", times=chunks, size=size)

    async def print(self, stdout: bytes = b"", stderr: bytes = b"", times: int = 1) -> None:
        """Has the plugin print."""
        await self.do("print", stdout=stdout, stderr=stderr, times=times)

    async def stdio(self, stdout: int = 0, stderr: int = 0) -> Stdio:
        """What the plugin has printed so far, when it is at least so many bytes."""
        return await self.ask(Stdio, "stdio", sizes=(stdout, stderr))

    async def info(self) -> Info:
        """What the plugin sees."""
        return await self.ask(Info, "info")

    async def logs(self) -> list[dict[str, Any]]:
        """Entries of the host's log so far (``@level``, ``@message``, ``@module`` and pairs)."""
        return await self.ask(list[dict[str, Any]], "logs")

    async def reattach_config(self) -> Reattach:
        """How another host can attach to the plugin."""
        return await self.ask(Reattach, "reattach_config")

    async def kill(self) -> Ending:
        """Ends the plugin as hosts do."""
        return await self.ask(Ending, "kill")

    async def die(self) -> None:
        """The host is killed with SIGKILL, and nothing else."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """Kills the host, and every process of its group: a plugin that outlives its host outlives no test."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            answer = msgspec.json.decode(line, type=Answer)
            waiting = self._answers.pop(answer.id)
            if not waiting.done():
                waiting.set_result(answer)
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(self._ended())
                waiting.exception()  # not everyone still wants to know

    def _ended(self) -> HostError:
        self._log.seek(0)
        return HostError(Failure(f"the host has ended: {self._log.read().decode(errors='replace')}"), 0)


@asynccontextmanager
async def go_host(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[GoHost]:
    """A host that runs, in a process group of its own; with the environment of the tests if none is given."""
    inherited = os.environ if env is None else env
    # Not pytest's folder: the path of a socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="go-host-") as folder, tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            env={**inherited, "TMPDIR": folder},
            cwd=cwd,
            start_new_session=True,
            limit=_LONGEST,
        )
        host = GoHost(process, Path(folder), log)
        try:
            yield host
        finally:
            await host.stop()


def is_running(pid: int) -> bool:
    """Whether there is a process of that number that has not ended; one that nobody reaps has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
