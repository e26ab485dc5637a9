"""Watchers that come and go while others write see every change exactly once, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
import pytest

from bridge.errors import BridgeError
from bridge.host import CallScope
from bridge.hosts.limits import HostLimits
from bridge.hosts.sessions import SessionHost
from bridge.stores.base import Store
from bridge.variables import Update, Variable, Write
from tests.consistency.conftest import AnyHost, Deploy, InterleavedStore
from tests.consistency.watchers import NAMES, Gap, Journal, Watcher, check, write_all

ROUNDS = 3


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_watchers_that_come_and_go_miss_nothing_and_see_nothing_twice(deploy: Deploy, seed: int) -> None:
    hosts = await deploy(history_entries=1000)
    async with asyncio.timeout(20):
        scope = CallScope((await hosts[0].open_session(CallScope())).session_id)
        journal = Journal()
        watchers = [
            Watcher(journal, hosts, scope, f"{seed}/0", begin="now"),
            Watcher(journal, hosts, scope, f"{seed}/1", begin="first"),
            Watcher(journal, hosts, scope, f"{seed}/2", begin="initial"),
            Watcher(journal, hosts, scope, f"{seed}/3", begin="initial"),
        ]
        async with asyncio.TaskGroup() as group:
            for watcher, turns in zip(watchers, (0, 30, 10, 40), strict=True):
                group.create_task(_join(watcher, journal, turns))
            await watchers[0].started.wait()
            group.create_task(write_all(journal, hosts, scope, seed))
    for watcher in watchers:
        check(watcher, journal)
        assert not any(isinstance(one, Gap) for seen in watcher.seen.values() for one in seen)
    assert sum(watcher.connections for watcher in watchers) > 2 * len(watchers)


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_what_watchers_with_a_short_history_miss_is_told_exactly(deploy: Deploy, seed: int) -> None:
    hosts = await deploy(history_entries=2)
    async with asyncio.timeout(20):
        scope = CallScope((await hosts[0].open_session(CallScope())).session_id)
        journal = Journal()
        watchers = [Watcher(journal, hosts, scope, f"{seed}/{number}", absence=20) for number in range(4)]
        async with asyncio.TaskGroup() as group:
            for watcher in watchers:
                group.create_task(watcher.run())
            group.create_task(write_all(journal, hosts, scope, seed))
    for watcher in watchers:
        check(watcher, journal)
    assert any(isinstance(one, Gap) for watcher in watchers for seen in watcher.seen.values() for one in seen)


async def _join(watcher: Watcher, journal: Journal, turns: int) -> None:
    await journal.reached(turns)
    await watcher.run()


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_watch_that_is_about_to_sleep_is_woken(deploy: Deploy, seed: int) -> None:
    """Nothing is written before what was written last has come, so a wake-up that is lost is never made up for."""
    hosts = await deploy()
    rng = random.Random(seed)
    async with asyncio.timeout(10):
        scope = CallScope((await hosts[0].open_session(CallScope())).session_id)

        async def write(name: str, value: int, delay: int, host: AnyHost) -> None:
            for _ in range(delay):
                await asyncio.sleep(0)
            await host.set_variables(scope, [Write(name=name, value=value)])

        async with aclosing(hosts[0].watch_variables(scope, ["x", "y"])) as updates:
            await anext(updates)
            for value in range(1, 41):
                together = (write(name, value, rng.randrange(12), rng.choice(hosts)) for name in ("x", "y"))
                await asyncio.gather(*together, taking := asyncio.create_task(_take(updates, 2)))
                seen = taking.result()
                assert sorted((one.name, one.version, one.value) for one in seen) == [
                    ("x", value, value),
                    ("y", value, value),
                ]


async def _take(updates: AsyncGenerator[Update, None], count: int) -> list[Variable]:
    variables = [(await anext(updates)).variable for _ in range(count)]
    return [variable for variable in variables if variable is not None]


async def test_resuming_too_late_says_where_to_go_on(deploy: Deploy) -> None:
    """The history is longer than what a watch reads at once."""
    host = (await deploy(history_entries=150))[0]
    async with asyncio.timeout(20):
        scope = CallScope((await host.open_session(CallScope())).session_id)
        for value in range(1, 201):
            await host.set_variables(scope, [Write(name="x", value=value)])
        with pytest.raises(BridgeError) as refusal:
            async with aclosing(host.watch_variables(scope, ["x"], resume_after={"x": 1})) as updates:
                async for update in updates:
                    assert update.variable is None
        assert refusal.value.reason == "WATCH_BEHIND"
        assert refusal.value.details.metadata == {"name": "x", "resume_after": "49"}
        async with aclosing(host.watch_variables(scope, ["x"], resume_after={"x": 49})) as updates:
            await anext(updates)
            following = await _take(updates, 151)
        assert [variable.version for variable in following] == list(range(50, 201))


async def test_watcher_that_is_too_slow_is_told_where_to_go_on(stores: list[Store]) -> None:
    await stores[0].open()
    host = SessionHost(stores[0], limits=HostLimits(history_entries=5))
    try:
        async with asyncio.timeout(10):
            scope = CallScope((await host.open_session(CallScope())).session_id)
            async with aclosing(host.watch_variables(scope, ["x"])) as updates:
                await anext(updates)
                for value in range(1, 21):
                    await host.set_variables(scope, [Write(name="x", value=value)])
                with pytest.raises(BridgeError) as refusal:
                    await anext(updates)
            assert refusal.value.reason == "WATCH_BEHIND"
            assert refusal.value.details.metadata == {"name": "x", "resume_after": "14"}
    finally:
        await host.aclose()


Updates = list[Variable | Gap]


def _leave_out(seen: Updates) -> None:
    del seen[len(seen) // 2]


def _leave_out_the_first(seen: Updates) -> None:
    del seen[0]


def _leave_out_the_last(seen: Updates) -> None:
    del seen[-1]


def _repeat(seen: Updates) -> None:
    seen.insert(len(seen) // 2, seen[len(seen) // 2])


def _swap(seen: Updates) -> None:
    middle = len(seen) // 2
    seen[middle], seen[middle + 1] = seen[middle + 1], seen[middle]


def _change(seen: Updates) -> None:
    last = seen[-1]
    assert isinstance(last, Variable)
    seen[-1] = msgspec.structs.replace(last, value=10_000)


def _claim_a_gap(seen: Updates) -> None:
    seen.insert(1, Gap(1, 2))


@pytest.mark.parametrize(
    "tamper", [_leave_out, _leave_out_the_first, _leave_out_the_last, _repeat, _swap, _change, _claim_a_gap]
)
async def test_check_refuses_what_a_watcher_must_not_see(tamper: Callable[[Updates], None]) -> None:
    host = SessionHost(InterleavedStore())
    async with asyncio.timeout(10):
        scope = CallScope((await host.open_session(CallScope())).session_id)
        journal = Journal()
        watcher = Watcher(journal, [host], scope, 0)
        await asyncio.gather(watcher.run(), write_all(journal, [host], scope, 0))
    check(watcher, journal)
    tamper(watcher.seen[NAMES[0]])
    with pytest.raises(AssertionError):
        check(watcher, journal)
