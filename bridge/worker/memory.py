"""How much memory a process and those it has started take (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["tree_rss"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


def tree_rss(pid: int) -> int:
    """Bytes of resident memory; what is shared counts for each. 0 for what is gone."""
    total, found = 0, [pid]
    while found:
        folder = Path(f"/proc/{found.pop()}")
        try:
            total += int((folder / "statm").read_text("ascii").split()[1]) * _PAGE
            for task in (folder / "task").iterdir():
                found += map(int, (task / "children").read_text("ascii").split())
        except (OSError, ValueError, IndexError):
            continue  # it has ended meanwhile
    return total
