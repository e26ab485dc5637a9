"""A real redis-server for tests: a process of our own, its data in a folder, so that it can be killed and come back.

Its methods block for some tens of milliseconds; in a coroutine ``await asyncio.to_thread(server.restart)`` keeps the
event loop running meanwhile.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

__all__ = ["RedisServer", "redis_binary"]

_FETCHED = Path(__file__).parents[2] / ".tools" / "redis" / "redis-server"
_ATTEMPTS = 5
_PORTS = range(20_000, 32_000)
"""Below the ports that systems give to outgoing connections (Linux: ip_local_port_range, from 32768), because one of
those could take the port while the server is down, even a connection that is on its way to the server itself."""


def redis_binary() -> str:
    """The redis-server on PATH, or the one that ``tools/get_redis.py`` fetched."""
    found = shutil.which("redis-server") or shutil.which(_FETCHED)
    if found is None:
        raise FileNotFoundError("no redis-server: install Debian's package redis-server, or run tools/get_redis.py")
    return found


class RedisServer:
    """A redis-server that writes down every command before it answers, so what it acknowledged outlives it.

    Args:
        folder: where its data, its log and its Unix socket are; made if it is not there.
        tcp: also listen on a port of 127.0.0.1, for what a Unix socket cannot show.
        tls: encrypt on that port: the files of a certificate, its key, and the authority.
        password: what clients must say; empty: nothing.
        options: further arguments of redis-server, such as ``--maxmemory 2mb``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tcp: bool = False,
        tls: tuple[Path, Path, Path] | None = None,
        password: str = "",
        options: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._socket = folder / "redis.sock"
        self._tcp = tcp or tls is not None
        self._tls = tls
        self._port = 0
        self._password = password
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address: ``redis://`` with ``tcp``, ``rediss://`` with ``tls``, else ``unix://``; with the password."""
        secret = f":{self._password}@" if self._password else ""
        if not self._tcp:
            return f"unix://{secret}{self._socket}"
        return f"{'rediss' if self._tls else 'redis'}://{secret}127.0.0.1:{self._port}/0"

    @property
    def port(self) -> int:
        """Its port of 127.0.0.1; 0 without ``tcp``."""
        return self._port

    @property
    def log(self) -> str:
        """What it wrote about itself."""
        path = self._folder / "redis.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Starts it and returns when it answers. It keeps its address and its data from one start to the next."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tries = 1 if self._port or not self._tcp else _ATTEMPTS
        for _ in range(tries):
            if tries > 1:
                self._port = random.choice(_PORTS)
            self._spawn()
            if self._is_ready():
                return
        raise RuntimeError(f"redis-server did not start:\n{self.log}")

    def stop(self) -> None:
        """Lets it end in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def kill(self) -> None:
        """Ends it as a crash does (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def ask(self, *command: str) -> object:
        """What it says to a command."""
        with redis.Redis.from_url(self.url) as client:
            return client.execute_command(*command)

    def all_keys(self) -> list[str]:
        """All keys of its first database."""
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            return sorted(client.scan_iter())

    def freeze(self) -> None:
        """Lets it answer nobody, as a machine that hangs does, until ``thaw``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self, *, crash: bool = False) -> None:
        """Ends it, by a crash if asked, and starts it again with its data."""
        if crash:
            self.kill()
        else:
            self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # There is nothing left to save, and a server that is being debugged or has hung must not stop the tests.
        self.kill()

    def _spawn(self) -> None:
        self._socket.unlink(missing_ok=True)
        settings = {
            "port": "0" if self._tls else str(self._port),
            "bind": "127.0.0.1",
            "unixsocket": str(self._socket),
            "dir": str(self._folder),
            "logfile": "redis.log",
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        }
        if self._password:
            settings["requirepass"] = self._password
        if self._tls:
            files = map(str, self._tls)
            settings |= zip(("tls-cert-file", "tls-key-file", "tls-ca-cert-file"), files, strict=True)
            settings |= {"tls-port": str(self._port), "tls-auth-clients": "no"}
        arguments = [part for key, value in settings.items() for part in (f"--{key}", value)]
        self._process = subprocess.Popen(
            [redis_binary(), *arguments, *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
        )

    def _is_ready(self) -> bool:
        """Asks until it answers; ``False`` if it ended instead."""
        assert self._process is not None
        end = time.monotonic() + 10
        while self._process.poll() is None:
            if self._answers():
                return True
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"redis-server did not answer within 10 s:\n{self.log}")
            time.sleep(0.005)  # between two questions; what ends the wait is the answer
        self._process = None
        return False

    def _answers(self) -> bool:
        """Whether it takes commands: a server that still loads its data says LOADING."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
