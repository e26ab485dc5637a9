"""Pipes in the place of this process's stdout and stderr.

Whatever is printed there, by Python, by C or by a child process, is read by a thread, so that a tool may print while it
blocks the event loop. Code in C that prints without giving up Python's global lock has no more room than the pipe
itself, ``PIPE_BYTES``: the thread cannot run meanwhile.
"""

from __future__ import annotations

import fcntl
import io
import os
import select
import sys
import threading
from contextlib import suppress
from typing import TextIO

from bridge.goplugin.output import c_streams
from bridge.goplugin.output.output_buffer import STDERR, STDOUT, OutputBuffer

__all__ = ["CapturedOutput"]

PIPE_BYTES = 256 * 1024
"""Size of a pipe, where the system allows it. Four times as much as is usual: all pipes of a user together may have
64 MiB (``pipe-user-pages-soft`` in pipe(7)), and a host may run many plugins."""
READ_BYTES = 64 * 1024
LAST_READS = 64
"""Reads of what is left at the end: more than the pipe holds, and an end if child processes go on printing."""
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}


class CapturedOutput:
    """stdout, and perhaps stderr, of this process, captured into a buffer."""

    def __init__(self) -> None:
        self.buffer = OutputBuffer()
        self._pumps: dict[int, _Pump] = {}

    def capture(self, channel: int) -> None:
        """Puts a pipe in the place of a descriptor, unless there is one.

        What Python still has to write of what was printed before goes into the pipe, too. Raises ``OSError`` if the
        system has no descriptors left.
        """
        if channel in self._pumps:
            return
        _open_closed()
        self._pumps[channel] = _Pump(channel, self.buffer)
        _print_by_lines(channel)

    def original(self, channel: int) -> int:
        """A descriptor of what was captured: of what the host reads. No child process inherits it, and it stays open
        until ``close``."""
        return self._pumps[channel].original

    def drain(self) -> None:
        """Takes all that was printed into the buffer, at the end: from here on that does not wait for room."""
        self.buffer.hurry()
        _flush()
        for pump in self._pumps.values():
            pump.drain()

    def release(self, *, into: int | None = None) -> None:
        """Puts the originals back, and takes what is left in the pipes into the buffer.

        A child process that goes on printing into a pipe of ours gets SIGPIPE, as if we had ended.

        Args:
            into: put this descriptor in all places instead of the originals.
        """
        self.buffer.hurry()
        _flush()
        for pump in self._pumps.values():
            pump.release(pump.original if into is None else into)

    def close(self) -> None:
        """Closes the originals, after ``release``."""
        for pump in self._pumps.values():
            os.close(pump.original)
        self._pumps.clear()


class _Pump:
    """A descriptor with a pipe in its place, and the thread that reads it."""

    def __init__(self, channel: int, buffer: OutputBuffer) -> None:
        self.original = os.dup(channel)
        self._channel, self._buffer = channel, buffer
        self._turn = threading.Lock()
        """Held from reading something to having put it into the buffer, so that all stays in order."""
        self._released = os.eventfd(0)
        self._pipe, write_end = os.pipe()
        os.set_blocking(self._pipe, False)
        with suppress(OSError):  # the user's pipes have their share of memory
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        # Whatever Python has in its own buffers must not be written before this.
        os.dup2(write_end, channel)
        os.close(write_end)
        _pumps.add(self)
        self._thread = threading.Thread(target=self._run, name=f"plugin-{_NAMES[channel]}", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        with self._turn:
            for _ in range(LAST_READS):
                if not self._read():
                    break

    def release(self, target: int) -> None:
        os.dup2(target, self._channel)
        self.drain()
        os.eventfd_write(self._released, 1)
        self._thread.join()
        self.forget()

    def forget(self) -> None:
        """Closes what nobody else has."""
        _pumps.discard(self)
        os.close(self._pipe)
        os.close(self._released)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(self._released, select.POLLIN)
        while self._released not in dict(poll.poll()):
            with self._turn:
                if self._read() is None:
                    break

    def _read(self) -> bool | None:
        """Takes what is there; whether there was something, None if there never will be."""
        try:
            data = os.read(self._pipe, READ_BYTES)
        except BlockingIOError:
            return False
        self._buffer.put(self._channel, data)
        return True if data else None


_pumps: set[_Pump] = set()


def _close_in_child() -> None:
    """A forked child prints into our pipes, but must not keep them from breaking when we are gone."""
    for pump in tuple(_pumps):
        pump.forget()


os.register_at_fork(after_in_child=_close_in_child)


def _flush() -> None:
    """Has Python and C write what they still have to, as far as that works: whoever replaced a stream may have closed
    it."""
    c_streams.flush()
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except Exception:  # noqa: BLE001, S110 - it may be anything
            pass


def _print_by_lines(channel: int) -> None:
    """Has Python write what is printed at the end of each line. A stream that it had no descriptor for when it started
    is made."""
    name = _NAMES[channel]
    if getattr(sys, name) is None:
        setattr(sys, name, _text_stream(channel))
    for stream in (getattr(sys, name), getattr(sys, f"__{name}__")):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):  # it is closed
                stream.reconfigure(line_buffering=True)
    _flush()


def _text_stream(fd: int) -> TextIO:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _open_closed() -> None:
    """Opens those of the standard descriptors that are closed, so that nothing of ours gets their numbers, and nothing
    of our children's."""
    for fd in (0, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free: this one


# A process that was started without them must not open something else, such as an event loop, that we would replace.
_open_closed()
