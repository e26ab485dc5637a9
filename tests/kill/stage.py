"""The stage of the kill tests: a host with a file, a server, and two clients, one of which may be killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.kill.processes import Call, ClientProcess, ServerProcess, Signs, Usage, family, until, usage

__all__ = ["Stage", "adapters", "plugins"]

STANDING = Path(__file__).with_name("standing.py")


def adapters(folder: Path) -> Sequence[str]:
    """What a server is given to serve the tools in forks of its own interpreter."""
    module = "tests.kill.standing"
    return [f"{module}:Standing", f"{module}:Alone", "--isolation", "process", "--workers", "1", "--queue-size", "1"]


def plugins(folder: Path) -> Sequence[str]:
    """What it is given to serve them as plugins."""
    shutil.copy(STANDING, folder / "standing.py").chmod(0o600)
    for name, isolation in (("Standing", "process"), ("Alone", "call")):
        file = folder / f"{name}.toml"
        file.write_text(
            f'name = "{name}"\nadapter = "standing.py:{name}"\nisolation = "{isolation}"\n'
            'env.allow = ["KILL_SIGNS", "TMPDIR"]\nlimits.workers = 1\nlimits.queue_size = 1\n'
        )
        file.chmod(0o600)
    return ["Standing.toml", "Alone.toml"]


class Stage:
    """Processes, of which one is killed at a time, and what they hold.

    Args:
        folder: where everything is, empty.
        served: arguments of the server that say what it serves.
    """

    def __init__(self, folder: Path, served: Sequence[str]) -> None:
        for name in ("signs", "tmp", "run"):
            (folder / name).mkdir()
        self.signs = Signs(folder / "signs")
        self._folder = folder
        env = {"KILL_SIGNS": str(self.signs.folder), "TMPDIR": str(folder / "tmp")}
        run = folder / "run"
        host = ("host", f"{STANDING}:OnHost", "--store", f"sqlite:{run / 'store.db'}")
        self.host = ServerProcess(*host, address=f"unix:{run / 'host'}", folder=folder, env=env)
        server = ("serve", *served, "--host", self.host.address)
        self.server = ServerProcess(*server, address=f"unix:{run / 'server'}", folder=folder, env=env)
        self.client = ClientProcess(self.server.address, self.host.address, env)
        self.other = ClientProcess(self.server.address, self.host.address, env)
        """The one that is never killed."""
        self.session = ""

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts all of them; returns when everything has worked once."""
        for one in (self.host, self.server, self.client, self.other):
            one.start()
        self.host.ready()
        self.server.ready()
        self.session = self.other.order("open").value()
        self.check()

    def restart(self, name: str) -> None:
        """Starts one that was killed; returns when all of it works again."""
        one: ServerProcess | ClientProcess = getattr(self, name)
        one.bury()
        one.start()
        one.ready()

    def close(self) -> None:
        """Ends all of them; nothing is left."""
        for one in (self.client, self.other, self.server, self.host):
            one.bury()

    # -- use -----------------------------------------------------------------------------------------------------

    def call(self, tool: str, key: str, *, by: ClientProcess | None = None, do: str = "call", **arguments: Any) -> Call:
        """Has a client call a tool in the session."""
        order = {"tool": tool, "session": self.session, "arguments": {"key": key, **arguments}}
        return (by or self.client).order(do, **order)

    def write(self, name: str, value: Any) -> int:
        """Has the other client write a variable; its version, when the write is acknowledged."""
        version: int = self.other.order("set", session=self.session, name=name, value=value).value()
        return version

    def read(self, *names: str) -> dict[str, Any]:
        """What these variables are; those that are not there are left out."""
        values: dict[str, Any] = self.other.order("get", session=self.session, names=names).value()
        return values

    def check(self) -> None:
        """All ways that calls can take are free."""
        for client in (self.client, self.other):
            client.ready()
        until(self._knows_host, "the other client's way to the host")
        key = f"check{len(self.signs.names())}"
        self.signs.make(f"{key} may go on")
        until(lambda: self._works(key), "a call that needs everything")
        calls = [self.call(tool, key) for tool in ("works_alone", "asks")]
        stream = self.call("counts", key, do="stream")
        assert [call.value() for call in calls] == ["worked", "stood"]
        assert (stream.value(), stream.chunks) == ("end", [0, 1, 2, 3, 4, 5])

    def _knows_host(self) -> bool:
        reason = self.other.order("get", session=self.session, names=["any"]).reason()
        assert reason in ("", "UNAVAILABLE NOT_CONNECTED"), reason
        return not reason

    def _works(self, key: str) -> bool:
        """Whether a call succeeds. It may not while the server has not noticed that the host is back."""
        assert isinstance(self.other.order("repeat", tool="pid").value(), int)
        reason = self.call("works", key).reason()
        assert reason in ("", "UNAVAILABLE HOST_UNAVAILABLE"), reason
        return not reason

    # -- what is seen --------------------------------------------------------------------------------------------

    @property
    def pids(self) -> list[int]:
        """The processes that this has started."""
        return [self.host.pid, self.server.pid, self.client.pid, self.other.pid]

    def states(self) -> dict[int, str]:
        """All processes, those that they have started, too, with their states."""
        return family(self.pids)

    def usage(self) -> dict[int, Usage]:
        """What each process holds."""
        held = {}
        for pid in self.states():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                held[pid] = usage(pid)
        return held

    def files(self) -> set[str]:
        """Temporary files, sockets, and those of the store."""
        return {str(path) for name in ("tmp", "run") for path in (self._folder / name).rglob("*")}

    def rest(self) -> dict[int, Usage]:
        """What each process holds when nothing is going on: those that were made for one call are gone."""
        until(lambda: not any(self.signs.has(f"alone {pid}") for pid in self.states()), "the end of all calls")
        return self.usage()

    def named_memory(self) -> list[str]:
        """What the processes have of memory that has a name, and would be left behind in its folder."""
        found = []
        for pid in self.states():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                found += [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/dev/shm/" in line]
                found += [path for path in map(os.readlink, Path(f"/proc/{pid}/fd").iterdir()) if "/dev/shm/" in path]
        return found
