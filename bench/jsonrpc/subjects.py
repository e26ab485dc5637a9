"""What is measured: processes that answer the same call, and how to talk to each."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.cores import Cores, on
from bench.cpu import TreeClock
from bench.jsonrpc.line import Line
from bench.servers import environment
from bench.venvs import ROOT

__all__ = ["ARGUMENTS", "SUBJECTS", "Running", "Subject"]

ARGUMENTS = b'{"text":"hello","top":5}'
"""What the tool is called with, and gives back."""

_BRIDGE, _ADAPTER = (sys.executable, "-m", "bridge"), "bench.adapters:Bench"
_STUCK = 60.0
"""Seconds after which a server is killed that does not answer its first call."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A server."""

    label: str
    command: Sequence[str]
    """``SOCKET`` in it stands for a path; without it the server speaks over its stdin and stdout."""
    framing: str = "content-length"
    method: str = "tools.call"
    aim: str = ""
    """The label of what it is compared with."""

    @property
    def is_mcp(self) -> bool:
        """Whether it wants MCP's handshake."""
        return self.method == "tools/call"

    def params(self, arguments: bytes) -> bytes:
        """The params of a call."""
        return arguments if self.method == "echo" else b'{"name":"echo","arguments":%b}' % arguments

    def result(self, arguments: bytes) -> bytes | None:
        """The text of the right result; ``None``: that depends on a library."""
        return None if self.is_mcp else arguments


_FLOOR = "asyncio + msgspec echo, socket"
_SDK = "MCP SDK, low-level server, stdio"
_SERVE = (*_BRIDGE, "serve", _ADAPTER, "--jsonrpc", "unix:SOCKET")

SUBJECTS = (
    Subject(_FLOOR, (sys.executable, "-m", "bench.jsonrpc.floor", "SOCKET")),
    Subject("bridge serve --jsonrpc, tools.call", _SERVE, aim=_FLOOR),
    Subject("bridge serve --jsonrpc, direct", _SERVE, method="echo", aim=_FLOOR),
    Subject("bridge serve --jsonrpc, lines", (*_SERVE, "--framing", "newline"), "newline", aim=_FLOOR),
    Subject("bridge stdio", (*_BRIDGE, "stdio", _ADAPTER), aim=_SDK),
    Subject(_SDK, (sys.executable, "-m", "bench.jsonrpc.mcp_sdk"), "newline", "tools/call", _SDK),
    Subject("bridge mcp, stdio", (*_BRIDGE, "mcp", _ADAPTER, "--max-inline-bytes", "0"), "newline", "tools/call", _SDK),
)

_HELLO = b'{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}'


class Running:
    """A server that has answered its first call.

    Args:
        subject: which one.
        cores: where it runs.
    """

    def __init__(self, subject: Subject, cores: Cores) -> None:
        self.subject = subject
        self._folder = Path(tempfile.mkdtemp(prefix="bench-"))
        path = self._folder / "s"
        command = [word.replace("SOCKET", str(path)) for word in subject.command]
        began = time.perf_counter()
        with (self._folder / "stderr").open("wb") as log, on(cores.servers):
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        watchdog = threading.Timer(_STUCK, self.process.kill)
        watchdog.start()
        try:
            self.line = self._connect(path)
            if subject.is_mcp:
                self._shake_hands()
            self.result = self.line.call(subject.method, subject.params(ARGUMENTS))
        except EOFError:
            raise RuntimeError(f"{subject.label} has ended: {self._last_words()}") from None
        finally:
            watchdog.cancel()
        self.ready_after = time.perf_counter() - began
        """Seconds from its start to its first answer."""
        if subject.result(ARGUMENTS) not in (None, self.result) or b"hello" not in self.result:
            raise RuntimeError(f"{subject.label} answers {self.result!r}")
        self.clock = TreeClock(self.process.pid)

    def stop(self) -> None:
        """Ends it."""
        self.line.close()
        self.process.terminate()
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self, path: Path) -> Line:
        if "SOCKET" not in " ".join(self.subject.command):
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            return Line(self.process.stdout.fileno(), self.process.stdin.fileno(), self.subject.framing)
        while self.process.poll() is None:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(path))
            except OSError:
                connection.close()
                time.sleep(0.001)
                continue
            return Line(connection.fileno(), connection.fileno(), self.subject.framing, connection)
        raise EOFError

    def _shake_hands(self) -> None:
        answer = msgspec.json.decode(self.line.call("initialize", _HELLO))
        if "tools" not in answer["capabilities"]:
            raise RuntimeError(f"{self.subject.label} has no tools: {answer}")
        self.line.say(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

    def _last_words(self) -> str:
        return (self._folder / "stderr").read_text()[-600:]
