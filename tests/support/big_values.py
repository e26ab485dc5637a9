"""Tools for large values; runs in workers of both kinds, so it uses nothing of the tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

from bridge import Adapter, tool


class Big(Adapter):
    isolation = "process"

    @tool
    def echo(self, value: Any) -> Any:
        return value

    @tool
    def kinds(self, view: memoryview, data: bytes, either: Any) -> list[Any]:
        """Types, what can be written to, and the bytes."""
        return [type(view).__name__, view.readonly, type(data).__name__, type(either).__name__, bytes(view), data]

    @tool
    def repeat(self, value: Any, times: int) -> Iterator[Any]:
        for _ in range(times):
            yield value

    @tool
    def give(self, size: int) -> bytes:
        return bytes(size)

    @tool
    def ends(self, value: Any) -> list[int]:
        """Length, first and last."""
        return [len(value), int(value[0]), int(value[-1])]

    @tool
    def keep(self, value: Any) -> int:
        """Keeps it as long as the worker lives."""
        KEPT.append(value)
        return os.getpid()

    @tool
    def pid(self) -> int:
        return os.getpid()

    @tool
    def die(self, value: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


KEPT: list[Any] = []
