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
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.worker.death import Exit, kill_group
from bridge.worker.nursery_messages import Born, Exited, Fork, FromZygote, Kill, NotBorn, Ready, Setup, StartFailed
from bridge.worker.zygote_process import ZygoteProcess, when_ended

__all__ = ["Exit", "Newborn", "Nursery"]

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
    """A zygote of some adapters.

    Args:
        adapters: as ``bridge.loader.load_adapters`` takes them.
        environ: of the zygote and so of all workers; by default the server's.
        start_timeout: seconds that all imports may take.
        target: ``module:function``, called in each worker with its socket and the adapter classes.
    """

    died: asyncio.Future[Exit]
    """Set when the zygote is gone; its workers are then gone or about to be, as their ``exited`` tells. There once
    ``start`` was called."""

    def __init__(
        self,
        adapters: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        start_timeout: float = 30.0,
        target: str = "bridge.worker.agent:run",
    ) -> None:
        self._adapters = list(adapters)
        self._environ = environ
        self._start_timeout = start_timeout
        self._target = target
        self._zygote: ZygoteProcess | None = None
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

    async def start(self) -> None:
        """Starts the zygote; returns when it has imported everything. Once only.

        The thread that runs this has to live until then: the kernel takes its end for that of the server.

        Raises:
            BridgeError: FAILED_PRECONDITION, reason ``WORKER_START_FAILED``, if an import fails; its reason is in the
                metadata as ``cause``, the traceback in ``details.debug``. DEADLINE_EXCEEDED, reason
                ``WORKER_START_TIMEOUT``. FAILED_PRECONDITION, reason ``ISOLATION_UNSUPPORTED``, if this is not Linux.
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
        zygote = self._zygote = ZygoteProcess(self._environ, self._on_message, self._on_death)
        zygote.send(Setup(os.getpid(), self._adapters, self._target))
        try:
            async with asyncio.timeout(self._start_timeout):
                await self._started
        except BaseException as error:
            zygote.kill()
            await asyncio.shield(self.died)
            if isinstance(error, TimeoutError):
                raise self._timed_out() from None
            raise

    async def fork(self) -> Newborn:
        """Starts a worker.

        Raises ``BridgeError``: UNAVAILABLE, reason ``ZYGOTE_GONE``, if the zygote has died or was closed;
        RESOURCE_EXHAUSTED, reason ``WORKER_START_FAILED``, if the system has no room for another process.
        """
        if self._zygote is None or not self._zygote.is_listening:
            raise _gone()
        sock, theirs = socket.socketpair()
        output, output_write = os.pipe()
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

    def _on_message(self, message: FromZygote) -> None:
        match message:
            case Born():
                self._on_born(message)
            case Exited():
                _settle(self._workers.pop(message.pid), Exit(message.code, message.signal))
            case NotBorn():
                birth = self._births.get(message.id)
                if birth is not None and not birth.done():
                    birth.set_exception(_not_born(message.problem))
            case Ready():
                self._warn_of_threads(message.threads)
                if not self._started.done():
                    self._started.set_result(None)
            case StartFailed():
                if not self._started.done():
                    self._started.set_exception(self._failed(message.message, message.reason, message.traceback))

    def _on_born(self, message: Born) -> None:
        exited = self._workers[message.pid] = asyncio.get_running_loop().create_future()
        birth = self._births.get(message.id)
        if birth is None or birth.done():
            self.kill(message.pid, signal.SIGKILL)  # nobody waits for it any more
        else:
            birth.set_result((message.pid, exited))

    def _on_death(self, exit_: Exit) -> None:
        if not self._started.done():
            self._started.set_exception(self._failed(f"it ended with {exit_.describe()}"))
        for birth in self._births.values():
            if not birth.done():
                birth.set_exception(_gone(exit_))
        for pid, exited in self._workers.items():
            _orphaned(pid, exited)
        self._workers.clear()
        _settle(self.died, exit_)

    # what is told about it

    def _warn_of_threads(self, names: list[str]) -> None:
        if names:
            logger.warning(
                "importing %s starts threads, which no worker will have (%s): start them in lifespan",
                ", ".join(self._adapters),
                ", ".join(names),
            )

    def _failed(self, what: str, cause: str = "", trace: str | None = None) -> BridgeError:
        return BridgeError(
            Code.FAILED_PRECONDITION,
            f"a process with {', '.join(self._adapters)} cannot be started: {what}{self._last_output()}",
            reason="WORKER_START_FAILED",
            details=ErrorDetails(metadata={"cause": cause} if cause else {}, debug=trace),
        )

    def _timed_out(self) -> BridgeError:
        return BridgeError(
            Code.DEADLINE_EXCEEDED,
            f"importing {', '.join(self._adapters)} takes more than {self._start_timeout:g} seconds: do long work in "
            f"lifespan, or allow more time{self._last_output()}",
            reason="WORKER_START_TIMEOUT",
        )

    def _last_output(self) -> str:
        return "\n".join(["; its last output:", *self.output]) if self.output else ""


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


def _settle(future: asyncio.Future[Exit], exit_: Exit) -> None:
    if not future.done():  # somebody's wait for it was cancelled, and took it along
        future.set_result(exit_)


def _gone(exit_: Exit | None = None) -> BridgeError:
    how = f"has ended with {exit_.describe()}" if exit_ is not None else "is not running"
    return BridgeError(Code.UNAVAILABLE, f"the process that workers are forked from {how}", reason="ZYGOTE_GONE")


def _not_born(problem: str) -> BridgeError:
    return BridgeError(
        Code.RESOURCE_EXHAUSTED,
        f"the system starts no more processes ({problem}): raise its limits, or have fewer workers",
        reason="WORKER_START_FAILED",
    )
