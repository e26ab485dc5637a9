"""The way to a server that is started if none runs: by one client, however many ask at the same time."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import random

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.connection import Connection
from bridge.listeners import UnixListener, prepare_unix
from bridge_client.backoff import Backoff
from bridge_client.jsonrpc.commands import check_command, tail, unstartable
from bridge_client.jsonrpc.ways import dial, join, socket_path

__all__ = ["StartingWay"]

_LOOKS = Backoff(initial=0.005, maximum=0.1, multiplier=1.5)
"""Between two looks whether the server is there."""
_LOG_BYTES = 1024 * 1024
"""A log that is longer when a server is started begins again."""


class StartingWay:
    """Connects to a server, and starts it before if nobody listens.

    The server outlives its client: it has a session of its own, no stdin, and what it prints goes to a file. Clients
    that find nobody agree by a lock beside the socket (``<path>.start.lock``) on who starts it.

    Args:
        address: ``unix:/path``, or ``unix:`` for the socket of the user's own.
        command: the program and its arguments; it has to listen there.
        env: its whole environment; ``None``: that of this process.
        log: where its output goes; ``None``: ``<path>.log``.
        timeout: seconds for it to listen.
    """

    def __init__(
        self,
        address: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._path = socket_path(address)
        self._command = check_command(command)
        self._env = env
        self._log = self._path.with_name(self._path.name + ".log") if log is None else Path(log)
        self._timeout = timeout

    @property
    def name(self) -> str:
        """The address in full."""
        return f"unix:{self._path}"

    async def open(self, connection: Connection) -> None:
        """Connects, when the server is there.

        Raises:
            BridgeError: UNAVAILABLE, reason ``SERVER_NOT_STARTED``, with the end of its output, if it has ended or
                does not listen in time (it is killed then); what ``dial`` and ``prepare_unix`` raise.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout
        for attempt in itertools.count(1):
            if await self._connects(connection):
                return
            if (right := self._take_right()) is not None:
                with right:
                    # Who had the right before may have used it between our look and ours.
                    if not await self._connects(connection):
                        await self._start(connection)
                return
            if loop.time() > end:
                break
            await asyncio.sleep(_LOOKS.delay(attempt, random()))  # noqa: S311 - no secret
        message = (
            f"{self.name} was not served within {self._timeout:g} s; another process was about to start the server"
        )
        raise BridgeError(Code.UNAVAILABLE, message, reason="SERVER_NOT_STARTED")

    async def epitaph(self) -> str:
        """Where to look: other clients may have printed there, too, so what it says last is not shown."""
        return f"the log of the server is {self._log}"

    async def close(self) -> None:
        """The server goes on, for others, until it is idle for as long as it was told."""

    async def _connects(self, connection: Connection) -> bool:
        """Connects, or says that nobody listens."""
        try:
            await join(dial(self._path), connection)
        except BridgeError as error:
            if error.code is Code.UNAVAILABLE:
                return False
            raise
        return True

    def _take_right(self) -> UnixListener | None:
        """The right to start the server; ``None`` if somebody else has it."""
        try:
            return prepare_unix(self._path.with_name(self._path.name + ".start"))
        except BridgeError as error:
            if error.code is Code.ALREADY_EXISTS:
                return None
            raise

    async def _start(self, connection: Connection) -> None:
        begin = self._begin_log()
        process = self._run()
        try:
            async with asyncio.timeout(self._timeout):
                code = await self._wait(connection, process)
        except TimeoutError:
            _kill(process)
            raise self._not_started(f"did not listen within {self._timeout:g} s", begin) from None
        except BaseException:
            _kill(process)
            raise
        if code is not None:
            raise self._not_started(f"ended with exit code {code} before it listened", begin)

    async def _wait(self, connection: Connection, process: subprocess.Popen[bytes]) -> int | None:
        """Connects as soon as that is possible; returns the exit code if the server ends before."""
        for attempt in itertools.count(1):
            code = process.poll()
            # Tried after its end, too: somebody may have started another one without asking us.
            if await self._connects(connection):
                return None
            if code is not None:
                return code
            await asyncio.sleep(_LOOKS.delay(attempt, random()))  # noqa: S311 - no secret
        raise AssertionError

    def _begin_log(self) -> int:
        """Makes the log ready; where what follows will begin."""
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._log, "ab", opener=_private) as log:
            if log.tell() > _LOG_BYTES:
                log.truncate(0)
            return log.tell()

    def _run(self) -> subprocess.Popen[bytes]:
        with open(self._log, "ab", opener=_private) as log:
            try:
                process = subprocess.Popen(  # noqa: S603 - the caller's command
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._env,
                    start_new_session=True,  # Ctrl-C and the end of a terminal are for the client
                )
            except OSError as error:
                raise unstartable(self._command, error) from error
        # It may outlive this process. Should it not, somebody has to wait for it, or it stays as a zombie.
        threading.Thread(target=process.wait, name="bridge-server-exit", daemon=True).start()
        return process

    def _not_started(self, what: str, begin: int) -> BridgeError:
        with self._log.open("rb") as log:
            log.seek(max(begin, log.seek(0, os.SEEK_END) - _LOG_BYTES))
            text = tail(log.read())
        message = f"the server started for {self.name} {what}; {text}\n(its log is {self._log})"
        return BridgeError(Code.UNAVAILABLE, message, reason="SERVER_NOT_STARTED")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session, so this is for what it started, too
