"""Tools call host tools that call tools: the path travels by itself, and no circle is endless or stuck."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, SessionContext, engines, tool
from bridge.call_path import CALL_PATH, MAX_CALL_DEPTH, check_path
from bridge.codec import encode
from bridge.host import CallScope
from bridge.hosts.grpc import GrpcHost
from bridge.tool_messages import read_result
from bridge.v1.bridge_pb2 import ExecuteToolRequest
from bridge_client import BridgeClient
from bridge_client.sync import BridgeClient as SyncBridgeClient
from tests.conftest import Connect
from tests.support import probes
from tests.support.nesting import Nest, OnBridge, links


@pytest.mark.parametrize(
    "route",
    [
        "a x a",
        "a x b y a",
        "b y b y b y b",
        "a by_task a",
        "a by_thread a",
        "b by_loop b",
        "a own own x a",
        "a own y b",
    ],
)
async def test_the_path_of_calls_travels_by_itself(nest: Nest, route: str) -> None:
    client = await nest()
    first, *rest = route.split()
    async with asyncio.timeout(10):
        assert await client.call(first, route=rest) == ",".join([first, *rest][:-1])


async def test_a_recursion_that_ends_is_no_circle(nest: Nest) -> None:
    client = await nest()
    async with asyncio.timeout(10):
        assert await client.call("factorial", n=3) == 6
        assert await client.call("factorial", n=MAX_CALL_DEPTH) == 20_922_789_888_000


@pytest.mark.parametrize(
    ("call", "circle"),
    [
        (("circle", {"tools": ["back", "circle"]}), "back -> circle -> back"),
        (("to_itself", {}), "to_itself -> to_itself"),
        (("blocks_itself", {}), "blocks_itself -> blocks_itself"),
        (("factorial", {"n": 1_000_000}), "factorial -> factorial"),
        (("a", {"route": ["x", "a"] * 10}), "x -> a -> x"),
        (("b", {"route": ["y", "b"] * 10}), "y -> b -> y"),
        (("a", {"route": ["to_itself_inside"]}), "to_itself_inside -> to_itself_inside"),
    ],
)
async def test_a_circle_of_tools_ends_with_its_names(nest: Nest, call: Any, circle: str) -> None:
    client = await nest(threads=1)
    async with asyncio.timeout(10):
        with pytest.raises(BridgeError) as caught:
            await client.call(*call)
        assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "CALL_CYCLE")
        assert f"in a circle, {circle};" in caught.value.message
        assert await client.call("b", route=["y"]) == "b"


def chain(length: int) -> type:
    """An adapter of tools each of which calls the next one."""

    def link(number: int) -> Any:
        @tool(name=f"t{number}")
        async def method(self: Adapter) -> Any:
            return await links().client.call(f"t{number + 1}") if number < length - 1 else "end"

        return method

    return type("Chain", (Adapter,), {f"t{number}": link(number) for number in range(length)})


async def test_a_chain_without_a_circle_has_an_end_too(nest: Nest) -> None:
    client = await nest(chain(MAX_CALL_DEPTH + 2))
    async with asyncio.timeout(10):
        assert await client.call("t1") == "end"
        with pytest.raises(BridgeError, match="-> t16 -> t17") as caught:
            await client.call("t0")
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "CALL_DEPTH")


# -- what others may send ------------------------------------------------------------------------------------------


async def by_path(client: BridgeClient, path: str, tool: str = "", *route: str) -> Any:
    """A call as a client in another language makes it."""
    request = ExecuteToolRequest(tool_name=tool or "a")
    if not tool:
        encode([*route], request.parameters["route"])
    channel = client._open().channel
    execute = "/bridge.v1.BridgeService/ExecuteTool"
    return read_result(
        await channel.unary(execute, request.SerializeToString(), headers=[(CALL_PATH, path)], timeout=5)
    )


@pytest.mark.parametrize("path", ["", "q", "p, q", "Elixir.Some:tool/2", ",".join(f"t{n}" for n in range(16))])
async def test_a_path_from_elsewhere_is_taken_on(nest: Nest, path: str) -> None:
    assert await by_path(await nest(), path) == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (",".join(f"t{n}" for n in range(17)), "CALL_DEPTH"),
        (",".join(["p", "q"] * 9), "CALL_CYCLE"),
        (",".join(["f"] * 5000), "CALL_CYCLE"),
        ("p q", "CALL_PATH_MALFORMED"),
        ("p,,q", "CALL_PATH_MALFORMED"),
        (",", "CALL_PATH_MALFORMED"),
        ("p,", "CALL_PATH_MALFORMED"),
        ("x" * 129, "CALL_PATH_MALFORMED"),
    ],
)
async def test_nothing_is_called_further_down_a_path_that_is_too_deep_or_none(
    nest: Nest, path: str, reason: str
) -> None:
    client = await nest()
    with pytest.raises(BridgeError) as caught:
        await by_path(client, path, "", "x")
    expected = Code.INVALID_ARGUMENT if reason == "CALL_PATH_MALFORMED" else Code.FAILED_PRECONDITION
    assert (caught.value.code, caught.value.reason) == (expected, reason)
    assert len(caught.value.message) < 800
    assert await client.call("a", route=[]) == ""


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a\n2026-01-01 forged line", "CALL_PATH_MALFORMED"),
        ("a\x00,b", "CALL_PATH_MALFORMED"),
        ("\x1b[31m", "CALL_PATH_MALFORMED"),
        ("ä", "CALL_PATH_MALFORMED"),
        ("a" * 10_000_000, "CALL_PATH_MALFORMED"),
        ("a," * 5_000_000, "CALL_PATH_MALFORMED"),
        ("a," * 5_000_000 + "a", "CALL_CYCLE"),
        (",".join(f"{n:0128}" for n in range(10_000)), "CALL_DEPTH"),
    ],
    ids=range(8),
)
def test_a_path_of_any_size_and_content_gives_a_short_clean_message(path: str, reason: str) -> None:
    with pytest.raises(BridgeError) as caught:
        check_path(path, "t")
    assert caught.value.reason == reason
    assert len(caught.value.message) < 800
    assert caught.value.message.isprintable()


async def test_a_host_tool_calls_nothing_further_down_either(nest: Nest, journal: probes.Journal) -> None:
    await nest()
    channel = engines.connect(links().host.addresses[0])
    scope = CallScope(headers={CALL_PATH: ",".join(["p", "q"] * 9)})
    with pytest.raises(BridgeError, match="q -> p -> q") as caught:
        await GrpcHost(channel).call_tool(scope, "x", {"route": ["a"]})
    assert caught.value.reason == "CALL_CYCLE"
    await channel.aclose()


class Strangers(Adapter):
    """Calls servers that may not look at paths, and are not there."""

    @tool
    async def by_client(self) -> Any:
        async with BridgeClient("127.0.0.1:1", retry=None) as client:
            return await client.call("echo")

    @tool
    async def by_context(self, ctx: SessionContext) -> Any:
        return await ctx.call("echo")


@pytest.mark.parametrize("tool", ["by_client", "by_context"])
async def test_a_call_that_is_too_deep_is_not_even_sent(connect: Connect, tool: str) -> None:
    client = await connect(Strangers, host="127.0.0.1:1")
    with pytest.raises(BridgeError) as caught:
        await by_path(client, ",".join(f"t{number}" for number in range(MAX_CALL_DEPTH)), tool)
    assert caught.value.reason == "CALL_DEPTH"
    with pytest.raises(BridgeError) as caught:
        await by_path(client, ",".join(f"t{number}" for number in range(MAX_CALL_DEPTH - 1)), tool)
    assert caught.value.reason == "HOST_UNAVAILABLE"


# -- threads and places ----------------------------------------------------------------------------------------------


def tool_threads() -> int:
    return sum(thread.name.startswith("bridge-tool-") for thread in threading.enumerate())


async def all_tool_threads_but(number: int) -> None:
    while tool_threads() > number:  # noqa: ASYNC110 - nothing announces the end of a thread
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("threads", [1, 4])
async def test_calls_that_hold_every_thread_do_not_wait_for_each_other(nest: Nest, threads: int) -> None:
    before = tool_threads()
    client = await nest(threads=threads, gate=threading.Barrier(threads))
    async with asyncio.timeout(20):
        calls = (client.call("b", route=["y", "b", "y", "b"]) for _ in range(threads))
        assert await asyncio.gather(*calls) == ["b,y,b,y"] * threads
        # Those beyond the limit are gone when they are not needed any more.
        await all_tool_threads_but(before + 2 * threads)


async def test_two_servers_that_hold_each_others_thread_do_not_wait_for_ever(
    nest: Nest, journal: probes.Journal
) -> None:
    client = await nest(threads=1, gate=threading.Barrier(2))
    host = GrpcHost(engines.connect(links().host.addresses[0]))
    async with asyncio.timeout(20):
        there = client.call("b", route=["y"])
        back = host.call_tool(CallScope(), "y", {"route": ["b"]})
        assert await asyncio.gather(there, back) == ["b", "y"]
    await host.aclose()


async def test_outermost_calls_still_wait_for_a_thread(nest: Nest, journal: probes.Journal) -> None:
    client = await nest(Leaves, threads=1)
    async with asyncio.timeout(10):
        first = asyncio.create_task(client.call("wait"))
        await journal.wait("waiting")
        waiting = asyncio.create_task(client.call("b", route=[]))
        assert await client.call("a", route=["x", "b"]) == "a,x"
        assert not waiting.done()
        journal.release.set()
        await first
        assert await waiting == ""


async def test_a_nested_call_over_the_limit_of_calls_is_refused_at_once(nest: Nest, journal: probes.Journal) -> None:
    client = await nest(max_concurrent_calls=2)
    async with asyncio.timeout(10):
        hanging = asyncio.create_task(client.call("hang", route=[]))
        await journal.wait("begun 0")
        with pytest.raises(BridgeError) as caught:
            await client.call("a", route=["x", "a"])
        # It is the nested call that did not run, so nothing says that the whole may be tried again.
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "SERVER_BUSY")
        assert caught.value.retry_after is None
        hanging.cancel()


async def test_a_server_that_stops_lets_running_calls_make_theirs(nest: Nest, journal: probes.Journal) -> None:
    gate = threading.Barrier(2)
    client = await nest(gate=gate)
    server = links().server
    async with asyncio.timeout(10):
        call = asyncio.create_task(client.call("b", route=["y", "b"]))
        await journal.wait("begun 0")
        draining = asyncio.create_task(server.dispatcher.drain(10))
        await asyncio.sleep(0)
        with pytest.raises(BridgeError) as caught:
            await client.call("a", route=[])
        assert caught.value.reason == "DRAINING"
        gate.wait(5)
        assert await call == "b,y"
        assert await draining


async def test_a_blocking_client_in_an_async_tool_is_refused_rather_than_stuck(nest: Nest) -> None:
    client = await nest()
    async with asyncio.timeout(10):
        with pytest.raises(BridgeError, match="await") as caught:
            await client.call("a", route=["stops_the_server", "a"])
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "WOULD_BLOCK")


# -- what is left behind ---------------------------------------------------------------------------------------------


class Leaves(Adapter):
    """Leaves something behind that outlives the call."""

    @tool
    async def task(self) -> None:
        async def later() -> Any:
            await asyncio.to_thread(probes.journal.release.wait, 5)
            return await links().client.call("a", route=[])

        probes.journal.notes["task"] = asyncio.create_task(later())

    @tool
    def wait(self) -> None:
        probes.journal.add("waiting")
        probes.journal.release.wait(5)


async def test_a_task_that_outlives_its_call_is_nested_in_nothing(nest: Nest, journal: probes.Journal) -> None:
    client = await nest(Leaves)
    async with asyncio.timeout(10):
        await client.call("task")
        journal.release.set()
        assert await journal.notes["task"] == ""


async def test_a_thread_does_not_remember_the_call_before(nest: Nest) -> None:
    client = await nest(threads=1)
    async with asyncio.timeout(10):
        for _ in range(3):
            assert await client.call("b", route=["y", "b"]) == "b,y"
            assert await client.call("b", route=[]) == ""
            assert await client.call("b", route=["y"]) == "b"


async def test_calls_outside_of_tools_carry_no_path(connect: Connect) -> None:
    client = await connect(OnBridge)
    assert await client.call("b", route=[]) == ""
    assert await asyncio.to_thread(_blocking_call, client.target) == ""


def _blocking_call(target: str) -> Any:
    with SyncBridgeClient(target) as client:
        return client.call("b", route=[])
