"""What workers run in these tests: they do what they are told, one JSON array in a line, and answer with one."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any


def prepare(argument: str) -> list[object]:
    """What a zygote without adapters holds: its argument, shortened."""
    return [len(argument), argument[:20]]


def obey(sock: socket.socket, prepared: Any) -> None:
    """Runs commands until the other end of the socket is closed."""
    with sock, sock.makefile("rwb", buffering=0) as lines:
        lines.write(json.dumps(getattr(prepared, "owners", prepared)).encode() + b"\n")
        for line in lines:
            name, *arguments = json.loads(line)
            lines.write(json.dumps(COMMANDS[name](*arguments)).encode() + b"\n")


def facts() -> dict[str, Any]:
    """What a worker finds itself to be."""
    return {
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "parent": os.getppid(),
        "threads": threading.active_count(),
        "fds": open_files(),
        "environ": dict(os.environ),
        "path": sys.path,
        "cwd": str(Path.cwd()),
        "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "sigint": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "faulthandler": faulthandler.is_enabled(),
        "oom": int(Path("/proc/self/oom_score_adj").read_text()),
        "modules": sorted(sys.modules),
        "bridge": sys.modules["bridge"].__file__,
        "prefix": sys.prefix,
    }


def open_files() -> dict[str, str]:
    """What is open, by descriptor."""
    found = {}
    for fd in list(Path("/proc/self/fd").iterdir()):
        with suppress(FileNotFoundError):  # the folder itself, which we have just read
            found[fd.name] = str(fd.readlink())
    return found


def stay(sock: socket.socket, prepared: object) -> None:
    """Does nothing, and does not even see the end of its socket."""
    signal.pause()


def spawn(leave_group: bool = False) -> int:
    """Starts a child that lasts, and ends only if it is killed."""
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", program], stdout=subprocess.PIPE, start_new_session=leave_group
    )
    assert child.stdout is not None
    child.stdout.read(1)
    CHILDREN.append(child)
    return child.pid


def ignore(number: int) -> None:
    """Makes a signal without effect."""
    signal.signal(number, signal.SIG_IGN)


def hold_gil_soon() -> None:
    """From the next command on nothing of Python runs: a C function waits for ever and holds the lock."""
    COMMANDS["hold"] = lambda: ctypes.PyDLL(None).pause()


def chatter() -> None:
    """Prints on stderr for ever, in a thread of its own."""

    def talk() -> None:
        while True:
            sys.stderr.write("x" * 100 + "\n")

    threading.Thread(target=talk, daemon=True).start()


def write(text: str) -> None:
    """Prints, by Python and by C."""
    print(text)
    os.write(2, text.encode() + b"\n")


def draw() -> list[float]:
    """Numbers nobody else should draw."""
    numbers = [random.random()]
    if "numpy" in sys.modules:
        numbers.append(float(sys.modules["numpy"].random.random()))
    return numbers


def limit(name: str) -> tuple[int, int]:
    """What the kernel allows us, and what we may allow ourselves."""
    return resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))


def path_of_bridge() -> str:
    """Where the package is that plugins import."""
    return str(importlib.import_module("bridge").__file__)


def in_other_process(method: str) -> str:
    """The same, in a process that ``multiprocessing`` starts."""
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.apply(path_of_bridge)


def crash() -> None:
    """Raises what nobody expects."""
    raise LookupError("crashed on purpose")


CHILDREN: list[subprocess.Popen[bytes]] = []
COMMANDS: dict[str, Any] = {
    "facts": facts,
    "spawn": spawn,
    "ignore": ignore,
    "hold_gil_soon": hold_gil_soon,
    "chatter": chatter,
    "write": write,
    "draw": draw,
    "limit": limit,
    "raise_limit": lambda name, value: resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value)),
    "allocate": lambda size: len(bytearray(size)),
    "in_other_process": in_other_process,
    "crash": crash,
    "exit": sys.exit,
    "exit_at_once": os._exit,
    "segfault": lambda: ctypes.string_at(0),
}
