"""Processes, those they have started, and the memory they take (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["is_running", "tree", "tree_rss"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


def is_running(pid: int) -> bool:
    """Whether a process is there that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def tree(pid: int) -> Iterator[int]:
    """A process and all that it and they have started, as far as they live."""
    found = [pid]
    while found:
        parent = found.pop()
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text("ascii").split())
        except (OSError, ValueError):
            continue  # it has ended meanwhile
        yield parent


def tree_rss(pid: int) -> int:
    """Bytes of resident memory; what is shared counts for each. 0 for what is gone."""
    total = 0
    for process in tree(pid):
        try:
            total += int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * _PAGE
        except (OSError, ValueError, IndexError):
            continue  # it has ended meanwhile
    return total
