"""Values that JSON does not have, from tools in worker processes and from tools in the server."""

from __future__ import annotations

import datetime
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy

from bridge import Adapter, tool
from bridge.call import Chunk

NOON = datetime.datetime(2024, 1, 2, 12)  # noqa: DTZ001 - one without a time zone


@dataclass
class Point:
    """What many tools return."""

    x: int = 1
    at: datetime.datetime = NOON
    more: list[Any] = field(default_factory=lambda: [1j, {"y": numpy.int64(2)}])


VALUES: dict[str, Any] = {
    "none": None,
    "integer": 2**70,
    "tuple": (1, "b"),
    "bytes": b"\x00\xff",
    "nan": float("nan"),
    "naive datetime": NOON,
    "naive datetime in a map": {"at": [NOON]},
    "object": object(),
    "object in a list": [object(), b"x"],
    "complex": 1j,
    "timedelta": datetime.timedelta(1),
    "array": numpy.array([[1.0, 2.5], [3.0, float("inf")]]),
    "large array": numpy.zeros((1001, 1000)),
    "dataclass": Point(),
    "chunk": Chunk({"at": NOON}, metadata={"step": "1"}),
    "key of a number": {1: "a"},
    "key of a number, deeper": [{"a": {1: "a"}}],
    "half a pair": "\ud800",
}


class Odd(Adapter):
    """The same in both places."""

    @tool
    def plain(self, name: str) -> Any:
        return VALUES[name]

    @tool
    async def inline(self, name: str) -> Any:
        return VALUES[name]

    @tool
    def plain_stream(self, name: str) -> Iterator[Any]:
        yield VALUES[name]

    @tool
    async def inline_stream(self, name: str) -> AsyncIterator[Any]:
        yield VALUES[name]

    @tool
    def plain_pid(self) -> int:
        return os.getpid()

    @tool
    async def inline_pid(self) -> int:
        return os.getpid()

    @tool
    def plain_note(self) -> Iterator[Any]:
        yield Chunk(1, metadata={"step": 1})  # type: ignore[dict-item]


class OddStock:
    """An adapter of Snakepit's with the same values."""

    def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
        value = VALUES[arguments["name"]]
        return iter([value]) if tool_name == "stream" else value


class LateStock:
    """What it returns can be read until it is cleaned up."""

    def __init__(self) -> None:
        self.is_open = True

    def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
        return self

    def to_dict(self) -> dict[str, bool]:
        return {"open": self.is_open}

    def cleanup(self) -> None:
        self.is_open = False


class AsksStock:
    """Takes any name, and asks Elixir."""

    def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
        return context.call_elixir_tool("upper")
