"""A zygote as its server has it: a process, a socket to it, and what it prints."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from bridge.worker.death import Exit, kill_group
from bridge.worker.nursery_messages import MAX_PACKET, FromNursery, FromZygote, read_from_zygote, write

__all__ = ["ZygoteProcess", "when_ended"]

_OUTPUT_KEPT = 16384
"""Bytes of what it has printed last."""
_OUTPUT_SHOWN = 20
"""Lines of that."""

_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from bridge.worker.zygote import main; main(int(sys.argv[1]))"


class ZygoteProcess:
    """Starts a zygote of this very interpreter, with the same search path and working directory.

    Needs a running event loop. Raises ``OSError`` if the system starts no process.

    Args:
        environ: its environment; by default ours.
        on_message: called with each message of it.
        on_death: called once, when it is gone and reaped and its last message was told.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None,
        on_message: Callable[[FromZygote], None],
        on_death: Callable[[Exit], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_death = on_death
        self._outbox: deque[tuple[bytes, Sequence[int]]] = deque()
        self._printed = b""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        output, output_write = os.pipe()
        self._output = open(output, "rb", buffering=0)  # noqa: PTH123, SIM115 - as long as the process
        try:
            self._process = _start(theirs.fileno(), output_write, environ)
        except BaseException:
            self._control.close()
            self._output.close()
            raise
        finally:
            theirs.close()
            os.close(output_write)
        self._control.setblocking(False)
        os.set_blocking(output, False)
        self._loop.add_reader(self._control, self._read_control)
        self._loop.add_reader(output, self._read_output)
        when_ended(self.pid, self._ended)

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

    def send(self, message: FromNursery, *fds: int) -> None:
        """Sends a message. The descriptors belong to this call, which closes them when they are on their way."""
        if not self.is_listening:
            _close_all(fds)
            return
        self._outbox.append((write(message), fds))
        if len(self._outbox) == 1:
            self._flush()

    def kill(self) -> None:
        """SIGKILL for it and what its imports have started; its workers follow it."""
        if self._process.returncode is None:
            kill_group(self.pid, signal.SIGKILL)

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
        while self._outbox:
            packet, fds = self._outbox[0]
            try:
                socket.send_fds(self._control, [packet], fds)
            except BlockingIOError:
                self._loop.add_writer(self._control, self._flush)
                return
            except ConnectionError:
                pass  # it is gone, as its process tells
            self._outbox.popleft()
            _close_all(fds)
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
            self._on_message(read_from_zygote(packet))

    def _read_output(self) -> None:
        """Takes what it prints, so that it never has to wait."""
        while not self._output.closed:
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

    def ended() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        then()

    loop.add_reader(pidfd, ended)


def _start(control: int, output: int, environ: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", _PROGRAM, str(control), *sys.path],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=None if environ is None else dict(environ),
        pass_fds=[control],
        start_new_session=True,  # Ctrl-C and the end of a terminal are for the server
    )


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
