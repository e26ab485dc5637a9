"""Adapters whose tools show what a wire carries."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bridge import Adapter, SessionContext, ToolError, tool
from bridge.call import Chunk
from bridge.snakepit import FINAL

ENDED: list[str] = []
"""Tools that have come to an end of whatever kind, in this process."""
RELEASE = threading.Event()
"""Lets tools go that nothing else can end."""

RESULTS: dict[str, Any] = {
    "none": None,
    "true": True,
    "five": 5,
    "five point nought": 5.0,
    "2**53+1": 2**53 + 1,
    "10**30": 10**30,
    "nan": float("nan"),
    "infinity": float("inf"),
    "-infinity": float("-inf"),
    "nan in a list": [1.0, float("nan")],
    "infinity in a map": {"x": float("-inf")},
    "text": "é😀",
    "empty text": "",
    "bytes": b"\x00\xff",
    "empty bytes": b"",
    "tuple": (1, "b"),
    "set": {7},
    "map": {"a": [1, 2.5, None]},
    "datetime": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
    "datetime in a map": {"at": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)},
    "decimal in a list": [Decimal("1.10")],
    "object in a map": {"it": threading.Lock()},
    "bytes in a list": [b"\x00"],
    "set in a map": {"s": {7}},
    "2**64-1 in a list": [2**64 - 1],
    "2**64 in a list": [2**64],
    "keys that are numbers": {1: "a"},
    "lone surrogate": "\ud800",
    "zero copy": {"__snakepit_zero_copy__": True, "kind": "arrow", "ref": "g2gD"},
}
EXCEPTIONS: dict[str, type[BaseException]] = {
    cls.__name__: cls
    for cls in (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        ImportError,
        RuntimeError,
        NotImplementedError,
        FileNotFoundError,
        PermissionError,
        ZeroDivisionError,
        ModuleNotFoundError,
        TimeoutError,
        SystemExit,
    )
}
HANGING = "hanging"
"""What tools write first that hang: the test sees that they run."""


class Wire(Adapter):
    """Asynchronous tools, which run in the server, and plain ones."""

    @tool
    async def echo(self, value: Any) -> Any:
        return value

    @tool
    async def kind(self, value: Any) -> str:
        return f"{type(value).__name__} {value!r}"

    @tool
    async def all_of(self, a: int = 0, b: str = "", c: bytes = b"", d: float | None = None) -> dict[str, Any]:
        """Takes one of each.

        Args:
            a: a number.
        """
        return {"a": a, "b": b, "c": len(c), "d": d}

    @tool
    async def result(self, name: str) -> Any:
        return RESULTS[name]

    @tool
    async def repeat(self, text: str, times: int) -> str:
        return text * times

    @tool
    async def about(self, context: SessionContext) -> dict[str, Any]:
        left = context.time_remaining()
        return {
            "session_id": context.session_id,
            "metadata": dict(context.metadata),
            "seconds": None if left is None else round(left),
        }

    @tool
    async def own_session(self, context: SessionContext, session_id: str) -> list[str]:
        return [session_id, context.session_id]

    @tool
    async def ask(self, context: SessionContext, name: str, parameters: dict[str, Any]) -> Any:
        return await context.call(name, **parameters)

    @tool
    async def remember(self, context: SessionContext, name: str, value: Any) -> Any:
        await context.set(name, value)
        return await context.get(name, fresh=True)

    @tool
    async def recall(self, context: SessionContext, name: str) -> Any:
        return await context.get(name)

    @tool
    async def fail(self, name: str, message: str) -> None:
        raise EXCEPTIONS[name](message)

    @tool
    async def complain(self, size: int) -> None:
        raise ValueError("x" * size)

    @tool
    async def refuse(self, code: str, reason: str = "") -> None:
        raise ToolError(code, "not today", reason=reason, metadata={"row": "7"})

    @tool(timeout=0.02)
    async def slow(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ENDED.append("slow")

    @tool(timeout=0.02)
    def stubborn(self) -> None:
        RELEASE.wait(10)
        ENDED.append("stubborn")

    @tool
    async def pause(self) -> int:
        await asyncio.sleep(0.02)
        return 1

    @tool
    async def hang(self) -> None:
        try:
            ENDED.append(HANGING)
            await asyncio.Event().wait()
        finally:
            ENDED.append("hang")

    @tool
    def thread(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    @tool(metadata={"group": "texts"})
    def library(self, library: str, function: str) -> bool:
        return threading.current_thread() is threading.main_thread()


class Streams(Adapter):
    """Tools that stream."""

    @tool
    async def count(self, n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    @tool
    def plain_count(self, n: int) -> Iterator[int]:
        yield from range(n)

    @tool
    async def pieces(self) -> AsyncIterator[Any]:
        yield "é"
        yield b"\x00\xff"
        yield None
        yield {"a": 1}
        yield [1, 2.5]
        yield "5"
        yield (1, None)
        yield True

    @tool
    async def marked(self) -> AsyncIterator[Any]:
        yield Chunk("begin", metadata={"step": "1"})
        yield Chunk({"n": 2}, metadata={FINAL: "true"})

    @tool
    async def not_text(self) -> AsyncIterator[Any]:
        yield Chunk(1, metadata={"step": 1})  # type: ignore[dict-item]

    @tool
    async def silent(self, context: SessionContext) -> AsyncIterator[Any]:
        context.progress(0.5, "half")
        await context.flush()
        nothing: tuple[Any, ...] = ()
        for value in nothing:
            yield value

    @tool
    async def breaks(self) -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken")

    @tool
    async def odd(self) -> AsyncIterator[Any]:
        yield {1: "a"}

    @tool
    async def large(self, size: int) -> AsyncIterator[bytes]:
        yield bytes(size)

    @tool
    async def endless(self) -> AsyncIterator[int]:
        n = 0
        try:
            while True:
                yield n
                n += 1
        finally:
            ENDED.append("endless")

    @tool
    async def unary(self, value: Any) -> Any:
        return value


class Hazards(Adapter):
    """Plain tools that a worker process is for."""

    @tool
    def pid(self) -> int:
        return os.getpid()

    @tool
    def leave(self, code: int) -> None:
        os._exit(code)

    @tool
    def fall(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    @tool
    def hold_gil(self, sign: str) -> None:
        """Nothing of Python runs in its process."""
        Path(sign).write_text(str(os.getpid()))
        ctypes.PyDLL(None).sleep(60)

    @tool
    async def here(self) -> int:
        return os.getpid()

    @tool
    def plain_thread(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    @tool
    def plain_failure(self, message: str) -> None:
        raise KeyError(message)

    @tool
    def plain_echo(self, value: Any) -> Any:
        return value

    @tool
    def plain_chunks(self) -> Iterator[Any]:
        yield Chunk("begin", metadata={"step": "1"})
        yield Chunk({"n": 2}, metadata={FINAL: "true"})


class One(Adapter):
    """One tool, that its description is the same bytes each time."""

    @tool(metadata={"group": "texts"})
    async def shout(self, text: str, times: int = 2) -> str:
        """Shouts.

        Args:
            text: what.
        """
        return text.upper() * times
