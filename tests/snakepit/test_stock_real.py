"""Adapters that are derived from Snakepit's own base class, where its package is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bridge import testing
from bridge.loader import load_adapters
from bridge.stock.check import check

pytest.importorskip("snakepit_bridge.base_adapter", reason="Snakepit's own Python package is not on the path")

ADAPTER = """
from snakepit_bridge.base_adapter import BaseAdapter, tool
from snakepit_bridge.otel_tracing import get_correlation_id


class StreamChunk:
    def __init__(self, data, is_final=False):
        self.data = data
        self.is_final = is_final


class Mine(BaseAdapter):
    @tool(description="Adds")
    def add(self, a: int, b: int = 1) -> int:
        return a + b

    @tool(description="Counts", supports_streaming=True)
    def count(self, n: int):
        for i in range(n):
            yield StreamChunk(i, is_final=i == n - 1)

    @tool(description="Who calls")
    def who(self) -> list:
        return [self.session_id, get_correlation_id()]


class Dispatching(Mine):
    def execute_tool(self, tool_name, arguments, context):
        return self.call_tool(tool_name, **arguments)
"""


@pytest.mark.parametrize("name", ["Mine", "Dispatching"])
async def test_an_adapter_of_snakepits_base_class_runs_as_it_is(tmp_path: Path, name: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(ADAPTER)
    (adapter,) = load_adapters(f"{file}:{name}")
    report = check(adapter)
    assert [tool.name for tool in report.tools] == ["add", "count", "who"]
    assert report.works
    async with asyncio.timeout(30), testing.connect(adapter) as client, client.session() as session:
        assert await session.call("add", a=2**60) == 2**60 + 1
        assert [value async for value in session.stream("count", n=3)] == [0, 1, 2]
        assert await session.call("who", metadata={"correlation_id": "sp-1"}) == [session.session_id, "sp-1"]
