"""A process that prints and ends as plugins do: ``stdio_child.py SOCKET [JSON]``. What it does is asked for by RPC."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import fcntl
import io
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge import engines
from bridge.engines.base import Method, ServerCall, ServerOptions
from bridge.goplugin.hclog import HclogHandler
from bridge.goplugin.output import output_buffer, stdio
from bridge.goplugin.output.captured_output import CapturedOutput
from bridge.goplugin.serving import lifetime
from bridge.goplugin.serving.open_connections import has_connections

MIB = 1024 * 1024
libc = ctypes.CDLL(None)


def pattern(size: int) -> bytes:
    """Bytes in which nothing can be missing or doubled without being noticed."""
    return b"".join(b"%-63d\n" % number for number in range((size + 63) // 64))[:size]


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def burst(fd: int, size: int) -> None:
    write_all(fd, pattern(size))


def speak() -> None:
    """In every way that there is."""
    print("printed: ü")
    print("no end", end="")
    print(" of line")
    os.write(1, b"written\0\xff\n")
    libc.puts(b"put by C")
    thread = threading.Thread(target=print, args=("by a thread",))
    thread.start()
    thread.join()
    subprocess.run(["echo", "by a child"], check=True)
    sys.stdout.write("x" * 100_000 + "\n")
    print("to stderr", file=sys.stderr)
    subprocess.run(["sh", "-c", "echo by a child >&2"], check=True)


SPOKEN = (
    "printed: ü\nno end of line\n".encode()
    + b"written\0\xff\nput by C\nby a thread\nby a child\n"
    + b"x" * 100_000
    + b"\n"
)


def interleave() -> None:
    for number in range(3):
        os.write(1, b"out %d\n" % number)
        os.write(2, b"err %d\n" % number)


def grandchild() -> int:
    return subprocess.Popen(["sleep", "600"]).pid


def fork() -> None:
    """Forks a child that prints, and ends as Python programs do. Before gRPC has threads: it does not survive that."""
    pid = os.fork()
    if pid == 0:
        print("by a fork, imported")
        sys.exit()
    os.waitpid(pid, 0)


def fork_survivor(mark: Path) -> None:
    """Forks a child that prints when this process is gone."""
    parent = os.pidfd_open(os.getpid())
    if os.fork() == 0:
        select.select([parent], [], [])
        try:
            os.write(1, b"is anybody there?")
        except BrokenPipeError:
            mark.touch()
        os._exit(0)
    os.close(parent)


def fail_in_thread() -> None:
    def fail() -> None:
        raise ValueError("nobody catches this")

    thread = threading.Thread(target=fail, name="unlucky")
    thread.start()
    thread.join()


def replace_stdout() -> None:
    sys.stdout = io.StringIO()
    print("kept by its replacement")
    os.write(1, b"still captured\n")


def close_stdout() -> None:
    sys.stdout.close()
    os.write(2, b"closed\n")


def signals_of_child() -> str:
    """The signals that a child process ignores, as hexadecimal bits (proc(5))."""
    status = subprocess.run(["cat", "/proc/self/status"], check=True, capture_output=True, text=True).stdout
    return next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))


def get_stuck() -> None:
    threading.Event().wait()


ACTIONS: dict[str, Callable[..., Any]] = {
    "speak": speak,
    "burst": burst,
    "interleave": interleave,
    "print": print,
    "murmur": lambda text: print(text, end=""),
    "grandchild": grandchild,
    "fail_in_thread": fail_in_thread,
    "replace_stdout": replace_stdout,
    "close_stdout": close_stdout,
    "signals_of_child": signals_of_child,
    "get_stuck": get_stuck,
    "pause": time.sleep,
    "crash": lambda: faulthandler._sigsegv(),  # type: ignore[attr-defined]
}


class Program:
    """What is served."""

    def __init__(self, path: str, options: dict[str, Any]) -> None:
        self.path = path
        self.test = options.pop("test", False)
        self.counted = options.pop("counted", True)
        self.rules = lifetime.EndRules(**options)

    async def run(self) -> str:
        self.stdio = stdio.Stdio(capture=not self.test, connected=lambda: self._life.connected())
        self.stdio.start()
        logging.getLogger("bridge.goplugin").addHandler(HclogHandler(self.stdio.log_out))
        self._life = lifetime.Lifetime(
            self.rules,
            test=self.test,
            log_out=self.stdio.log_out,
            cleanup=Path(self.path).unlink,
            is_connected=(lambda: has_connections("unix", self.path)) if self.counted else (lambda: False),
        )
        self._life.start()
        engine = engines.serve(
            ServerOptions(max_message_bytes=MIB, max_metadata_bytes=8192, max_concurrent_streams=100)
        )
        engine.listen(f"unix:{self.path}")
        await engine.start([*self.stdio.methods(), Method("/test.Child/Do", unary=self._do)])
        os.write(self.stdio.handshake_out, b"ready\n")
        why = await self._life.wait()
        await self.stdio.stop()
        await engine.aclose(0.2)
        self._life.close()
        self.stdio.close()
        return why

    async def _do(self, rpc: ServerCall, request: bytes) -> bytes:
        name, *arguments = json.loads(request)
        if name == "end":
            if arguments:
                print(*arguments, end="")
                await self.stdio.flush()
            self._life.request("asked")
            return b"null"
        if name == "flush":
            print(*arguments, end="")
            return json.dumps(await self.stdio.flush()).encode()
        if name == "streams":
            return json.dumps(self.stdio._streams).encode()
        if name == "later":
            return json.dumps(await asyncio.to_thread(ACTIONS[arguments[0]], *arguments[1:])).encode()
        return json.dumps(ACTIONS[name](*arguments)).encode()


def unread() -> int:
    """How much is missing of what lies in the pipe when that is given back."""
    output = CapturedOutput()
    output.capture(1)
    (pump,) = output._pumps.values()
    size = fcntl.fcntl(1, fcntl.F_GETPIPE_SZ)
    with pump._turn:  # nobody reads
        write_all(1, pattern(size))
    output.release()
    while part := output.buffer.front(size):
        size -= len(part[1])
        output.buffer.discard(part[0], len(part[1]))
    return size


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def cycle(times: int) -> tuple[int, int]:
    """Captures and lives so often; how many descriptors and threads there are then."""
    for _ in range(times):
        captured = stdio.Stdio()
        captured.start()
        life = lifetime.Lifetime(log_out=captured.log_out)
        life.start()
        os.write(captured.handshake_out, b".")
        print("to nobody")
        await captured.stop()
        life.close()
        captured.close()
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join()
    return open_descriptors(), threading.active_count()


def main() -> None:
    path, options = sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    if options.pop("protect", False):
        print("printed before", end="")
        os.write(2, b"stderr is not protected\n")
        stdio.protect_stdout()
        stdio.protect_stdout()
        print(", imported")
        subprocess.run(["echo", "by a child, imported"], check=True)
        fork()
        libc.puts(b"put by C, imported")
    if options.pop("survivor", False):
        fork_survivor(Path(path + ".broke"))
    if patience := options.pop("patience", None):
        defaults = output_buffer.OutputBuffer.__init__.__kwdefaults__
        assert defaults is not None
        defaults["patience"] = patience
    if stuck := options.pop("stuck", None):
        lifetime.STUCK_LIMIT = lifetime.LOOK_INTERVAL = stuck
    if options.pop("wait", False):
        print("waiting", flush=True)
        sys.stdin.readline()
    if options.pop("unread", False):
        sys.exit(unread())
    if options.pop("cycles", False):
        once, often = asyncio.run(cycle(1)), asyncio.run(cycle(20))
        sys.exit(0 if once == often else f"first {once}, then {often}")
    if options.pop("never", False):
        return  # not by sys.exit: that flushes what C has printed
    why = asyncio.run(Program(path, options).run())
    Path(path + ".why").write_text(why)
    print("the end")


if __name__ == "__main__":
    main()
