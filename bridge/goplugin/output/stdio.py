"""What a plugin prints, and how its host gets it: stdout and stderr are captured, and streamed by ``plugin.GRPCStdio``.

Every byte arrives in the order in which it was printed on its channel, and at most once: one stream gets it, and others
wait in line until that one is gone; with it goes what was on its way. How much is held for a host that is slow, and
when something is dropped, is said in ``output_buffer``.

What is captured is the descriptors, so that C and child processes are heard, too. Hence what C prints while it crashes,
and what a child prints after the plugin's end, goes nowhere.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import cast

from bridge.engines.base import Method, ServerCall
from bridge.errors import BridgeError, Code
from bridge.goplugin.messages import StdioData
from bridge.goplugin.output import c_streams
from bridge.goplugin.output.captured_output import CapturedOutput
from bridge.goplugin.output.dropped_output import DroppedOutput
from bridge.goplugin.output.output_buffer import STDERR, STDOUT
from bridge.goplugin.output.start_failures import tell_hosts

__all__ = ["CHUNK_BYTES", "FLUSH_TIMEOUT", "Stdio", "is_worker", "protect_stdout"]

CHUNK_BYTES = 64 * 1024
"""Most bytes of one message: far below what any host takes. Go's plugins send 1 KiB."""
FLUSH_TIMEOUT = 0.5
"""Seconds that a host has to take what was printed before the end."""

_protected: CapturedOutput | None = None
"""What ``protect_stdout`` has captured, and no ``Stdio`` has taken."""
_is_taken = False
"""Whether a ``Stdio`` has captured the output of this process."""


def is_worker() -> bool:
    """Whether multiprocessing has started this process, and imports the script of its parent here."""
    # In the parent this is another name of __main__.
    return getattr(sys.modules.get("__mp_main__"), "__name__", "") == "__mp_main__"


def protect_stdout() -> None:
    """Keeps stdout for the plugin's handshake: whatever is printed there from here on reaches the host as output of the
    plugin, once it is served, and cannot be mistaken for the handshake.

    To be called before anything is imported that might print. May be called more than once. If the process ends
    without having served, what was printed goes to stderr. Nothing is done in a process that multiprocessing has
    started, which imports the plugin's script and is none. Raises ``OSError`` if there are no descriptors left.
    """
    global _protected
    if _protected is None and not _is_taken and not is_worker():
        _protected = CapturedOutput()
        _protected.capture(STDOUT)
        atexit.register(_give_to_stderr)
        tell_hosts()


class Stdio:
    """Captures stdout and stderr of this process, and streams them.

    Args:
        capture: whether to do so; if not (for tests and debuggers), what is printed goes where it always went, also
            what was printed since ``protect_stdout``, and a host gets a stream with nothing in it.
        connected: a context in which each stream is.
    """

    def __init__(
        self, *, capture: bool = True, connected: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self.handshake_out, self.log_out = STDOUT, STDERR
        """Descriptors of the real stdout and stderr, which the host reads; from ``start`` to ``close``."""
        self._captures = capture
        self._connected = connected
        self._output: CapturedOutput | None = None
        self._turn = asyncio.Lock()
        """Held by the stream that gets what is printed."""
        self._streams = 0
        self._is_sending = False
        self._news, self._sent, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def start(self) -> None:
        """Captures, where that is wanted. Uncaught exceptions and the tracebacks of crashes go to ``log_out``.

        In a running event loop. Raises ``BridgeError`` FAILED_PRECONDITION, reason ``STDIO_TAKEN``, if the output of
        this process is captured already; ``OSError`` if there are no descriptors left.
        """
        global _protected, _is_taken
        if not self._captures:
            _give_back()
            return
        if _is_taken:
            raise BridgeError(
                Code.FAILED_PRECONDITION,
                "a plugin is served by this process already; end it first, or serve this one in test mode",
                reason="STDIO_TAKEN",
            )
        from bridge.goplugin.output.crash_reports import CrashReports

        output, _protected = _protected or CapturedOutput(), None
        try:
            output.capture(STDOUT)
            output.capture(STDERR)
        except OSError:
            output.release()
            output.close()
            raise
        self._output, _is_taken = output, True
        self.handshake_out, self.log_out = output.original(STDOUT), output.original(STDERR)
        self._crashes = CrashReports(self.log_out)
        self._loop = asyncio.get_running_loop()
        self._dropped = DroppedOutput(output.buffer)
        output.buffer.notify = self._notify
        self._look()

    def methods(self) -> list[Method]:
        """The service, for an engine."""
        return [Method("/plugin.GRPCStdio/StreamStdio", stream=self._stream, public=True)]

    async def flush(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Waits until the host has got what was printed before; whether it has.

        For the end, before a shutdown is answered, as hosts hang up when it is: from here on nobody waits who prints
        more than the host takes.
        """
        if self._output is None or self._ended.is_set():
            return True  # nothing is captured any more
        self._output.drain()
        buffer = self._output.buffer
        await self._while_sending(lambda: bool(buffer) or self._is_sending, timeout)
        return not buffer and not self._is_sending

    def give_up(self) -> None:
        """In the place of ``stop`` where no host has been told that there is a plugin: puts the descriptors back, and
        what was printed goes to stderr, where who has started the process looks for why."""
        global _is_taken
        output = self._output
        if output is None or self._ended.is_set():
            return
        self._crashes.undo()
        output.release()
        self._ended.set()
        self._dropped.close()
        output.buffer.notify = lambda: None
        _write_all(output, self.log_out)
        _is_taken = False

    async def stop(self, timeout: float = FLUSH_TIMEOUT) -> None:
        """Puts the descriptors back, gives what was printed before to the host, and ends the streams.

        Before the server is stopped. ``handshake_out`` and ``log_out`` are still open then. The second time it only
        waits.

        Args:
            timeout: seconds that the host has.
        """
        global _is_taken
        output = self._output
        if output is not None and not self._ended.is_set():
            self._crashes.undo()
            output.release()
        self._ended.set()
        self._news.set()
        await self._while_sending(lambda: True, timeout)
        if output is None or not _is_taken:
            return
        _is_taken = False
        output.buffer.notify = lambda: None
        output.buffer.drop_all()
        self._dropped.close()

    def close(self) -> None:
        """Closes ``handshake_out`` and ``log_out``, after ``stop``, when nobody writes there any more."""
        output, self._output = self._output, None
        if output is not None:
            output.close()
            self.handshake_out, self.log_out = STDOUT, STDERR

    async def _stream(self, rpc: ServerCall, request: bytes) -> None:
        self._streams += 1
        try:
            with self._connected():
                await _reach(rpc.start())  # there are hosts that wait for it
                if self._output is None:
                    await self._ended.wait()
                    return
                async with self._turn:
                    await self._send(rpc, self._output)
        finally:
            self._streams -= 1
            self._sent.set()

    async def _send(self, rpc: ServerCall, output: CapturedOutput) -> None:
        """Sends what is printed, until the end."""
        buffer = output.buffer
        buffer.claim(True)
        try:
            c_streams.print_by_lines()
            while True:
                while part := buffer.front(CHUNK_BYTES):
                    channel, data = part
                    # Before it is sent, as nobody can tell of what was cut off whether it has arrived.
                    buffer.discard(channel, len(data))
                    self._is_sending = True
                    message = StdioData(channel=cast("StdioData.Channel", channel), data=data)
                    await _reach(rpc.write(message.SerializeToString()))
                    self._is_sending = False
                    self._sent.set()
                if self._ended.is_set():
                    return
                self._news.clear()
                await self._news.wait()
        finally:
            self._is_sending = False
            buffer.claim(False)

    async def _while_sending(self, condition: Callable[[], bool], timeout: float) -> None:
        """Waits while something is so and there are streams."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._streams and condition():
                    self._sent.clear()
                    await self._sent.wait()

    def _notify(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._news.set()
        if not self._ended.is_set():
            self._dropped.look()


async def _reach(host: Awaitable[None]) -> None:
    """Waits until something is sent. Raises ``BridgeError`` CANCELLED if nobody takes it any more."""
    try:
        await host
    except Exception as error:  # whatever an engine raises here
        raise BridgeError(Code.CANCELLED, "the host is gone", reason="CLIENT_GONE") from error


def _forget_in_child() -> None:
    global _protected
    _protected = None


os.register_at_fork(after_in_child=_forget_in_child)


def _give_back() -> None:
    """Ends the protection of stdout; what was printed goes there."""
    _end_protection(STDOUT, None)


def _give_to_stderr() -> None:
    """Ends the protection of stdout at the end of a process that has not served; what was printed goes to stderr, as a
    host may still wait for a handshake on stdout."""
    _end_protection(STDERR, STDERR)


def _end_protection(target: int, into: int | None) -> None:
    global _protected
    output, _protected = _protected, None
    if output is None:
        return
    output.release(into=into)
    _write_all(output, target)
    output.close()


def _write_all(output: CapturedOutput, target: int) -> None:
    with suppress(OSError):  # nobody reads it any more
        while part := output.buffer.front(CHUNK_BYTES):
            output.buffer.discard(part[0], os.write(target, part[1]))
