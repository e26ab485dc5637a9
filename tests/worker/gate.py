"""An import that waits until the test goes on."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.worker.nursery import Nursery
from tests.support.waiting import until


class Gate:
    """A file that is locked for others while the gate is shut.

    Args:
        path: where the file may be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.text = f"import fcntl\nprint('waits', flush=True)\nfcntl.flock(open({str(path)!r}), fcntl.LOCK_EX)\n"
        """Of a module that passes the gate when it is imported."""

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Nobody passes meanwhile."""
        with self._path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    async def reached(self, nursery: Nursery) -> asyncio.Task[None]:
        """Begins to start a nursery; returns its start when the import stands before the gate."""
        starting = asyncio.create_task(nursery.start())
        async with asyncio.timeout(10):
            await until(lambda: nursery.output == ["waits"])
        return starting
