"""Plugins that die and are started again, one by one and in pools."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError
from bridge.goplugin import PluginClient, PluginPool, RestartPolicy
from bridge.goplugin.host.restart import Restarts
from bridge_client.backoff import Backoff
from tests.goplugin.host_side import COOKIE, PLUGINS, get, put, quiet, started
from tests.goplugin.process_programs import is_known
from tests.goplugin.proto import kv_pb2
from tests.goplugin.ways import SECONDS
from tests.support.waiting import until

SOON = RestartPolicy(backoff=Backoff(initial=0.01, maximum=0.01))
LATE = RestartPolicy(backoff=Backoff(initial=60.0, maximum=60.0))


@given(
    st.integers(0, 8),
    st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=30),
    st.floats(0, 1),
)
def test_a_plugin_is_given_up_after_so_many_deaths_in_a_row(
    most: int, lives: list[tuple[float, bool]], random: float
) -> None:
    policy = RestartPolicy(max_restarts=most, reset_after=60.0)
    restarts, now, row = Restarts(policy), 0.0, 0
    for life, starts in lives:
        if starts:
            restarts.started(now)
            now += life
            if life >= 60.0:
                row = 0
        row += 1
        wait = restarts.died(now, random)
        assert wait == (None if row > most else policy.backoff.delay(row, random))
        now += wait or 0.0


@pytest.mark.parametrize("bad", [{"max_restarts": -1}, {"reset_after": -1.0}, {"reset_after": float("nan")}])
def test_a_policy_without_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(BridgeError):
        RestartPolicy(**bad)


async def test_a_plugin_that_dies_is_started_again_and_who_dispenses_waits(go_plugin: Path) -> None:
    told: list[PluginClient] = []

    def tell(client: PluginClient) -> None:
        told.append(client)
        raise ValueError  # is logged, and nothing else

    async with started([go_plugin], restart=SOON, auto_mtls=True) as client:
        client.on_restart = tell
        for number in range(1, 4):
            before, kv = client.pid, await client.dispense("kv")
            os.kill(before, signal.SIGKILL)
            await _other_than(client, before)
            await put(client, "k", b"v")
            assert await get(client, "k") == b"v"
            assert client.pid != before
            assert told == [client] * number
            with pytest.raises((grpc.aio.AioRpcError, grpc.aio.UsageError)):
                await kv.Get(kv_pb2.GetRequest(key="k"))  # of a plugin that is gone
        assert await client.kill()
        assert not client.is_coming_back


async def _other_than(client: PluginClient, pid: int) -> None:
    """Returns when that plugin is seen to have ended."""
    await until(lambda: not client.is_running or client.pid != pid)


async def test_a_kill_ends_the_wait_for_a_restart(go_plugin: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with started([go_plugin], restart=LATE) as client:
        os.kill(client.pid, signal.SIGKILL)
        await until(lambda: client.is_coming_back)
        waiting = [asyncio.create_task(client.dispense("kv")) for _ in range(3)]
        await until(lambda: "is started again in" in caplog.text)
        assert await client.kill()
        for task in waiting:
            with pytest.raises(BridgeError) as raised:
                await task
            assert raised.value.reason == "PLUGIN_NOT_STARTED"
        await client.start()
        await client.ping()


async def test_a_kill_while_the_next_one_starts_leaves_nothing(go_plugin: Path, tmp_path: Path) -> None:
    script = f'echo $$ >> {tmp_path}/pids; [ $(wc -l < {tmp_path}/pids) = 1 ] || exec sleep 60; exec "$0"'
    async with started(["sh", "-c", script, str(go_plugin)], restart=SOON) as client:
        os.kill(client.pid, signal.SIGKILL)
        await until(lambda: (tmp_path / "pids").read_text().count("\n") == 2)
        assert await client.kill()
    assert [is_known(int(pid)) for pid in (tmp_path / "pids").read_text().split()] == [False, False]


async def test_a_plugin_that_dies_too_often_is_given_up(go_plugin: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy = RestartPolicy(max_restarts=2, backoff=SOON.backoff)
    async with started([go_plugin], restart=policy) as client:
        for _ in range(3):
            before = client.pid
            os.kill(before, signal.SIGKILL)
            await _other_than(client, before)
            await until(lambda: not client.is_coming_back)
        with pytest.raises(BridgeError, match="SIGKILL") as raised:
            await client.dispense("kv")
        assert raised.value.reason == "PLUGIN_EXITED"
        assert "it has died too often" in caplog.text


async def test_a_plugin_that_cannot_be_started_again_is_given_up(go_plugin: Path, tmp_path: Path) -> None:
    program = tmp_path / "plugin"
    program.symlink_to(go_plugin)
    async with started([program], restart=RestartPolicy(max_restarts=2, backoff=SOON.backoff)) as client:
        program.unlink()
        os.kill(client.pid, signal.SIGKILL)
        await until(lambda: client.is_coming_back)
        with pytest.raises(BridgeError) as raised:
            await client.ping()
        assert raised.value.reason == "PLUGIN_NOT_FOUND"


async def test_without_a_policy_a_plugin_that_dies_is_not_started_again(go_plugin: Path) -> None:
    async with started([go_plugin]) as client:
        os.kill(client.pid, signal.SIGKILL)
        await until(lambda: client.exited)
        assert not client.is_coming_back
        await client.start()  # does nothing
        with pytest.raises(BridgeError, match="SIGKILL"):
            await client.dispense("kv")


@asynccontextmanager
async def pool_of(size: int, command: list[Any], **settings: Any) -> AsyncIterator[PluginPool]:
    """One that runs."""
    usual: dict[str, Any] = {"handshake": COOKIE, "plugins": PLUGINS, "auto_mtls": False}
    async with asyncio.timeout(SECONDS), PluginPool(size, cmd=command, **(usual | settings)) as pool:
        yield pool


async def test_a_pool_gives_calls_to_the_process_with_the_fewest_leases(go_plugin: Path) -> None:
    async with pool_of(2, [go_plugin], plugins={"all": PLUGINS["all"]}) as pool:
        async with pool.lease("all") as (first, _), pool.lease("all") as (second, _), pool.lease("all") as (third, _):
            assert first is not second
            assert third in (first, second)
            async with pool.lease("all") as (fourth, _):
                assert {third, fourth} == {first, second}
        pids = [client.pid for client in pool.clients]
    assert [is_known(pid) for pid in pids] == [False, False]


async def test_while_one_of_a_pool_is_dead_the_rest_serve_and_then_it_is_back(go_plugin: Path) -> None:
    async with pool_of(2, [go_plugin], restart=LATE) as pool:
        one, other = pool.clients
        os.kill(one.pid, signal.SIGKILL)
        await until(lambda: not one.is_running)
        for _ in range(3):
            async with pool.lease("kv") as kv, pool.lease("kv"):
                await kv.Put(kv_pb2.PutRequest(key="k", value=b"v"))
        assert await get(other, "k") == b"v"
    async with pool_of(2, [go_plugin], restart=SOON) as pool:
        pids = [client.pid for client in pool.clients]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: all(client.is_running is False or client.pid not in pids for client in pool.clients))
        async with pool.lease("kv") as kv:
            await kv.Put(kv_pb2.PutRequest(key="k", value=b"v"))


async def test_a_pool_of_which_all_are_given_up_says_so(go_plugin: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with pool_of(2, [go_plugin], restart=RestartPolicy(max_restarts=0)) as pool:
        for client in pool.clients:
            os.kill(client.pid, signal.SIGKILL)
        await until(lambda: caplog.text.count("died too often") == 2)
        with pytest.raises(BridgeError, match="SIGKILL"):
            async with pool.lease("kv"):
                raise AssertionError
    assert not [line for line in quiet(caplog) if "asyncio" in line]


async def test_an_error_of_who_has_a_lease_is_not_taken_for_one_of_the_pool(go_plugin: Path) -> None:
    async with pool_of(1, [go_plugin]) as pool:
        with pytest.raises(ValueError, match="mine"):
            async with pool.lease("kv"):
                raise ValueError("mine")
        with pytest.raises(BridgeError, match="unknown plugin type"):
            async with pool.lease("other"):
                raise AssertionError


async def test_a_pool_whose_start_is_cancelled_leaves_nothing(go_plugin: Path, tmp_path: Path) -> None:
    script = f'echo $$ >> {tmp_path}/pids; mkdir {tmp_path}/first && exec "$0"; exec sleep 60'
    pool = PluginPool(3, cmd=["sh", "-c", script, str(go_plugin)], handshake=COOKIE, plugins=PLUGINS, auto_mtls=False)
    async with asyncio.timeout(SECONDS):
        starting = asyncio.create_task(pool.__aenter__())
        await until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().count("\n") == 3)
        await until(lambda: any(client.is_running for client in pool.clients))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert not any(is_known(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_pool_of_nothing_is_refused() -> None:
    with pytest.raises(BridgeError, match="size"):
        PluginPool(0, cmd=["x"], handshake=COOKIE, plugins=PLUGINS)
