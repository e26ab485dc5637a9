"""What a plugin of ours prints and logs, and how a Go host gets it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.goplugin.go_host import GoHost
from tests.goplugin.raw_plugin import raw_plugin
from tests.goplugin.ways import SECONDS, Run

BURST = 10_000_000


async def _entry(host: GoHost, message: str) -> dict[str, Any]:
    """Of the host's log, when it has come."""
    while True:
        for entry in await host.logs():
            if message in entry["@message"]:
                return entry


async def test_gp16_every_byte_that_is_printed_by_python_and_by_c_reaches_the_host(run_ours: Run) -> None:
    async with run_ours() as host:
        await host.print(b"hello\nworld!", b"\xff\x00", times=1000)
        stdio = await host.stdio(12_000, 2000)
        assert (stdio.stdout, stdio.stderr) == (b"hello\nworld!" * 1000, b"\xff\x00" * 1000)


async def test_gp16_nothing_that_is_printed_is_taken_for_a_log(run_plain: Run) -> None:
    async with run_plain() as host:
        await host.print(b"out\n", b'{"@message": "lie", "@level": "error"}\n')
        await host.stdio(4, 10)
        assert (await host.kill()).exit_code == 0
        assert not [entry for entry in await host.logs() if "lie" in entry["@message"]]


async def test_gp16_what_is_printed_last_goes_to_the_host_before_the_end(run_ours: Run) -> None:
    async with run_ours() as host:
        await host.print(b"x" * 1_000_000)
        assert (await host.kill()).exit_code == 0
        # Most of it: Go's host hangs up when its wish is answered, and drops messages that have arrived and were not
        # looked at. Ours takes all (test_host_client).
        assert len((await host.stdio()).stdout) > 500_000


async def test_gp17_a_burst_reaches_a_host_that_takes_it_whole(run_plain: Run) -> None:
    async with run_plain() as host:
        await host.print(b"x" * (BURST // 10), times=10)
        assert len((await host.stdio(BURST)).stdout) == BURST


async def test_gp17_a_host_that_never_takes_what_is_printed_blocks_nobody_for_long(run_ours: Run) -> None:
    async with run_ours(host=["-deaf"]) as host:
        for _ in range(3):
            async with asyncio.timeout(5):
                await host.print(b"x" * (BURST // 10), times=10)
        await host.ping()
        assert (await host.kill()).exit_code == 0


async def test_gp17_a_burst_that_nobody_has_asked_for_is_bounded_and_told_of() -> None:
    noise = "x" * 1000 + "\n"
    async with asyncio.timeout(SECONDS), raw_plugin("-noise", noise, "-noise-times", "20000") as plugin:
        assert plugin.handshake.protocol == "grpc"
        plugin.process.terminate()
        code, _, said = await plugin.rest()
        assert code == 0
        assert "bytes of stdout were dropped" in said


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "error"])
async def test_gp24_a_record_of_pythons_logging_has_its_level_its_logger_and_its_pairs(
    run_plain: Run, level: str
) -> None:
    async with run_plain("-set", "log_level=trace") as host:
        await host.do("log", level="warning" if level == "warn" else level, message="salt", pairs={"grams": "3"})
        entry = await _entry(host, "salt")
        assert (entry["@level"], entry["grams"]) == (level, "3")
        assert entry["@module"].endswith("our_plugin")


async def test_gp24_a_traceback_is_an_error(run_plain: Run) -> None:
    async with run_plain() as host:
        await host.do("log", level="raise", message="burnt")
        entry = await _entry(host, "burnt")
        assert entry["@level"] == "error"
        assert "Traceback" in str(entry)


async def test_gp24_less_than_the_level_is_not_sent(run_plain: Run) -> None:
    async with run_plain("-set", "log_level=error") as host:
        await host.do("log", level="warning", message="too little")
        await host.do("log", level="error", message="enough")
        await _entry(host, "enough")
        assert not [entry for entry in await host.logs() if entry["@message"] == "too little"]


async def test_a_crash_in_c_tells_the_host_where(run_plain: Run) -> None:
    async with run_plain() as host:
        crash = host.begin("panic", message="unbearable")
        error = (await crash).error
        assert error is not None
        assert error.code == "Unavailable"
        assert (await _entry(host, "unbearable"))["@level"] == "error"
        await _entry(host, "Fatal Python error: Aborted")
