"""go-plugin with itself: what "works" means for everyone else, and what Go's own host and plugin cannot do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from tests.goplugin.conftest import RunGoHost
from tests.goplugin.go_host import GoHost, HostError, is_running
from tests.support.waiting import until

SECONDS = 30
"""That a test may take."""
LARGE = 64 * 1024 * 1024

Run = Callable[..., AbstractAsyncContextManager[GoHost]]


@pytest.fixture(params=["plain", "AutoMTLS", "static TLS"])
def tls_flags(request: pytest.FixtureRequest, static_tls: list[str]) -> tuple[list[str], list[str]]:
    """Of the host and of the plugin."""
    flags: dict[str, tuple[list[str], list[str]]] = {
        "plain": ([], []),
        "AutoMTLS": (["-automtls"], []),
        "static TLS": (static_tls, static_tls),
    }
    return flags[request.param]


@pytest.fixture(params=[False, True], ids=["many sockets", "one socket"])
def multiplexed(request: pytest.FixtureRequest) -> bool:
    """Whether the broker's connections go through the main socket."""
    return bool(request.param)


@pytest.fixture
def run(run_go_host: RunGoHost, go_plugin: Path, tls_flags: tuple[list[str], list[str]], multiplexed: bool) -> Run:
    """A host with a plugin, in each way to connect them."""
    host_flags, plugin_flags = tls_flags
    mux = ["-mux"] if multiplexed else []

    @asynccontextmanager
    async def run(*flags: str) -> AsyncIterator[GoHost]:
        async with asyncio.timeout(SECONDS):
            async with run_go_host([go_plugin, *plugin_flags, *flags], *host_flags, *mux) as host:
                yield host

    return run


async def test_values_are_kept_and_statuses_come_through(run: Run) -> None:
    async with run() as host:
        await host.ping()
        await host.put("k", b"\x00v")
        assert await host.get("k") == b"\x00v"
        with pytest.raises(HostError, match="no value") as raised:
            await host.get("other")
        assert raised.value.code == "NotFound"


async def test_the_broker_connects_both_ways_again_and_again(run: Run) -> None:
    async with run() as host:
        counted = await host.count("k", 3, times=50)
        assert (counted.value, counted.sums) == (150, 50)
        assert [await host.helper(number) for number in range(5)] == [0, 2, 4, 6, 8]


async def test_nobody_behind_an_id_of_the_broker_is_found_out_after_5_seconds(
    run_go_host: RunGoHost, go_plugin: Path
) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin]) as host:
        with pytest.raises(HostError, match="timeout"):
            await host.do("dial", number=77)


async def test_streams_of_all_shapes_come_whole_and_in_order(run: Run) -> None:
    async with run() as host:
        assert await host.stream(1000, 10) == 1000
        assert await host.do("collect", times=1000, size=10) == {"chunks": 1000, "bytes": 10_000}
        assert await host.do("chat", times=100, size=10) == 100


async def test_a_message_of_64_megabytes_goes_there_and_back(run: Run) -> None:
    async with run("-max-message", str(LARGE + 100)) as host:
        assert await host.big(LARGE) == LARGE


async def test_a_plugin_takes_4_mebibytes_and_refuses_more_with_both_numbers(run: Run) -> None:
    async with run() as host:
        with pytest.raises(HostError, match=r"received message larger than max \(\d+ vs\. 4194304\)") as raised:
            await host.put("k", bytes(5_000_000))
        assert raised.value.code == "ResourceExhausted"


async def test_what_is_printed_reaches_the_host_byte_by_byte(run: Run) -> None:
    async with run() as host:
        await host.print(b"hello\nworld!", b"\xff\x00", times=1000)
        stdio = await host.stdio(12_000, 2000)
        assert (stdio.stdout, stdio.stderr) == (b"hello\nworld!" * 1000, b"\xff\x00" * 1000)


async def test_a_killed_plugin_ends_by_itself_and_leaves_its_socket_only_if_multiplexed(
    run: Run, multiplexed: bool
) -> None:
    async with run() as host:
        started = await host.start()
        await host.ping()
        ending = await host.kill()
        assert (ending.exit_code, ending.signal, ending.forced, ending.exited) == (0, None, False, True)
        assert _exists(started.address) == multiplexed  # Go's leak


async def test_shutdown_cuts_calls_in_flight(run: Run) -> None:
    async with run() as host:
        hanging = host.begin("hang")
        while (await host.info()).hanging == 0:
            pass
        ending = await host.kill()
        assert (ending.exit_code, ending.forced) == (0, False)
        error = (await hanging).error
        assert error is not None
        assert error.code in ("Unavailable", "Canceled")


async def test_a_plugin_that_does_not_end_is_killed_after_2_seconds(run_go_host: RunGoHost, go_plugin: Path) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin, "-linger", "1m"]) as host:
        await host.ping()
        ending = await host.kill()
        assert (ending.signal, ending.forced) == (9, True)
        assert "plugin failed to exit gracefully" in [entry["@message"] for entry in await host.logs()]


async def test_a_plugin_outlives_a_host_that_is_killed_unless_it_is_multiplexed(run: Run, multiplexed: bool) -> None:
    async with run() as host:
        started = await host.start()
        await host.ping()
        await host.die()
        if multiplexed:  # its only listener is the session, which has ended
            await until(lambda: not is_running(started.pid))
        else:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(started.address)
            assert is_running(started.pid)
        assert _exists(started.address)


async def test_another_host_attaches_to_a_plugin_and_can_kill_it(run_go_host: RunGoHost, go_plugin: Path) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin]) as first:
        await first.put("k", b"v")
        config = msgspec.json.encode(await first.reattach_config()).decode()
        async with run_go_host([], "-reattach", config) as second:
            assert await second.get("k") == b"v"
            assert (await second.kill()).forced is False
        while not await first.do("exited"):
            pass


def _exists(path: str) -> bool:
    return Path(path).exists()
