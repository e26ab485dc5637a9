"""What clients see when what they use is killed (SIGKILL) while they use it, and comes back.

For sqlite it is the host, a process of its own; for redis it is the Redis behind two hosts. An operation that failed
because nobody answered may have happened or not; what was acknowledged has happened.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from bridge import engines
from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.hosts.grpc import GrpcHost
from bridge.hosts.limits import HostLimits
from bridge.hosts.sessions import SessionHost
from bridge.variables import Write
from tests.consistency.conftest import AnyHost
from tests.consistency.histories import OPERATIONS, Outage, Recorder, assert_linearizable, record
from tests.consistency.store_process import HostProcess
from tests.consistency.watchers import Gap, Journal, Watcher, check, write_all
from tests.support.redis_server import RedisServer

ROUNDS = 6


class Deployment:
    """Hosts, and what is killed under them."""

    def __init__(
        self, hosts: Sequence[AnyHost], server: HostProcess | RedisServer, ready: Callable[[], Awaitable[None]]
    ) -> None:
        self.hosts = hosts
        self.server = server
        self._ready = ready

    async def restart(self) -> None:
        """Starts what was killed; returns when it answers."""
        await asyncio.to_thread(self.server.start)
        await self._ready()

    async def open_session(self) -> CallScope:
        """A scope with a new session."""
        return CallScope((await self.hosts[0].open_session(CallScope())).session_id)


@pytest.fixture
def host_process(tmp_path: Path) -> Iterator[HostProcess]:
    """A host of its own with a sqlite store, running."""
    process = HostProcess(tmp_path)
    try:
        process.start()
        yield process
    finally:
        process.kill()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that may be killed."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
async def deployment(request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    """Two ways to what is kept, and what keeps it."""
    async with AsyncExitStack() as stack:
        make = _with_sqlite if request.param == "sqlite" else _with_redis
        yield await make(request, stack)


async def _with_sqlite(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Deployment:
    process: HostProcess = request.getfixturevalue("host_process")
    channels = [engines.connect(process.address) for _ in range(2)]
    for channel in channels:
        stack.push_async_callback(channel.aclose)

    async def ready() -> None:
        for channel in channels:
            await channel.ready()

    return Deployment([GrpcHost(channel) for channel in channels], process, ready)


async def _with_redis(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Deployment:
    from bridge.stores.redis import RedisStore

    server: RedisServer = request.getfixturevalue("own_redis")
    hosts = []
    for _ in range(2):
        store = RedisStore(server.url)
        await store.open()
        hosts.append(SessionHost(store, limits=HostLimits(history_entries=1000)))
        stack.push_async_callback(hosts[-1].aclose)

    async def ready() -> None:
        return

    return Deployment(hosts, server, ready)


async def test_histories_across_a_crash_are_linearizable(deployment: Deployment) -> None:
    for seed in range(ROUNDS):
        recorder, outage = Recorder(), Outage()

        async def crash(seed: int = seed, recorder: Recorder = recorder, outage: Outage = outage) -> None:
            await recorder.begun(random.Random(seed).randint(10, OPERATIONS - 15))
            outage.begin()
            deployment.server.kill()
            await deployment.restart()
            outage.end()

        async with asyncio.timeout(20):
            session_id = (await deployment.open_session()).session_id
            work = record(deployment.hosts, session_id, seed, recorder=recorder, outage=outage)
            history, _ = await asyncio.gather(work, crash())
        assert any(operation.returned is None for operation in history), "nobody noticed the crash"
        assert_linearizable(history, seed)


@pytest.mark.parametrize("seed", range(2))
async def test_watchers_across_crashes_miss_nothing_and_see_nothing_twice(deployment: Deployment, seed: int) -> None:
    journal, outage = Journal(), Outage()
    async with asyncio.timeout(25):
        scope = await deployment.open_session()
        hosts = deployment.hosts
        watchers = [Watcher(journal, hosts, scope, f"{seed}/{number}", outage=outage) for number in range(3)]
        watchers.append(Watcher(journal, hosts, scope, f"{seed}/3", begin="initial", outage=outage))

        async def crash() -> None:
            for turns in (25, 60):
                await journal.reached(turns)
                outage.begin()
                deployment.server.kill()
                await deployment.restart()
                outage.end()

        async with asyncio.TaskGroup() as group:
            group.create_task(crash())
            for watcher in watchers:
                group.create_task(watcher.run())
            group.create_task(write_all(journal, hosts, scope, seed, outage))
    for watcher in watchers:
        check(watcher, journal)
        assert not any(isinstance(one, Gap) for seen in watcher.seen.values() for one in seen)


@pytest.mark.parametrize("deployment", ["redis"], indirect=True)
async def test_sleeping_watch_gets_what_was_committed_before_it_was_connected_again(deployment: Deployment) -> None:
    """The other host is back first, and writes once; nothing that comes later wakes the watch."""
    watching, writing = deployment.hosts
    outage, versions = Outage(), asyncio.Queue[int]()
    async with asyncio.timeout(20):
        scope = await deployment.open_session()
        async with asyncio.TaskGroup() as group:
            follower = group.create_task(_follow(watching, scope, versions, outage))
            for _ in range(ROUNDS):
                await _await_version(versions, await _write_until_known(writing, scope, outage))
                outage.begin()
                deployment.server.kill()
                await deployment.restart()
                outage.end()
            await _await_version(versions, await _write_until_known(writing, scope, outage))
            follower.cancel()


async def _follow(host: AnyHost, scope: CallScope, versions: asyncio.Queue[int], outage: Outage) -> None:
    """Hands on the versions of x, each once and none left out, whatever happens to the watch."""
    position = 0
    while True:
        try:
            async with aclosing(host.watch_variables(scope, ["x"], resume_after={"x": position})) as updates:
                async for update in updates:
                    if update.variable is not None:
                        assert update.variable.version == position + 1
                        position += 1
                        versions.put_nowait(position)
        except BridgeError as error:
            if error.code is not Code.UNAVAILABLE:
                raise
            await outage.over()


async def _await_version(versions: asyncio.Queue[int], version: object) -> None:
    while await versions.get() != version:
        pass


async def _write_until_known(host: AnyHost, scope: CallScope, outage: Outage) -> object:
    while True:
        try:
            return (await host.set_variables(scope, [Write(name="x", value=-1)]))["x"]
        except BridgeError as error:
            if error.code is not Code.UNAVAILABLE:
                raise
            await outage.over()


async def test_watch_of_a_host_that_vanishes_is_unavailable_and_can_be_resumed(host_process: HostProcess) -> None:
    channel = engines.connect(host_process.address)
    async with asyncio.timeout(20):
        host = GrpcHost(channel)
        scope = CallScope((await host.open_session(CallScope())).session_id)
        async with aclosing(host.watch_variables(scope, ["x"])) as updates:
            await anext(updates)
            await host.set_variables(scope, [Write(name="x", value="before")])
            seen = (await anext(updates)).variable
            assert seen is not None
            await host.set_variables(scope, [Write(name="x", value="not seen")])
            host_process.kill()
            with pytest.raises(BridgeError) as refusal:
                while (update := (await anext(updates)).variable) is not None:
                    seen = update
        assert refusal.value.code is Code.UNAVAILABLE
        await asyncio.to_thread(host_process.start)
        await channel.ready()
        await host.set_variables(scope, [Write(name="x", value="after")])
        resumed = host.watch_variables(scope, ["x"], resume_after={"x": seen.version})
        async with aclosing(resumed) as updates:
            await anext(updates)
            following = [seen.version]
            while following[-1] < 3:
                update = (await anext(updates)).variable
                assert update is not None
                following.append(update.version)
        assert following == list(range(seen.version, 4))
        await host.aclose()
