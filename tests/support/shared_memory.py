"""Memory as other processes may send it, good and bad, and what this process has mapped."""

from __future__ import annotations

import fcntl
import gc
import os
import re
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.runtime.shared import Lent

__all__ = ["GOOD_SEALS", "mapped", "memory_files", "memory_with", "nothing_mapped", "sealed"]

GOOD_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@pytest.fixture(autouse=True)
def nothing_mapped() -> None:
    """For modules that import it: what failed tests have left in circles is gone before each test."""
    if mapped():
        gc.collect()


def memory_with(*buffers: bytes) -> tuple[int, int, list[bytes]]:
    """Descriptor, size and handles of memory as it should be."""
    lent = Lent(2**40)
    handles = [lent.lend(buffer) for buffer in buffers]
    return lent.write(), lent.size, handles


def sealed(content: bytes, seals: int = GOOD_SEALS, *, size: int | None = None) -> int:
    """A memfd by hand."""
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    os.ftruncate(fd, len(content) if size is None else size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def mapped(pid: int | str = "self") -> int:
    """How many of such memories a process has mapped."""
    return len(re.findall(r"/memfd:bridge\b", Path(f"/proc/{pid}/maps").read_text()))


def memory_files(pid: int | str = "self") -> int:
    """How many of such memories a process has open."""
    count = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor that lists them
            count += str(file.readlink()).startswith("/memfd:bridge")
    return count
