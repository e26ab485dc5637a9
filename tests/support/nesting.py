"""Tools that call each other through a bridge and its host, and note what happens to them.

``a`` and ``x`` await, ``b`` and ``y`` block; ``a`` and ``b`` are the bridge's, ``x`` and ``y`` the host's. Each takes a
route: the tools to go on to, from the one it calls to the last, which answers.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import msgspec

from bridge import Adapter, BridgeError, SessionContext, tool
from bridge.call_path import CALL_PATH
from bridge.server import Server
from bridge_client import BridgeClient
from bridge_client.sync import BridgeClient as SyncBridgeClient
from tests.support import probes

Nest = Callable[..., Awaitable[BridgeClient]]
CANCELS = (asyncio.CancelledError, concurrent.futures.CancelledError, GeneratorExit)


class Links(msgspec.Struct):
    """What the host's tools know of the bridge, and the tests of both servers."""

    client: BridgeClient
    blocking: SyncBridgeClient
    server: Server
    host: Server
    gate: threading.Barrier | None = None
    """Where outermost calls meet, so that they run at once."""


def links() -> Links:
    found: Links = probes.journal.notes["links"]
    return found


def path(ctx: SessionContext) -> str:
    """The path as it came over the wire."""
    return ctx._call.headers.get(CALL_PATH, "")


@contextmanager
def noted(ctx: SessionContext) -> Iterator[None]:
    """Notes that a tool at some depth has begun, that it was cancelled if it was, and that it is over."""
    level = path(ctx).count(",") + 1 if path(ctx) else 0
    probes.journal.add(f"begun {level}")
    try:
        yield
    except BaseException as error:
        if ctx.cancelled.is_set() or isinstance(error, CANCELS):
            probes.journal.add(f"cancelled {level}")
        raise
    finally:
        probes.journal.add(f"over {level}")


def onwards(route: list[str]) -> dict[str, Any]:
    return {"route": route[1:]}


def meet(ctx: SessionContext) -> None:
    gate = links().gate
    if gate is not None and not path(ctx):
        gate.wait(10)


class OnBridge(Adapter):
    """Tools of the bridge."""

    @tool
    async def a(self, route: list[str], ctx: SessionContext) -> Any:
        with noted(ctx):
            return await ctx.call(route[0], **onwards(route)) if route else path(ctx)

    @tool
    def b(self, route: list[str], ctx: SessionContext) -> Any:
        with noted(ctx):
            meet(ctx)
            return ctx.sync.call(route[0], **onwards(route)) if route else path(ctx)

    @tool
    async def a_stream(self, route: list[str], ctx: SessionContext) -> AsyncIterator[Any]:
        with noted(ctx):
            async with aclosing(ctx.stream(route[0], **onwards(route))) as values:
                async for value in values:
                    yield value

    @tool
    def b_stream(self, route: list[str], ctx: SessionContext) -> Iterator[Any]:
        with noted(ctx):
            yield from ctx.sync.stream(route[0], **onwards(route))

    @tool
    async def circle(self, tools: list[str], ctx: SessionContext) -> Any:
        """Goes round for ever."""
        return await ctx.call(tools[0], tools=tools[1:] + tools[:1])

    @tool
    async def to_itself(self) -> Any:
        return await links().client.call("to_itself")

    @tool
    def blocks_itself(self) -> Any:
        return links().blocking.call("blocks_itself")

    @tool
    async def factorial(self, n: int) -> int:
        return 1 if n == 0 else n * await links().client.call("factorial", n=n - 1)

    @tool
    async def remaining(self, route: list[str], ctx: SessionContext) -> float | None:
        return ctx.time_remaining()


class Ends(Adapter):
    """Where routes end, on either side."""

    @tool
    async def hang(self, route: list[str], ctx: SessionContext) -> None:
        with noted(ctx):
            await ctx.cancelled.wait()

    @tool
    async def count(self, route: list[str], ctx: SessionContext) -> AsyncIterator[int]:
        """Three values, each when the test has seen the one before, and then an error."""
        with noted(ctx):
            for number in range(3):
                yield number
                await asyncio.to_thread(probes.journal.release.wait, 5)
                probes.journal.release.clear()
            raise ValueError("midway")

    @tool
    async def endless(self, route: list[str], ctx: SessionContext) -> AsyncIterator[int]:
        with noted(ctx):
            for number in probes.stream_forever():
                yield number

    @tool
    async def pour(self, route: list[str], ctx: SessionContext) -> AsyncIterator[bytes]:
        with noted(ctx):
            for drops in probes.pour_forever():
                yield drops


class OnHost(Adapter):
    """Tools of the host, which call the bridge as its clients do."""

    @tool
    async def x(self, route: list[str], ctx: SessionContext) -> Any:
        with noted(ctx):
            return await links().client.call(route[0], onwards(route)) if route else path(ctx)

    @tool
    def y(self, route: list[str], ctx: SessionContext) -> Any:
        with noted(ctx):
            meet(ctx)
            return links().blocking.call(route[0], onwards(route)) if route else path(ctx)

    @tool
    async def x_stream(self, route: list[str], ctx: SessionContext) -> AsyncIterator[Any]:
        with noted(ctx):
            async with links().client.stream(route[0], onwards(route)) as values:
                async for value in values:
                    yield value

    @tool
    def y_stream(self, route: list[str], ctx: SessionContext) -> Iterator[Any]:
        with noted(ctx), links().blocking.stream(route[0], onwards(route)) as values:
            yield from values

    @tool
    async def by_task(self, route: list[str], ctx: SessionContext) -> Any:
        return await asyncio.create_task(links().client.call(route[0], onwards(route)))

    @tool
    async def by_thread(self, route: list[str], ctx: SessionContext) -> Any:
        return await asyncio.to_thread(links().blocking.call, route[0], onwards(route))

    @tool
    def by_loop(self, route: list[str], ctx: SessionContext) -> Any:
        async def call() -> Any:
            async with BridgeClient(links().client.target) as client:
                return await client.call(route[0], onwards(route))

        return asyncio.run(call())

    @tool
    async def stops_the_server(self, route: list[str], ctx: SessionContext) -> Any:
        return links().blocking.call(route[0], onwards(route))

    @tool
    async def persists(self, route: list[str], ctx: SessionContext) -> None:
        """Does not mind that a call fails."""
        with noted(ctx):
            with suppress(BridgeError):
                await ctx.call("hang", route=[])
            await asyncio.Event().wait()

    @tool
    def holds_a_session(self, route: list[str], ctx: SessionContext) -> None:
        with noted(ctx), links().blocking.session() as session:
            probes.journal.notes["session"] = session.session_id
            probes.journal.add("session open")
            ctx.cancelled.wait_blocking(10)

    @tool
    async def back(self, tools: list[str], ctx: SessionContext) -> Any:
        return await links().client.call(tools[0], tools=tools[1:] + tools[:1])

    @tool
    async def own(self, route: list[str], ctx: SessionContext) -> Any:
        """Calls the host's own tools, inside its process."""
        with noted(ctx):
            return await ctx.call(route[0], **onwards(route)) if route else path(ctx)

    @tool
    async def to_itself_inside(self, route: list[str], ctx: SessionContext) -> Any:
        return await ctx.call("to_itself_inside", route=route)
