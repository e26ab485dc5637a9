"""Processes that are not our children, and how they are seen to end."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

GONE_WITHIN = 2.0
"""Seconds until nothing may be left of a server that was killed."""


class Watched:
    """Processes, those of which ran when this was made."""

    def __init__(self, pidfds: dict[int, int]) -> None:
        self._pidfds = pidfds

    def left(self, seconds: float = GONE_WITHIN) -> list[int]:
        """Waits until all have ended, or so long; those that run."""
        pending = {fd: pid for pid, fd in self._pidfds.items()}
        poll = select.poll()
        for fd in pending:
            poll.register(fd, select.POLLIN)
        while pending:
            ended = poll.poll(seconds * 1000)
            if not ended:
                break
            for fd, _ in ended:
                poll.unregister(fd)
                del pending[fd]
        return sorted(pending.values())


@contextmanager
def watched(pids: Iterable[int]) -> Iterator[Watched]:
    """Holds on to processes, so that their numbers are theirs as long as the block runs."""
    with ExitStack() as stack:
        pidfds = {}
        for pid in pids:
            try:
                pidfds[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, pidfds[pid])
        yield Watched(pidfds)


def children(pid: int) -> list[int]:
    """Processes of which one is the parent, zombies included."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def oom_score_adj() -> int:
    """Ours."""
    return int(Path("/proc/self/oom_score_adj").read_text())


def open_files(pid: int | str = "self") -> int:
    """How many descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
