"""What a caller of a unary tool sees, whatever runs it and however it came in."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal
from typing import Any

import pytest

from bridge import BridgeError, Code
from tests.conftest import Connect
from tests.support import probes

VALUES: list[Any] = [
    None, True, 0, -(2**63), 2**63 - 1, 2**64, 10**100, 0.5, -0.0, math.inf, "", "schön 🎈", b"", b"\x00\xff",
    [], {}, {"a": [1, 2.0, None, {"b": True}]}, {"n": 2**53 + 1}, [math.inf, b"raw"], Decimal("1.10"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_a_value_comes_back_as_it_went(connect: Connect, value: Any) -> None:
    client = await connect(probes.Inline)
    back = await client.call("echo", value=value)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


async def test_arguments_get_defaults_and_results_come_back(connect: Connect, probe: type, listen: str) -> None:
    client = await connect(probe, listen=(listen,))
    assert await client.call("add", a=2) == 3
    assert await client.call("add", {"a": 2, "b": -5}) == -3


async def test_a_fresh_adapter_is_set_up_and_cleaned_up_for_every_call(
    connect: Connect, probe: type, journal: probes.Journal
) -> None:
    client = await connect(probe)
    for _ in range(3):
        await client.call("echo")
    assert journal.count("initialize") == journal.count("cleanup") == 3


async def test_the_context_knows_the_call(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    facts = await client.call("whoami", metadata={"k": "v"}, timeout=5)
    assert facts.pop("thread") == (probe is probes.Threaded)
    assert facts == {
        "tool": "whoami",
        "session": "",
        "metadata": {"k": "v"},
        "principal": "",
        "has_deadline": True,
    }


async def test_a_call_without_a_deadline_gets_the_servers(connect: Connect, probe: type) -> None:
    client = await connect(probe, default_timeout=7.0)
    assert 0 < await client.call("remaining") <= 7.0


async def test_many_calls_at_once_each_get_their_own_answer(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(client.call("add", a=n, b=n) for n in range(100)))
    assert answers == [2 * n for n in range(100)]


async def test_a_blocked_thread_does_not_block_the_loop(connect: Connect, journal: probes.Journal) -> None:
    client = await connect(probes.Threaded, threads=2, queue_size=4)
    async with asyncio.timeout(5):
        calls = [asyncio.create_task(client.call("stubborn")) for _ in range(4)]
        await journal.wait("started", 2)
        # Both threads are taken and calls are waiting: the control methods answer all the same.
        assert {tool.name for tool in await client.tools(refresh=True)} >= {"add", "stubborn"}
        assert (await client.server_info()).name == "tool-bridge"
        journal.release.set()
        await asyncio.gather(*calls)


async def test_several_adapters_are_one_server(connect: Connect) -> None:
    client = await connect(probes.Inline, probes.HostTools)
    assert await client.call("double", value=21) == 42
    assert await client.call("add", a=1) == 2


async def test_a_streaming_tool_called_unary_says_how_to_call_it(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    with pytest.raises(BridgeError, match="ExecuteStreamingTool") as caught:
        await client.call("count", n=3)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "STREAMING_TOOL")


async def test_a_streaming_tool_that_says_so_collects(connect: Connect, probe: type) -> None:
    client = await connect(probe)
    assert await client.call("collect", n=3) == [0, 1, 2]
    assert [value async for value in client.stream("collect", n=3)] == [0, 1, 2]
