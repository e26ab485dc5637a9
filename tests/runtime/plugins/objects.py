"""Classes that know nothing of the bridge, for any Python."""

# ruff: noqa: UP006, UP035, UP045 - as people write for old Pythons

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Dict, Generator, Iterator, Optional


class Plain:
    """The smallest."""

    LIMIT = 3

    def __init__(self) -> None:
        self.calls = 0

    @property
    def state(self) -> str:
        return "fine"

    def count(self) -> int:
        """Counts its calls."""
        self.calls += 1
        return self.calls

    async def count_later(self, by: int = 1) -> int:
        await asyncio.sleep(0)
        self.calls += by
        return self.calls

    def numbers(self, n: int) -> Iterator[int]:
        yield from range(n)

    async def numbers_later(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    def spread(self, first, *rest, last=0, **more):
        return [first, list(rest), last, more]

    def opaque(self, thing: object, missing: NotThere = None) -> Any:  # type: ignore[name-defined]  # noqa: F821
        return [thing, missing]

    def deferred(self) -> Any:
        return self.count_later()

    def _hidden(self) -> None: ...

    @classmethod
    def make(cls) -> Plain:
        return cls()

    @staticmethod
    def help() -> str:
        return ""


class Marked:
    """Only what is marked is a tool."""

    def not_a_tool(self) -> None: ...


class Whisper:
    """Made like a plugin of cjm-plugin-system, and knows what was done to it."""

    name = "whisper"
    version = "1.2.3"

    def __init__(self) -> None:
        self.done: list = []
        self.config: dict = {}
        self._progress = 0.0
        self.asked_to_cancel = False

    def initialize(self, config: Optional[Dict[str, Any]] = None) -> None:
        if config and config.get("model") == "missing":
            raise FileNotFoundError("there is no such model")
        self.config = dict(config or {})
        self.done.append("initialize")

    def get_config_schema(self) -> Dict[str, Any]:
        return {"type": "object", "properties": {"model": {"type": "string"}}}

    def get_current_config(self) -> Dict[str, Any]:
        return self.config

    def reconfigure(self, old: Dict[str, Any], new: Dict[str, Any]) -> None:
        self.done.append(["reconfigure", old, new])
        self.config = new

    def prefetch(self) -> None:
        self.report_progress(0.5, "loading")
        self.done.append("prefetch")

    def on_disable(self) -> None:
        self.done.append("disable")

    def on_enable(self) -> None:
        self.done.append("enable")

    def cleanup(self) -> None:
        self.done.append("cleanup")
        print("cleaned up")

    def cancel(self) -> None:
        self.asked_to_cancel = True

    def report_progress(self, progress: float, message: str = "") -> None:
        self._progress = progress

    def execute(self, *args: Any, **kwargs: Any) -> Dict[str, Any]:
        return {"args": list(args), "kwargs": kwargs, "config": self.config, "done": self.done}

    def execute_stream(self, text: str, repeat: int = 1) -> Generator[str, None, None]:
        return self._pieces(text, repeat)

    def _pieces(self, text: str, repeat: int) -> Generator[str, None, None]:
        for number in range(repeat):
            self.report_progress(number / repeat, f"piece {number}")
            yield text
        self.report_progress(-1.0, "done")

    def loop(self, forever: bool = True) -> bool:
        while forever:
            self.check_cancel()  # type: ignore[attr-defined]
        return self.asked_to_cancel


class AsyncLife:
    """Its life is async."""

    async def initialize(self, config: Dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.ticks = 0
        self.task = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            self.ticks += 1

    async def cleanup(self) -> None:
        self.task.cancel()

    def beats(self, more: int) -> int:
        """Waits until the task in the background has run so often."""
        import threading

        waiting, end = threading.Event(), self.ticks + more
        while self.ticks < end:
            waiting.wait(0.001)
        return self.ticks

    async def beats_later(self) -> int:
        return self.ticks
