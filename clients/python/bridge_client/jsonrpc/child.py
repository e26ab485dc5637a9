"""The way to a server that is a child process and talks over its stdin and stdout. It ends with the client."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.pipe_transport import connect_pipes
from bridge_client.jsonrpc.commands import KEPT_BYTES, check_command, tail, unstartable

__all__ = ["ChildWay"]

_TERM_GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL."""
_TELL_WITHIN = 0.25
"""Seconds that a failed call waits to learn how its server ended."""


class ChildWay:
    """Starts a server and talks to it; starts another one if that has ended.

    It leads a session of its own, so Ctrl-C and the end of a terminal are for the client, and what it has started is
    killed with it. What it writes to stderr is always read; the end of it is kept.

    Args:
        command: the program and its arguments.
        env: its whole environment; ``None``: that of this process.
        cwd: its folder; ``None``: that of this process.
        grace: seconds it may take to end after the end of its stdin; then come SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        grace: float = 2.0,
    ) -> None:
        self._command = check_command(command)
        self._env, self._cwd, self._grace = env, cwd, grace
        self._child: _Child | None = None

    @property
    def name(self) -> str:
        """The program."""
        return self._command[0]

    @property
    def output(self) -> str:
        """The end of what the server has written to stderr."""
        return "" if self._child is None else self._child.errors.kept.decode("utf-8", "replace")

    async def open(self, connection: Connection) -> None:
        """Starts the server. Raises FAILED_PRECONDITION, reason ``COMMAND``, if it cannot be."""
        await self.close()
        await self._start(connection)

    async def epitaph(self) -> str:
        """How the server ended, with its last output."""
        child = self._child
        if child is None or not await child.has_ended(_TELL_WITHIN):
            return "the server has closed its stdout"
        # What it said last may still be in the pipe, whose end others may hold open.
        await asyncio.wait((child.errors.ended,), timeout=_TELL_WITHIN)
        return f"the server {child.how_it_ended}; {tail(bytes(child.errors.kept))}"

    async def close(self) -> None:
        """Ends the server and all that it has started."""
        if self._child is not None:
            await self._child.end(self._grace)

    async def _start(self, connection: Connection) -> None:
        with ExitStack() as theirs, ExitStack() as ours:
            (stdin, to_child), (from_child, stdout), (from_errors, stderr) = os.pipe(), os.pipe(), os.pipe()
            for fd in (stdin, stdout, stderr):
                theirs.callback(os.close, fd)
            for fd in (to_child, from_child, from_errors):
                ours.callback(os.close, fd)
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise unstartable(self._command, error) from error
            ours.pop_all()
        self._child = child = _Child(process)
        await child.read_errors(from_errors)
        await connect_pipes(connection, from_child, to_child)


class _Errors(asyncio.Protocol):
    """Reads stderr to its end and keeps the last of it."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.kept += data
        del self.kept[:-KEPT_BYTES]


class _Child:
    """A running server.

    Args:
        process: it leads a session.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.errors = _Errors()
        self._process = process
        self._transport: asyncio.ReadTransport | None = None

    async def read_errors(self, fd: int) -> None:
        """Begins to read its stderr."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(lambda: self.errors, os.fdopen(fd, "rb", 0))

    async def has_ended(self, timeout: float) -> bool:
        """Whether it has ended, or does so within so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._process.wait()
        return self._process.returncode is not None

    @property
    def how_it_ended(self) -> str:
        """By which exit code or signal."""
        code = self._process.returncode or 0
        if code >= 0:
            return f"ended with exit code {code}"
        return f"was ended by {signal.Signals(-code).name}"

    async def end(self, grace: float) -> None:
        """Returns when it is gone. Its stdin was closed before. Repeating it is harmless."""
        try:
            if not await self.has_ended(grace):
                self._signal(signal.SIGTERM)
                await self.has_ended(_TERM_GRACE)
        finally:  # also if we are cancelled while we wait
            self._signal(signal.SIGKILL)  # what it has left behind, too
            await self._process.wait()
            if self._transport is not None:
                self._transport.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left, or nobody that is ours
            os.killpg(self._process.pid, number)
