"""The servers of the bench: how each is started, when it is ready, and what CPU it used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import google.protobuf
import grpc

from bench.cores import Cores, on
from bench.cpu import TreeClock
from bench.venvs import ROOT, python_of

__all__ = [
    "OPTIONAL",
    "STARTERS",
    "Launch",
    "Server",
    "Settings",
    "environment",
    "launch_of",
    "pyvider_python",
    "start",
]

PYVIDER = "pyvider-rpcplugin==0.5.5"
CJM = "cjm-plugin-system==0.0.28"
_COOKIE = {"PLUGIN_MAGIC_COOKIE_KEY": "BENCH_PLUGIN", "PLUGIN_MAGIC_COOKIE_VALUE": "bench", "BENCH_PLUGIN": "bench"}
_READY_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How servers are started."""

    python: str = sys.executable
    """Interpreter of the bridge and of the reference."""
    unix: bool = False
    """Unix sockets rather than TCP on loopback."""
    cores: Cores = field(default_factory=Cores)
    """Where servers and load run."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A command, and how to learn that the server it starts is ready: the address, or ``None`` so far."""

    command: list[str]
    ready: Callable[[], str | None]
    env: Mapping[str, str]
    stdout: Path


@dataclass(slots=True)
class Server:
    """A running server."""

    name: str
    process: subprocess.Popen[bytes]
    address: str
    clock: TreeClock
    ready_after: float
    """Seconds from exec to ready."""
    folder: Path
    """Its socket, ready file and output."""

    def last_words(self) -> str:
        """Whether it still runs, and the end of what it wrote to stderr."""
        code = self.process.poll()
        state = "is running" if code is None else f"has ended with {code}"
        return f"{self.name} {state}: {(self.folder / 'stderr').read_text()[-2000:] or '(nothing on stderr)'}"

    def stop(self) -> None:
        """Ends it: politely, and after five seconds not."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _listen(folder: Path, settings: Settings) -> str:
    return f"unix:{folder}/s" if settings.unix else "127.0.0.1:0"


def _from_file(path: Path) -> Callable[[], str | None]:
    def ready() -> str | None:
        return str(json.loads(path.read_text())["addresses"][0]) if path.exists() else None

    return ready


def _bare(role: str) -> Callable[[Path, Settings, str], Launch]:
    def launch(folder: Path, settings: Settings, host: str) -> Launch:
        ready = folder / "ready.json"
        command = [settings.python, "-m", "bench.bare", role, _listen(folder, settings), str(ready)]
        return Launch([*command, *([host] if host else [])], _from_file(ready), {}, folder / "stdout")

    return launch


def _bridge(*what: str) -> Callable[[Path, Settings, str], Launch]:
    def launch(folder: Path, settings: Settings, host: str) -> Launch:
        ready = folder / "ready.json"
        command = [settings.python, "-m", "bridge", *what, "--listen", _listen(folder, settings)]
        command += ["--ready-file", str(ready), *(["--host", host] if host else [])]
        return Launch(command, _from_file(ready), {}, folder / "stdout")

    return launch


def _sqlite_host(folder: Path, settings: Settings, host: str) -> Launch:
    return _bridge("host", "--store", f"sqlite:{folder / 'host.db'}")(folder, settings, "")


def _redis_host(folder: Path, settings: Settings, host: str) -> Launch:
    return _bridge("host", "--store", host.replace("unix:", "unix://", 1))(folder, settings, "")


def _redis(folder: Path, settings: Settings, host: str) -> Launch:
    binary = shutil.which("redis-server") or shutil.which(ROOT / ".tools" / "redis" / "redis-server")
    if binary is None:
        raise RuntimeError("redis-server is missing: apt-get install redis-server, or run tools/get_redis.py")
    path = folder / "redis.sock"

    def ready() -> str | None:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                return None
        return f"unix:{path}"

    # Nothing is written to disk, as in Redis' own configuration until a snapshot is due.
    command = [binary, "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    return Launch(command, ready, {}, folder / "stdout")


def pyvider_python() -> Path:
    """The interpreter with pyvider and this one's gRPC. Raises ``RuntimeError`` with pip's words if that fails."""
    return python_of("pyvider", [PYVIDER, f"grpcio=={grpc.__version__}", f"protobuf=={google.protobuf.__version__}"])


def _pyvider(folder: Path, settings: Settings, host: str) -> Launch:
    stdout = folder / "stdout"

    def ready() -> str | None:
        # core version | app version | network | address | protocol | certificate
        fields = stdout.read_text().partition("\n")[0].split("|")
        if len(fields) < 5:
            return None
        return f"unix:{fields[3]}" if fields[2] == "unix" else fields[3]

    command = [str(pyvider_python()), "-m", "bench.peers.pyvider_plugin", _listen(folder, settings)]
    return Launch(command, ready, {**_COOKIE, "PLUGIN_AUTO_MTLS": "false", "PLUGIN_LOG_LEVEL": "ERROR"}, stdout)


def _cjm(folder: Path, settings: Settings, host: str) -> Launch:
    python = python_of("cjm", [CJM])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]  # its worker wants a port it can bind; nobody else here asks for one

    def ready() -> str | None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return None
        return f"127.0.0.1:{port}"

    command = [str(python), "-m", "cjm_plugin_system.core.worker", "--module", "bench.peers.cjm_plugin"]
    command += ["--class", "EchoPlugin", "--port", str(port), "--ppid", str(os.getpid())]
    return Launch(command, ready, {}, folder / "stdout")


OPTIONAL = frozenset({"pyvider", "cjm", "bridge host, redis"})
"""Servers that need something that may be missing, from PyPI or Debian; the rest can still be measured."""
STARTERS: dict[str, Callable[[Path, Settings, str], Launch]] = {
    "bare": _bare("tool"),
    "bare host": _bare("host"),
    "bare, dials host": _bare("tool"),
    "bridge": _bridge("serve", "bench.adapters:Bench"),
    "bridge, workers": _bridge("serve", "bench.adapters:Bench", "--isolation", "process", "--workers", "2"),
    "bridge host": _bridge("host"),
    "bridge, dials host": _bridge("serve", "bench.adapters:Bench"),
    "bridge host, memory": _bridge("host"),
    "bridge host, sqlite": _sqlite_host,
    "bridge host, redis": _redis_host,
    "redis": _redis,
    "pyvider": _pyvider,
    "cjm": _cjm,
}
"""Servers by name. The folder, the settings and the address of a host (or empty) make a launch."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of what the bench starts.

    Byte code is cached, in a folder of the bench, whatever this shell says: the packages in ``site-packages`` come
    compiled, and a checkout that had to be compiled at every start would be compared with them.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    cache = ROOT / "bench" / "results" / "raw" / "pycache"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
    return {**inherited, "PYTHONPATH": paths, "PYTHONPYCACHEPREFIX": str(cache), **(extra or {})}


def launch_of(name: str, folder: Path, settings: Settings, host: str = "") -> Launch:
    """The launch of a server; makes the environment of a peer if it is missing."""
    return STARTERS[name](folder, settings, host)


def start(name: str, settings: Settings, host: str = "") -> Server:
    """Starts a server and waits until it is ready. Raises ``RuntimeError`` with its last words if it ends instead."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    launch = launch_of(name, folder, settings, host)
    log = folder / "stderr"
    with launch.stdout.open("wb") as out, log.open("wb") as err, on(settings.cores.servers):
        began = time.perf_counter()
        process = subprocess.Popen(launch.command, cwd=ROOT, env=environment(launch.env), stdout=out, stderr=err)
    while (address := launch.ready()) is None:
        if process.poll() is not None or time.perf_counter() - began > _READY_WITHIN:
            process.kill()
            process.wait()
            said = log.read_text()[-2000:]
            shutil.rmtree(folder, ignore_errors=True)
            raise RuntimeError(f"{name} did not start: {' '.join(launch.command)}\n{said}")
        time.sleep(0.001)
    took = time.perf_counter() - began
    return Server(name, process, address, TreeClock(process.pid), took, folder)
