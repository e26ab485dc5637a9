"""Runs the command line as users do: processes of their own, waits that end."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 30.0
"""Seconds that nothing takes, however slow the machine is."""
ADAPTER = Path(__file__).with_name("sample_adapter.py")


def environment(**extra: str) -> dict[str, str]:
    """Ours without any setting of a bridge, and with what the tests import."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "OTEL_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "NO_COLOR": "1", **extra}


def command(*arguments: str | Path) -> list[str]:
    """A command line of ours."""
    return [sys.executable, "-m", "bridge", *map(str, arguments)]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its output as one JSON document."""
        return json.loads(self.out)


def bridge(*arguments: str | Path, cwd: Path, stdin: str = "", **env: str) -> Done:
    """Runs a command to its end."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Lines:
    """Lines of a stream as they come, read by a thread so that waiting for one can end."""

    def __init__(self, stream: Any) -> None:
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def next(self) -> str | None:
        """The next line; ``None`` at the end, as often as it is asked for."""
        line = self._queue.get(timeout=LIMIT)
        if line is None:
            self._queue.put(None)
        return line

    def until(self, text: str) -> str:
        """The first line with a text in it; all lines up to it are gone."""
        while (line := self.next()) is not None:
            if text in line:
                return line
        raise AssertionError(f"the stream ended before {text!r}")

    def rest(self) -> list[str]:
        """All lines that are left, when the stream has ended."""
        lines = []
        while (line := self.next()) is not None:
            lines.append(line)
        self._thread.join(LIMIT)
        return lines


class Running:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out, self.err = Lines(process.stdout), Lines(process.stderr)

    def address(self) -> str:
        """Waits until it is ready; where it listens."""
        line = self.out.next()
        assert line is not None, self.err.rest()
        assert line.startswith("bridge: serving on ")
        return line.removeprefix("bridge: serving on ")

    def send(self, number: int) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(LIMIT)


@contextmanager
def running(*arguments: str | Path, cwd: Path, before: str = "", **env: str) -> Iterator[Running]:
    """Runs a server as long as the block runs; nothing is left afterwards. ``before`` is Python to run first."""
    program = f"{before}; from bridge.__main__ import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)] if before else command(*arguments),
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Running(process)
    try:
        yield server
    finally:
        process.kill()
        process.wait(LIMIT)
        server.out.rest()
        server.err.rest()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
