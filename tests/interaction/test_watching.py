"""Clients and tools watch variables change."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, SessionContext, tool
from bridge.host import CallScope
from bridge.hosts.sessions import SessionHost
from bridge.testing import serving
from bridge.variable_watch import Watch
from bridge.variables import Update, UpdateKind
from bridge_client import BridgeClient
from bridge_client.sync import BridgeClient as BlockingClient
from tests.support import probes
from tests.support.recording_host import RecordingHost, context_of


class Watching(Adapter):
    @tool
    async def follow(self, name: str, ctx: SessionContext) -> AsyncIterator[Any]:
        """Yields every value."""
        async with ctx.watch(name) as watch:
            yield "watching"
            async for update in watch:
                yield update.variable.value if update.variable else None

    @tool
    def follow_sync(self, name: str, ctx: SessionContext) -> Iterator[Any]:
        with ctx.sync.watch(name) as watch:
            yield "watching"
            for update in watch:
                yield update.variable.value if update.variable else None

    @tool
    async def hold(self, ctx: SessionContext) -> None:
        """Watches what never changes."""
        async with ctx.watch("silent") as watch:
            probes.journal.add("watching")
            async for _ in watch:
                pass

    @tool
    def hold_sync(self, ctx: SessionContext) -> None:
        with ctx.sync.watch("silent") as watch:
            probes.journal.add("watching")
            for _ in watch:
                pass

    @tool
    async def read_after_change(self, ctx: SessionContext) -> list[Any]:
        async with ctx.watch("x") as watch:
            before = await ctx.get("x")
            probes.journal.add("watching")
            await anext(watch)
            return [before, await ctx.get("x")]


class Place:
    """A client, the host of its sessions, and the server of the tools."""

    def __init__(self, client: BridgeClient, host: SessionHost, address: str) -> None:
        self.client, self.host, self.address = client, host, address

    async def wait_for_watches(self, count: int) -> None:
        """Returns when the host has so many watches."""
        async with asyncio.timeout(5):
            while len(self.host._watches) != count:  # noqa: ASYNC110 - the host tells nobody
                await asyncio.sleep(0.005)


@pytest.fixture(params=["embedded host", "separate host"])
async def place(request: pytest.FixtureRequest, start: Any, journal: probes.Journal) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        if request.param == "embedded host":
            host = server = await start(Watching)
        else:
            host = await start(role="host")
            server = await start(Watching, host=host.addresses[0])
        client = await stack.enter_async_context(BridgeClient(server.addresses[0], host=host.addresses[0]))
        yield Place(client, host.host, host.addresses[0])


def seen(update: Update) -> tuple[str, Any, int]:
    assert update.variable is not None
    return update.kind.name, update.variable.value, update.variable.version


async def test_every_change_comes_in_order_from_the_moment_the_watch_is_entered(place: Place) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        await session.set("x", 0)
        async with session.watch("x", "y") as watch:
            await session.set("x", 1)
            await session.set_many({"x": 2, "y": 1, "z": 1})
            await session.register("x", "integer", 3)
            await session.delete("x")
            await session.set("x", 4)
            updates = [seen(await anext(watch)) for _ in range(6)]
            of_x = [update for update in updates if update[1:] != (1, 1)]  # all but that of y
            assert of_x == [
                ("CHANGED", 1, 2),
                ("CHANGED", 2, 3),
                ("REGISTERED", 3, 4),
                ("DELETED", None, 5),
                ("CHANGED", 4, 6),
            ]
            assert watch.positions == {"x": 6, "y": 1}


async def test_a_watch_may_begin_with_the_values_there_are(place: Place) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        await session.set("x", 1)
        async with session.watch("x", "nothing", initial=True) as watch:
            await session.set("x", 2)
            assert [seen(await anext(watch)), seen(await anext(watch))] == [("INITIAL", 1, 1), ("CHANGED", 2, 2)]


async def test_a_watch_goes_on_where_another_one_stopped(place: Place) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        await session.set("x", 0)
        async with session.watch("x", initial=True) as watch:
            assert seen(await anext(watch)) == ("INITIAL", 0, 1)
            await session.set("x", 1)
            await anext(watch)
        await session.set("x", 2)
        await session.set("x", 3)
        async with session.watch("x", initial=True, resume_after=watch.positions) as resumed:
            assert resumed.positions == {"x": 2}
            assert [seen(await anext(resumed))[2] for _ in range(2)] == [3, 4]
        assert watch.positions == {"x": 2}, "each has positions of its own"


async def test_a_watch_of_which_nothing_has_come_yet_can_be_resumed(place: Place) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        await session.set("x", 1)
        async with session.watch("x", "new") as watch:
            assert watch.positions == {"x": 1, "new": 0}
        await session.set_many({"x": 2, "new": "here"})
        async with session.watch("x", "new", resume_after=watch.positions) as resumed:
            told = [seen(await anext(resumed)) for _ in range(2)]
        assert sorted(told, key=str) == [("CHANGED", "here", 1), ("CHANGED", 2, 2)]


async def test_a_watch_that_was_written_before_sees_the_write_as_it_was_asked(place: Place) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        writing = asyncio.create_task(session.set("x", 1))
        await asyncio.sleep(0)
        async with session.watch("x", initial=True) as watch:
            assert seen(await anext(watch)) == ("INITIAL", 1, 1)
        await writing


async def test_a_step_that_runs_into_a_timeout_loses_nothing(place: Place) -> None:
    async with asyncio.timeout(10), place.client.session() as session, session.watch("x") as watch:
        for number in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await anext(watch)
            await session.set("x", number)
            assert seen(await anext(watch)) == ("CHANGED", number, number + 1)


async def test_leaving_frees_the_place_at_the_host(place: Place) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        async with session.watch("x") as watch:
            await place.wait_for_watches(1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(watch)
        await place.wait_for_watches(0)
        assert [update async for update in watch] == [], "it is over"
        await watch.aclose()
        with pytest.raises(RuntimeError, match="resume_after"):
            await watch.__aenter__()


async def test_a_forgotten_watch_frees_its_place(place: Place) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        watch: Watch | None = session.watch("x")
        assert watch is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(watch)
        await place.wait_for_watches(1)
        watch = None
        gc.collect()
        await place.wait_for_watches(0)


async def test_without_async_with_it_begins_at_the_first_step(place: Place) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        await session.set("x", 1)
        watch = session.watch("x", initial=True)
        assert repr(watch) == "<Watch new>"
        async for update in watch:
            assert seen(update) == ("INITIAL", 1, 1)
            break
        assert repr(watch) == "<Watch open>"
        await watch.aclose()
        assert repr(watch) == "<Watch closed>"


async def test_closing_it_from_another_task_ends_the_iteration(place: Place) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        watch = session.watch("x")

        async def iterate() -> list[Update]:
            return [update async for update in watch]

        iterating = asyncio.create_task(iterate())
        await place.wait_for_watches(1)
        with pytest.raises(RuntimeError, match="two tasks"):
            await anext(watch)
        await watch.aclose()
        assert await iterating == []
        await place.wait_for_watches(0)


async def test_the_end_of_the_session_ends_the_watch(place: Place) -> None:
    async with asyncio.timeout(10):
        session = place.client.session()
        await session.__aenter__()
        async with session.watch("x") as watch:
            await session.set("x", 1)
            await session.aclose()
            assert seen(await anext(watch)) == ("CHANGED", 1, 1)
            with pytest.raises(BridgeError) as caught:
                await anext(watch)
            assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "SESSION_CLOSED")


@pytest.mark.parametrize(
    ("names", "options", "reason"),
    [
        ((), {}, "INVALID_ARGUMENT"),
        (("no\nname",), {}, "NAME_REFUSED"),
        (("x",), {"resume_after": {"x": 10}}, "WATCH_AHEAD"),
        (("x",), {"resume_after": {"x": -1}}, "INVALID_ARGUMENT"),
    ],
)
async def test_what_cannot_be_watched_is_refused_on_entering(
    place: Place, names: tuple[str, ...], options: dict[str, Any], reason: str
) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        with pytest.raises(BridgeError) as caught:
            await session.watch(*names, **options).__aenter__()
        assert caught.value.reason == reason


async def test_the_timeout_of_a_client_is_for_the_beginning_only(place: Place) -> None:
    deadlines: list[float | None] = []
    real: Any = place.host
    watch_stored = real.watch_stored

    def record(scope: CallScope, names: Any, **options: Any) -> Any:
        deadlines.append(scope.deadline)
        return watch_stored(scope, names, **options)

    real.watch_stored = record
    async with (
        asyncio.timeout(10),
        BridgeClient(place.address, timeout=5) as client,
        client.session() as session,
        session.watch("x"),
    ):
        assert deadlines == [None]


async def test_a_host_that_does_not_begin_in_time_is_given_up(place: Place) -> None:
    real: Any = place.host

    async def hang(scope: CallScope, names: Any, **options: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    real.watch_stored = hang
    async with asyncio.timeout(10), BridgeClient(place.address, timeout=0.2) as client, client.session() as session:
        with pytest.raises(BridgeError) as caught:
            await session.watch("x").__aenter__()
        assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_a_host_that_vanishes_is_unavailable(journal: probes.Journal) -> None:
    async with asyncio.timeout(20), AsyncExitStack() as stack:
        host = await stack.enter_async_context(serving(role="host", grace=0.0))
        async with (
            BridgeClient(host.addresses[0], retry=None) as client,
            client.session() as session,
            session.watch("x") as watch,
        ):
            await session.set("x", 1)
            assert seen(await anext(watch))[2] == 1
            await stack.aclose()
            with pytest.raises(BridgeError) as caught:
                await anext(watch)
            assert caught.value.code is Code.UNAVAILABLE
            assert watch.positions == {"x": 1}, "so that it can be resumed"


class Rude(RecordingHost):
    """Says nothing when a watch begins."""

    async def watch_variables(self, *_: Any, **__: Any) -> AsyncIterator[Update]:  # type: ignore[override]
        yield Update(UpdateKind.CHANGED, None)


async def test_a_host_that_does_not_say_that_it_has_begun_is_refused() -> None:
    ctx = await context_of(Rude())
    with pytest.raises(BridgeError) as caught:
        await ctx.watch("x").__aenter__()
    assert (caught.value.code, caught.value.reason) == (Code.DATA_LOSS, "BAD_RESPONSE")


# -- in tools ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("follow", ["follow", "follow_sync"])
async def test_a_tool_follows_a_variable(place: Place, follow: str) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        async with session.stream(follow, name="x") as values:
            assert await anext(values) == "watching"
            for number in range(5):
                await session.set("x", number)
            assert [await anext(values) for _ in range(5)] == [0, 1, 2, 3, 4]
        await place.wait_for_watches(0)


@pytest.mark.parametrize("hold", ["hold", "hold_sync"])
@pytest.mark.parametrize("end", ["cancel", "deadline", "session"])
async def test_a_watch_ends_with_its_call(place: Place, journal: probes.Journal, hold: str, end: str) -> None:
    async with asyncio.timeout(10):
        session = place.client.session()
        await session.__aenter__()
        calling = asyncio.create_task(session.call(hold, timeout=0.5 if end == "deadline" else 20))
        await journal.wait("watching")
        assert len(place.host._watches) == 1
        if end == "cancel":
            calling.cancel()
        elif end == "session":
            await session.aclose()
        with pytest.raises((BridgeError, asyncio.CancelledError)) as caught:
            await calling
        await place.wait_for_watches(0)
        if end == "session":
            assert isinstance(caught.value, BridgeError)
            assert caught.value.reason == "SESSION_CLOSED"
        await session.aclose()


async def test_what_a_watch_has_shown_is_not_read_from_memory(place: Place, journal: probes.Journal) -> None:
    async with asyncio.timeout(10), place.client.session() as session:
        await session.set("x", "old")
        calling = asyncio.create_task(session.call("read_after_change"))
        await journal.wait("watching")
        await session.set("x", "new")
        assert await calling == ["old", "new"]


# -- blocking ----------------------------------------------------------------------------------------------------


async def in_thread(function: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(function)


async def test_a_blocking_client_watches(place: Place) -> None:
    def watch() -> list[Any]:
        with BlockingClient(place.address) as client, client.session() as session:
            session["x"] = 0
            with session.watch("x", initial=True) as watch:
                session["x"] = 1
                updates = [seen(next(watch)), seen(next(watch))]
            assert list(watch) == []
            with session.watch("x", resume_after=watch.positions) as resumed:
                session["x"] = 2
                for update in resumed:
                    updates.append(seen(update))
                    break
            assert repr(resumed) == "<BlockingWatch closed>"
            return updates

    async with asyncio.timeout(10):
        assert await in_thread(watch) == [("INITIAL", 0, 1), ("CHANGED", 1, 2), ("CHANGED", 2, 3)]
        await place.wait_for_watches(0)


async def test_closing_a_blocking_watch_from_another_thread_ends_its_iteration(place: Place) -> None:
    def watch() -> list[Update]:
        with BlockingClient(place.address) as client, client.session() as session, session.watch("x") as watch:
            watches.append(watch)
            return list(watch)

    watches: list[Any] = []
    async with asyncio.timeout(10):
        watching = asyncio.create_task(in_thread(watch))
        await place.wait_for_watches(1)
        while not watches:  # noqa: ASYNC110 - filled by a thread
            await asyncio.sleep(0.005)
        await in_thread(watches[0].close)
        assert await watching == []


async def test_a_blocking_watch_is_refused_in_the_event_loop() -> None:
    ctx = await context_of(RecordingHost())
    with pytest.raises(RuntimeError, match="await"):
        ctx.sync.watch("x").__enter__()
