"""A zygote as its server has it: a process, a socket to it, and what it prints."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from bridge.runtime.death import Exit, kill_group
from bridge.runtime.zygote_messages import MAX_PACKET, Message, read, write
from bridge.worker.forked import Forked, take
from bridge.worker.memory import tree
from bridge.worker.pipes import open_pipes
from bridge.worker.recipe import Recipe, command, environment
from bridge.worker.spawner import spawn

__all__ = ["ZygoteProcess", "when_ended"]

_OUTPUT_KEPT = 16384
"""Bytes of what it has printed last."""
_OUTPUT_SHOWN = 100
"""Lines of that."""
_OUTPUT_READS = 64
"""Reads of it at once: more than a pipe holds, and an end if it goes on writing."""
_ROOM_AGAIN = 0.05
"""Seconds until it is tried again what the system had no room for."""


class ZygoteProcess:
    """A process that ``start`` has started.

    Args:
        process: the process.
        control: our end of its socket.
        output: read end of what it prints to.
        on_message: called with each message of it.
        on_death: called once, when it is gone and reaped and its last message was told.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes] | Forked,
        control: socket.socket,
        output: int,
        on_message: Callable[[Message], None],
        on_death: Callable[[Exit], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._control = control
        self._output = open(output, "rb", buffering=0)  # noqa: SIM115 - as long as the process
        self._on_message = on_message
        self._on_death = on_death
        self._outbox: deque[tuple[bytes, Sequence[int]]] = deque()
        self._printed = b""
        control.setblocking(False)
        os.set_blocking(output, False)
        self._loop.add_reader(control, self._read_control)
        self._loop.add_reader(output, self._read_output)
        when_ended(self.pid, self._ended)

    @classmethod
    async def start(
        cls, recipe: Recipe, on_message: Callable[[Message], None], on_death: Callable[[Exit], None]
    ) -> ZygoteProcess:
        """Starts a process, or takes one that was forked for this; nothing of it is left if this is cancelled.

        Raises ``OSError`` if the interpreter cannot be run, or the system starts no process.
        """
        if (forked := take(recipe)) is not None:
            return cls(forked, forked.control, forked.output, on_message, on_death)
        control, theirs, output, output_write = open_pipes(socket.SOCK_SEQPACKET)
        try:
            process = await _started(partial(_start, recipe, theirs.fileno(), output_write))
        except BaseException:
            control.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(output_write)
        return cls(process, control, output, on_message, on_death)

    @property
    def pid(self) -> int:
        """Its process id, and the number of its group."""
        return self._process.pid

    @property
    def is_listening(self) -> bool:
        """Messages can be sent."""
        return self._control.fileno() >= 0

    @property
    def output(self) -> list[str]:
        """The last lines it has printed."""
        self._read_output()
        return self._printed.decode(errors="replace").splitlines()[-_OUTPUT_SHOWN:]

    def send(self, message: Message, *fds: int) -> None:
        """Sends a message. The descriptors belong to this call, which closes them when they are on their way."""
        if not self.is_listening:
            _close_all(fds)
            return
        self._outbox.append((write(message), fds))
        if len(self._outbox) == 1:
            self._flush()

    def kill(self) -> None:
        """SIGKILL for it and all that it has started, in whatever group."""
        if self._process.returncode is None:
            processes = list(tree(self.pid))
            kill_group(self.pid, signal.SIGKILL)
            for pid in processes:
                _kill(pid)

    def hang_up(self) -> None:
        """Closes the socket, upon which it kills its workers and ends."""
        if self.is_listening:
            self._loop.remove_reader(self._control)
            self._loop.remove_writer(self._control)
            self._control.close()
        while self._outbox:
            _close_all(self._outbox.popleft()[1])

    def _ended(self) -> None:
        self._read_control()  # its last words
        self._read_output()
        self.kill()  # what its imports have started
        returncode = self._process.wait()
        self.hang_up()
        if not self._output.closed:
            self._loop.remove_reader(self._output)
            self._output.close()
        self._on_death(Exit.from_returncode(returncode))

    def _flush(self) -> None:
        while self._outbox:  # empty, too, after a hang-up
            packet, fds = self._outbox[0]
            try:
                socket.send_fds(self._control, [packet], fds)
            except BlockingIOError:
                self._loop.add_writer(self._control, self._flush)
                return
            except ConnectionError:
                pass  # it is gone, as its process tells
            except OSError:  # the system has too many descriptors on their way
                self._loop.call_later(_ROOM_AGAIN, self._flush)
                return
            self._outbox.popleft()
            _close_all(fds)
        if self.is_listening:
            self._loop.remove_writer(self._control)

    def _read_control(self) -> None:
        while self.is_listening:
            try:
                packet = self._control.recv(MAX_PACKET)
            except BlockingIOError:
                return
            except ConnectionError:
                packet = b""
            if not packet:
                self._loop.remove_reader(self._control)  # the end of the process comes next
                return
            try:
                self._on_message(read(packet))
            except ValueError:  # something that was imported writes on descriptors it did not open
                self.kill()

    def _read_output(self) -> None:
        """Takes what it prints, so that it never has to wait."""
        for _ in range(_OUTPUT_READS):
            if self._output.closed:
                return
            data = self._output.read(65536)
            if data is None:  # nothing at the moment
                return
            if not data:
                self._loop.remove_reader(self._output)
                self._output.close()
            self._printed = (self._printed + data)[-_OUTPUT_KEPT:]


def when_ended(pid: int, then: Callable[[], None]) -> None:
    """Has the running loop call ``then`` when a process has ended, be it reaped or not."""
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        loop.call_soon(then)
        return
    except OSError:  # no descriptor is left
        loop.call_later(_ROOM_AGAIN, when_ended, pid, then)
        return

    def ended() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        then()

    loop.add_reader(pidfd, ended)


async def _started(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    starting = asyncio.wrap_future(spawn(start))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_undo)
        await asyncio.wait([starting])  # which takes no longer than the exec of a program
        raise


def _undo(starting: asyncio.Future[subprocess.Popen[bytes]]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().kill()
        starting.result().wait()


def _start(recipe: Recipe, control: int, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - an interpreter that its owner has named, and our own program
        command(recipe, control),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment(recipe),
        cwd=recipe.cwd,
        pass_fds=[control],
        start_new_session=True,  # Ctrl-C and the end of a terminal are for the server
    )


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or took another user's identity


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
