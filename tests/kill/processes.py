"""Processes that can be killed and come back, and what can be seen of them from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.cli.running import LIMIT, Running, environment, running
from tests.support.shared_memory import mapped
from tests.worker.pids import open_files

__all__ = ["Call", "ClientProcess", "ServerProcess", "Signs", "Usage", "family", "until", "usage"]

SOON = 20.0
"""Seconds in which everything happens that is waited for."""


def until(condition: Callable[[], object], what: str) -> None:
    """Returns when a condition is true."""
    end = time.monotonic() + SOON
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come about in {SOON:g} s")
        time.sleep(0.002)


class Signs:
    """Files by which tools and tests tell each other how far they are.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def come(self, name: str) -> int:
        """Waits for one; the process that made it."""
        until(lambda: self.has(name), f"the sign {name!r}")
        return int((self.folder / name).read_text())

    def has(self, name: str) -> bool:
        """Whether it has come."""
        return (self.folder / name).exists()

    def make(self, name: str) -> None:
        """Gives one to tools."""
        (self.folder / name).touch()

    def names(self) -> set[str]:
        """Those that are there."""
        return {path.name for path in self.folder.iterdir()}


# -- what is started -------------------------------------------------------------------------------------------------


class ServerProcess:
    """``bridge serve`` or ``bridge host``.

    Args:
        arguments: of the command, without the address.
        address: where it listens, each time.
        folder: where it runs.
        env: variables of its environment.
    """

    def __init__(self, *arguments: str | Path, address: str, folder: Path, env: dict[str, str]) -> None:
        self.address = address
        self._arguments, self._folder, self._env = arguments, folder, env
        self._stack = ExitStack()
        self._running: Running | None = None

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.process.pid

    def start(self) -> None:
        """Starts it; ``ready`` returns when it listens."""
        arguments = (*self._arguments, "--listen", self.address)
        self._running = self._stack.enter_context(running(*arguments, cwd=self._folder, **self._env))

    def ready(self) -> None:
        assert self._running is not None
        self._running.address()

    def bury(self) -> None:
        """Reaps it when it was killed; kills it if it was not."""
        self._stack.close()


class Call:
    """An order to a client, and what has come of it."""

    def __init__(self) -> None:
        self.chunks: list[Any] = []
        self._outcome: dict[str, Any] | None = None

    def note(self, value: Any = None, **fields: Any) -> None:
        if "chunk" in fields:
            self.chunks.append(fields["chunk"])
        else:
            self._outcome = {"value": value, **fields}

    @property
    def is_over(self) -> bool:
        return self._outcome is not None

    def outcome(self) -> dict[str, Any]:
        """What it has ended with; waits for that."""
        until(lambda: self.is_over, "the end of a call")
        assert self._outcome is not None
        return self._outcome

    def value(self) -> Any:
        """Its value; it must not have failed."""
        outcome = self.outcome()
        assert "error" not in outcome, outcome
        return outcome["value"]

    def reason(self) -> str:
        """Why it failed: code and reason."""
        error = self.outcome().get("error")
        return "" if error is None else f"{error[0]} {error[1]}".strip()


class ClientProcess:
    """A client that does what it is told.

    Args:
        server: its address.
        host: the address of the host.
        env: variables of its environment.
    """

    def __init__(self, server: str, host: str, env: dict[str, str]) -> None:
        self._arguments, self._env = [server, host], env
        self._process: subprocess.Popen[str] | None = None
        self._calls: dict[int, Call] = {}

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it; it takes orders at once."""
        program = [sys.executable, str(Path(__file__).with_name("client.py")), *self._arguments]
        self._process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(**self._env)
        )
        self._calls = {}
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout, self._calls), daemon=True)
        self._reader.start()

    def ready(self) -> None:
        """Returns when it is connected."""
        self.order("ready").value()

    def order(self, do: str, **order: Any) -> Call:
        """Has it do something."""
        assert self._process is not None
        assert self._process.stdin is not None
        number = len(self._calls)
        call = self._calls[number] = Call()
        print(json.dumps({"number": number, "do": do, **order}), file=self._process.stdin, flush=True)
        return call

    def bury(self) -> None:
        """Reaps it when it was killed; kills it if it was not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT)
            self._reader.join(LIMIT)
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                with suppress(BrokenPipeError):
                    stream.close()

    @staticmethod
    def _read(stream: Any, calls: dict[int, Call]) -> None:
        for line in stream:
            fields = json.loads(line)
            calls[fields.pop("number")].note(**fields)


# -- what is seen ----------------------------------------------------------------------------------------------------


class Usage(NamedTuple):
    """What a process holds."""

    files: int
    threads: int
    memory: int
    """Shared memories."""

    def within(self, other: Usage) -> bool:
        """Whether it is not more than that."""
        return all(mine <= theirs for mine, theirs in zip(self, other, strict=True))


def usage(pid: int) -> Usage:
    """What a process holds right now."""
    return Usage(open_files(pid), sum(1 for _ in Path(f"/proc/{pid}/task").iterdir()), mapped(pid))


def family(pids: Iterable[int]) -> dict[int, str]:
    """Processes and all that they have started, whichever of their threads did it; each with its state, as in
    ``/proc``: ``Z`` is a zombie."""
    found: dict[int, str] = {}
    ahead = list(pids)
    while ahead:
        pid = ahead.pop()
        try:
            found[pid] = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            for thread in Path(f"/proc/{pid}/task").iterdir():
                ahead += map(int, (thread / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it, or one of its threads, has just ended
    return found
