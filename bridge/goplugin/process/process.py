"""A plugin's process as its host has it: started, heard, and ended with all that it has started."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from io import FileIO
from typing import Self

from bridge.errors import BridgeError
from bridge.goplugin.handshake import Handshake
from bridge.goplugin.log_entries import LAST_WORDS
from bridge.goplugin.process.checksum import SecureConfig, open_program
from bridge.goplugin.process.diagnosis import exited_early, explained, last_lines, no_line, not_started, timed_out
from bridge.goplugin.process.launch import Launch, prepare, run, verify
from bridge.goplugin.process.leash import Leash
from bridge.goplugin.process.pipe_reader import FirstLine, LineSplitter, PipeReader
from bridge.goplugin.process.process_identity import ProcessIdentity
from bridge.goplugin.process.watched_process import WatchedProcess
from bridge.runtime.death import Exit, kill_group

__all__ = ["OnStderr", "PluginProcess"]

OnStderr = Callable[[bytes, bool], None]
"""Gets each line of stderr without its end, and whether it is whole; of one over 64 KiB it gets pieces."""

_EXIT_WITHIN = 1.0
"""Seconds that a plugin has to end after it has closed its stdout, so that it can be told how it ended."""
_LAST_WORDS = tuple(words.encode() for words in LAST_WORDS)
_KEPT_LINES, _KEPT_BYTES = 50, 1000
"""How much of the end of stderr is kept: lines, and bytes of each."""


class PluginProcess(WatchedProcess):
    """A process that ``start`` has started. It leads a session and a process group of its own: the Ctrl-C of a terminal
    is for the host only, and what it starts is ended with it, also when it ends by itself."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        path: str,
        leash: Leash | None,
        logger: logging.Logger,
        on_stderr: OnStderr | None,
    ) -> None:
        super().__init__(ProcessIdentity.of(popen.pid), logger)
        self.path = path
        """Of its program."""
        self.line = ""
        """The first line of its stdout, as ``os.fsdecode`` makes it, without its end."""
        self._popen, self._leash, self._on_stderr = popen, leash, on_stderr
        self._tail: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self._panic = b""
        self._first = FirstLine()
        lines = LineSplitter(self._on_stderr_line)
        assert popen.stdout is not None  # noqa: S101 - `run` makes both pipes
        assert popen.stderr is not None  # noqa: S101
        self._stdout = PipeReader(popen.stdout, self._first.feed, self._first.end)
        self._stderr = PipeReader(popen.stderr, lines.feed, lines.end)

    @classmethod
    async def start(
        cls,
        command: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str],
        cwd: str | os.PathLike[str] | None = None,
        start_timeout: float,
        logger: logging.Logger,
        secure: SecureConfig | None = None,
        on_stderr: OnStderr | None = None,
        inherit_stdin: bool = True,
        exit_with_host: bool = True,
    ) -> Self:
        """Starts a program, and returns when the first line of its stdout is there and looks like a plugin's.

        Args:
            command: program and arguments; no shell. A program without a slash is looked up in our ``PATH``.
            env: all of its environment; see ``launch_environment``.
            cwd: its working directory, from which a relative path of the program counts; ``None``: ours.
            start_timeout: seconds until its line has to be there.
            logger: told of its start and its end.
            secure: the checksum that its program must have.
            on_stderr: gets the lines of stderr, in the event loop.
            inherit_stdin: whether it has our stdin, as with go-plugin; else /dev/null.
            exit_with_host: whether the kernel kills it and what it has started when this process is gone, even by
                SIGKILL. A plugin that closes descriptors it does not know of escapes that.

        Raises ``BridgeError``, after which nothing is left of the process. Reasons: ``CHECKSUM``,
        ``PLUGIN_NOT_FOUND``, ``PLUGIN_NOT_EXECUTABLE``, ``PLUGIN_ARCHITECTURE``, ``PLUGIN_DIRECTORY``,
        ``PLUGIN_START_FAILED``, ``PLUGIN_START_TIMEOUT``, ``PLUGIN_EXITED``, and ``HANDSHAKE`` for a line that is
        none of a plugin. Whether the plugin fits the host is for ``Handshake.parse`` to say.
        """
        launch = prepare(command, env, cwd, inherit_stdin=inherit_stdin)
        with ExitStack() as stack:
            program: FileIO | None = None
            if secure is not None:
                program = stack.enter_context(open_program(launch.program.path))
                await verify(secure, program)
            process = cls._run(launch, program, logger, on_stderr, exit_with_host)
        try:
            async with asyncio.timeout(start_timeout):
                process.line = await process._first_line()
        except BaseException as error:
            await process.aclose()
            if isinstance(error, TimeoutError):
                raise timed_out(process.path, start_timeout, process.stderr_tail) from None
            raise
        return process

    @classmethod
    def _run(
        cls,
        launch: Launch,
        program: FileIO | None,
        logger: logging.Logger,
        on_stderr: OnStderr | None,
        exit_with_host: bool,
    ) -> Self:
        path = launch.program.path
        logger.debug("starting plugin %s", path)
        try:
            with ExitStack() as undo:
                leash = Leash() if exit_with_host else None
                if leash is not None:
                    undo.callback(leash.close)
                popen = run(launch, program, [] if leash is None else [leash.theirs])
                undo.callback(_undo, popen)
                if leash is not None:
                    leash.tie(popen.pid)
                process = cls(popen, path, leash, logger, on_stderr)
                undo.pop_all()
        except OSError as error:
            raise not_started(path, launch.cwd, error) from None
        logger.debug("plugin %s started with process id %d", path, process.pid)
        return process

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines of its stderr; before them, if they are the stacks of a crash in Go, what it was about."""
        self._stderr.drain()
        told = [self._panic] if self._panic and self._panic not in self._tail else []
        return [line.decode("utf-8", "replace") for line in (*told, *self._tail)]

    @property
    def stdout_dropped(self) -> int:
        """Bytes it wrote to its stdout after the first line, which nobody gets; go-plugin has other ways for them."""
        return self._first.dropped

    def describe_exit(self) -> str:
        """For people: how it ended, and what it said at last on stderr."""
        how = "is running" if self.exit is None else f"ended with {self.exit.describe()}"
        return f"plugin {self.path} (process {self.pid}) {how}{last_lines(self.stderr_tail)}"

    def kill(self) -> None:
        """SIGKILL for its process group; does nothing if it has ended. Returns at once."""
        if self.exit is None:
            kill_group(self.pid, signal.SIGKILL)  # we have not reaped it, so the number is its own

    async def aclose(self) -> None:
        """Kills it if it runs; returns when nothing is left of it, however often it is cancelled."""
        self.kill()
        await self._wait_for_end()

    async def _first_line(self) -> str:
        line = await self._first.line
        if line is None:
            await self.ends_within(_EXIT_WITHIN)
            if self.exit is None:
                raise no_line(self.path, self.stderr_tail)
            raise exited_early(self.path, self.exit, self.stderr_tail)
        text = os.fsdecode(line)
        try:
            Handshake.parse(text)
        except BridgeError as error:
            if error.reason == "HANDSHAKE":
                raise explained(error, self.path, self.stderr_tail) from None
            # What the host asks for decides which other problem comes first.
        return text

    def _bury(self) -> Exit:
        kill_group(self.pid, signal.SIGKILL)  # what it has left behind; its number is taken until it is reaped
        end = Exit.from_returncode(self._popen.wait())
        for reader in (self._stdout, self._stderr):
            reader.drain()
            reader.close()
        if self._leash is not None:
            self._leash.close()
        self._logger.info("plugin %s (process %d) ended with %s", self.path, self.pid, end.describe())
        if self.stdout_dropped:
            self._logger.debug("plugin %d wrote %d bytes to stdout that nobody gets", self.pid, self.stdout_dropped)
        return end

    def _on_stderr_line(self, line: bytes, is_whole: bool) -> None:
        self._tail.append(line[:_KEPT_BYTES])
        if line.startswith(_LAST_WORDS):
            self._panic = line[:_KEPT_BYTES]
        if self._on_stderr is None:
            return
        try:
            self._on_stderr(line, is_whole)
        except Exception:
            self._on_stderr = None
            self._logger.exception("what gets the stderr of plugin %d has failed, and gets no more of it", self.pid)


def _undo(popen: subprocess.Popen[bytes]) -> None:
    kill_group(popen.pid, signal.SIGKILL)
    with popen:  # closes its pipes, and reaps it
        pass
