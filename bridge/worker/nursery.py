"""The server's end of a zygote: has it fork workers, and hears how they end.

There is no process of ours that a killed server leaves behind: the zygote sees the end of its socket and kills the
workers' groups, and the kernel kills a worker whose zygote is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
from contextlib import suppress

import msgspec

from bridge.errors import BridgeError, Code
from bridge.runtime.death import Exit, kill_group
from bridge.runtime.zygote_messages import (
    Begun,
    Born,
    Exited,
    Fork,
    Kill,
    Message,
    NotBorn,
    Ready,
    Setup,
    StartFailed,
)
from bridge.worker import start_failure
from bridge.worker.pipes import open_pipes
from bridge.worker.recipe import Recipe, adapters_recipe
from bridge.worker.zygote_process import ZygoteProcess, when_ended

__all__ = ["Exit", "Newborn", "Nursery", "Recipe", "adapters_recipe"]

logger = logging.getLogger("bridge.worker")

_LAST_RESORT = 5.0
"""Seconds that processes may take to end after SIGKILL; more only if the kernel holds them."""


class Newborn(msgspec.Struct):
    """A worker that was started. Both descriptors belong to who asked for it."""

    pid: int
    """Leads a process group of this number."""
    sock: socket.socket
    """The server's end of its socket."""
    output: int
    """Read end of a pipe with its stdout and stderr."""
    exited: asyncio.Future[Exit]
    """Set when it was reaped; never fails. Wait for it with ``asyncio.wait`` or ``asyncio.shield``, as others do."""


class Nursery:
    """A zygote and its workers.

    Args:
        recipe: how to start it.
    """

    died: asyncio.Future[Exit]
    """Set when the zygote is gone; its workers are then gone or about to be, as their ``exited`` tells. There once
    ``start`` was called."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._zygote: ZygoteProcess | None = None
        self._version = ""
        self._numbers = itertools.count(1)
        self._births: dict[int, asyncio.Future[tuple[int, asyncio.Future[Exit]]]] = {}
        self._workers: dict[int, asyncio.Future[Exit]] = {}

    @property
    def pid(self) -> int | None:
        """Process id of the zygote, once it was started."""
        return None if self._zygote is None else self._zygote.pid

    @property
    def output(self) -> list[str]:
        """The last lines that the zygote has printed, as warnings of the imports."""
        return [] if self._zygote is None else self._zygote.output

    @property
    def version(self) -> str:
        """The version of its Python, once it runs."""
        return self._version

    async def start(self) -> None:
        """Starts the zygote; returns when it has prepared everything. Once only. From any thread that has a loop.

        Raises:
            BridgeError: FAILED_PRECONDITION, reason ``WORKER_START_FAILED``, if the interpreter or what it has to
                prepare fails; the reason of that is in the metadata as ``cause``, the traceback in ``details.debug``.
                DEADLINE_EXCEEDED, reason ``WORKER_START_TIMEOUT``. FAILED_PRECONDITION, reason
                ``ISOLATION_UNSUPPORTED``, if this is not Linux. RESOURCE_EXHAUSTED, reason ``WORKER_START_FAILED``, if
                the system has no room for another process.
        """
        if not sys.platform.startswith("linux"):
            raise BridgeError(
                Code.FAILED_PRECONDITION,
                'tools with isolation="process" or "call" need Linux: give them isolation="thread" here',
                reason="ISOLATION_UNSUPPORTED",
            )
        loop = asyncio.get_running_loop()
        self.died = loop.create_future()
        self._started: asyncio.Future[None] = loop.create_future()
        recipe = self._recipe
        try:
            zygote = self._zygote = await ZygoteProcess.start(recipe, self._on_message, self._on_death)
        except OSError as error:
            raise start_failure.not_run(recipe, error) from error
        try:
            zygote.send(Setup(os.getpid(), recipe.preload, recipe.run, dict(recipe.limits)), _file(recipe.argument))
            async with asyncio.timeout(recipe.start_timeout):
                await self._started
        except BaseException as error:
            zygote.kill()
            await asyncio.shield(self.died)
            if isinstance(error, TimeoutError):
                raise start_failure.timed_out(recipe, self.output) from None
            if isinstance(error, OSError):
                raise start_failure.no_room(str(error)) from error
            raise

    async def fork(self) -> Newborn:
        """Starts a worker.

        Raises ``BridgeError``: UNAVAILABLE, reason ``ZYGOTE_GONE``, if the zygote has died or was closed;
        RESOURCE_EXHAUSTED, reason ``WORKER_START_FAILED``, if the system has no room for another process.
        """
        if self._zygote is None or not self._zygote.is_listening:
            raise start_failure.gone()
        try:
            sock, theirs, output, output_write = open_pipes(socket.SOCK_STREAM)
        except OSError as error:
            raise start_failure.no_room(str(error)) from error
        number = next(self._numbers)
        birth = self._births[number] = asyncio.get_running_loop().create_future()
        try:
            self._zygote.send(Fork(number), theirs.detach(), output_write)
            pid, exited = await birth
        except BaseException:
            if birth.done() and not birth.cancelled() and birth.exception() is None:
                self.kill(birth.result()[0], signal.SIGKILL)  # nobody waits for it any more
            sock.close()
            os.close(output)
            raise
        finally:
            del self._births[number]
        return Newborn(pid, sock, output, exited)

    def kill(self, pid: int, sig: int) -> None:
        """Sends a signal to a worker and all processes of its group; does nothing if it was reaped."""
        if self._zygote is not None and pid in self._workers:
            self._zygote.send(Kill(pid, sig))

    async def aclose(self, grace: float = 1.0) -> None:
        """Ends all workers and the zygote; returns when they are reaped.

        Args:
            grace: seconds from SIGTERM to SIGKILL for the workers.
        """
        if self._zygote is None:
            return
        try:
            for sig, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, _LAST_RESORT)):
                for pid in self._workers:
                    self.kill(pid, sig)
                if self._workers:
                    await asyncio.wait(self._workers.values(), timeout=patience)
        finally:
            self._zygote.hang_up()  # which kills, too
        await asyncio.wait([self.died], timeout=_LAST_RESORT)
        self._zygote.kill()
        await asyncio.shield(self.died)

    # what the zygote tells

    def _on_message(self, message: Message) -> None:
        match message:
            case Born():
                self._on_born(message)
            case Exited():
                _settle(self._workers.pop(message.pid), Exit(message.code, message.signal))
            case NotBorn():
                birth = self._births.get(message.id)
                if birth is not None and not birth.done():
                    birth.set_exception(start_failure.no_room(message.problem))
            case Begun():
                self._version = message.version
            case Ready():
                self._warn_of_threads(message.threads)
                if not self._started.done():
                    self._started.set_result(None)
            case StartFailed():
                if not self._started.done():
                    self._started.set_exception(self._failed(*message))

    def _on_born(self, message: Born) -> None:
        exited = self._workers[message.pid] = asyncio.get_running_loop().create_future()
        birth = self._births.get(message.id)
        if birth is None or birth.done():
            self.kill(message.pid, signal.SIGKILL)  # nobody waits for it any more
        else:
            birth.set_result((message.pid, exited))

    def _on_death(self, exit_: Exit) -> None:
        if not self._started.done():
            self._started.set_exception(self._ended_early(exit_))
        for birth in self._births.values():
            if not birth.done():
                birth.set_exception(start_failure.gone(exit_))
        for pid, exited in self._workers.items():
            _orphaned(pid, exited)
        self._workers.clear()
        _settle(self.died, exit_)

    def _failed(self, what: str, cause: str = "", trace: str | None = None) -> BridgeError:
        return start_failure.failed(self._recipe, what, self.output, cause=cause, trace=trace)

    def _ended_early(self, exit_: Exit) -> BridgeError:
        if self._version:
            return self._failed(f"it ended with {exit_.describe()}")
        return self._failed(f"is that a Python interpreter? It ended with {exit_.describe()}", "BAD_INTERPRETER")

    def _warn_of_threads(self, names: list[str]) -> None:
        if names:
            logger.warning(
                "importing %s starts threads, which no worker will have (%s): start them in lifespan",
                self._recipe.about,
                ", ".join(names),
            )


def _orphaned(pid: int, exited: asyncio.Future[Exit]) -> None:
    """A worker has lost its zygote, which means SIGKILL for it; the rest of its group is ours to kill.

    The number of the group is nobody else's: it is taken while the group has members, and numbers are given again only
    after all others were.
    """
    kill_group(pid, signal.SIGKILL)

    def ended() -> None:
        with suppress(ChildProcessError):  # it is our child only if we are the first process of a container
            os.waitpid(pid, os.WNOHANG)
        _settle(exited, Exit(signal=signal.SIGKILL))

    when_ended(pid, ended)


def _file(text: str) -> int:
    """A descriptor to read a text from, which may be longer than a packet."""
    fd = os.memfd_create("argument", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(text.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _settle(future: asyncio.Future[Exit], exit_: Exit) -> None:
    if not future.done():  # somebody's wait for it was cancelled, and took it along
        future.set_result(exit_)
