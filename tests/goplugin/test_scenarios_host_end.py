"""How plugins of a host of ours end: asked to, by force, by themselves, with their host; and what is left then."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from bridge import engines
from bridge.engines.base import ChannelOptions
from bridge.errors import BridgeError
from bridge.goplugin import ReattachConfig
from bridge.goplugin.process.process_identity import ProcessIdentity
from tests.goplugin.host_side import (
    CLOSED_BY_GO,
    children,
    client_of,
    code_of,
    host_environment,
    put,
    quiet,
    settings_of,
    started,
)
from tests.goplugin.process_programs import ended, is_known
from tests.goplugin.proto import kv_pb2, probe_pb2
from tests.goplugin.ways import CHECKOUT, OUR_PLUGIN, SECONDS, Way
from tests.support.waiting import until

PING, ACK = 6, 1
"""Of HTTP/2 (RFC 9113, 6.7)."""


class Wire:
    """Carries bytes between a host and a plugin, and counts the frames of the host's first connection."""

    def __init__(self) -> None:
        self.pings = self.frames = 0
        self._data = b""
        self._preface = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    def feed(self, data: bytes) -> None:
        """From the host."""
        self._data += data
        if self._preface:
            if len(self._data) < self._preface:
                return
            self._data, self._preface = self._data[self._preface :], 0
        while len(self._data) >= 9 and len(self._data) >= 9 + (size := int.from_bytes(self._data[:3])):
            kind, flags = self._data[3], self._data[4]
            self.frames += 1
            self.pings += kind == PING and not flags & ACK
            self._data = self._data[9 + size :]


@asynccontextmanager
async def tapped(address: str) -> AsyncIterator[tuple[str, list[Wire]]]:
    """A socket whose connections lead to another one, and what goes over each."""
    wires: list[Wire] = []
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Future[Any]] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, take: Any) -> None:
        while data := await reader.read(65536):
            take(data)
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(address)
        wire = Wire()
        wires.append(wire)
        writers.extend((writer, far_writer))
        tasks.append(asyncio.gather(carry(reader, far_writer, wire.feed), carry(far_reader, writer, len)))

    with tempfile.TemporaryDirectory() as folder:
        async with await asyncio.start_unix_server(serve, f"{folder}/tap"):
            yield f"{folder}/tap", wires
        for writer in writers:  # gRPC keeps a connection as long as somebody has a call of it
            writer.close()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def running(program: Path) -> AsyncIterator[ReattachConfig]:
    """A plugin in test mode."""
    process = await asyncio.create_subprocess_exec(str(program), "-test", stdout=PIPE)
    try:
        assert process.stdout is not None
        yield ReattachConfig.from_json(await process.stdout.readline())
    finally:
        process.kill()
        await process.communicate()


async def test_gp41_a_plugin_in_go_is_not_probed(go_plugin: Path) -> None:
    """Go's servers close connections that are probed more often than every five minutes (ENHANCE_YOUR_CALM). Grpc
    itself probes after data, so the stream has none while the frames are counted."""
    async with asyncio.timeout(SECONDS), running(go_plugin) as config:
        async with tapped(config.address) as (address, wires):
            known = ReattachConfig(network="unix", address=address, protocol_version=1, pid=config.pid, test=True)
            async with started([], reattach=known) as client:
                assert client.broker.channel_options.keepalive == 0
                hanging = (await client.dispense("probe")).Hang(probe_pb2.HangRequest())
                await client.ping()
                [wire] = [wire for wire in wires if wire.frames]
                before = wire.pings
                await asyncio.sleep(1.0)  # in which probes might come
                assert wire.pings <= before + 1  # after the answer
                hanging.cancel()
        async with tapped(config.address) as (address, wires):
            channel = engines.connect(f"unix:{address}", ChannelOptions(keepalive=0.05))
            await channel.ready()
            hanging = channel.for_stubs.unary_unary("/toolbridge.goplugintest.Probe/Hang")(b"")
            await until(lambda: wires[0].pings > 1)  # so they would be seen
            hanging.cancel()
            await channel.aclose()


@pytest.mark.parametrize("policy", ["Panic", "Exit"])
async def test_gp42_calls_fail_at_once_when_a_plugin_crashes_and_the_reason_can_be_had(
    way: Way, static_tls: list[str], go_plugin: Path, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings, flags = settings_of(way, static_tls)
    code, words = (2, "panic: oh no") if policy == "Panic" else (7, "")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async with started([go_plugin, *flags], **settings) as client:
            probe = await client.dispense("probe")
            pending = [asyncio.ensure_future(_outcome(probe.Hang(probe_pb2.HangRequest()))) for _ in range(10)]
            while (await probe.Info(probe_pb2.InfoRequest())).hanging < 10:
                pass
            request = probe_pb2.PanicRequest(message="oh no") if words else probe_pb2.ExitRequest(code=7)
            error = await _outcome(getattr(probe, policy)(request))
            async with asyncio.timeout(1.0):
                assert [code_of(failed) for failed in await asyncio.gather(*pending)] == ["UNAVAILABLE"] * 10
            reason = await client.explained(error)
            assert isinstance(reason, BridgeError)
            assert reason.reason == "PLUGIN_EXITED"
            for text in (f"exit code {code}", words):
                assert text in reason.message
            assert client.exited is not None
            assert client.exited.code == code
            with pytest.raises(BridgeError, match=f"exit code {code}"):
                await client.ping()
            with pytest.raises(BridgeError, match=f"exit code {code}"):
                await client.dispense("kv")
            raise error
    [note] = raised.value.__notes__
    assert f"exit code {code}" in note
    [told] = [record for record in caplog.records if record.name == "bridge.goplugin.host" and record.levelno >= 40]
    assert f"exit code {code}" in told.getMessage()
    assert words in told.getMessage()
    of_plugin = {r.getMessage(): r.levelname for r in caplog.records if r.name.startswith("bridge.goplugin.host.")}
    assert not words or of_plugin[next(line for line in of_plugin if line.startswith(words))] == "ERROR"


async def _outcome(call: Any) -> grpc.aio.AioRpcError:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        failure: grpc.aio.AioRpcError = error
        return failure
    raise AssertionError


async def test_gp42_a_ping_that_meets_the_crash_says_so(go_plugin: Path) -> None:
    async with started([go_plugin]) as client:
        process = ProcessIdentity.of(client.pid)
        os.kill(client.pid, signal.SIGKILL)
        with pytest.raises(BridgeError, match="ended with signal SIGKILL") as raised:
            await client.ping()
        assert raised.value.reason == "PLUGIN_EXITED"
        await ended(process)
        assert await client.kill()


async def test_gp43_of_a_wrapper_no_grandchild_is_left(go_plugin: Path, tmp_path: Path) -> None:
    script = f'sleep 60 & echo $! > {tmp_path}/pid; "$0"; exit 9'
    async with started(["sh", "-c", script, str(go_plugin)]) as client:
        await client.ping()
        wrapper, child = ProcessIdentity.of(client.pid), ProcessIdentity.of(int((tmp_path / "pid").read_text()))
        assert await client.kill()
    await ended(wrapper, child)


async def test_gp43_nor_when_the_wrapper_is_killed(go_plugin: Path, tmp_path: Path) -> None:
    script = f'"$0" & echo $! > {tmp_path}/pid; wait; exec sleep 60'
    async with started(["sh", "-c", script, str(go_plugin)], grace=0.3) as client:
        plugin = ProcessIdentity.of(int((tmp_path / "pid").read_text()))
        wrapper = ProcessIdentity.of(client.pid)
        assert not await client.kill()
    await ended(wrapper, plugin)


async def test_a_plugin_that_hangs_is_killed_with_all_it_has_started_after_the_grace_period(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, leaks: Leaks
) -> None:
    command = ["sh", "-c", f'sleep 60 & echo $! > {tmp_path}/pid; exec "$@"', "sh", *OUR_PLUGIN, "-stuck"]
    stuck = leaks.folder / "stuck"
    async with started(command, cwd=CHECKOUT, grace=0.3) as client:
        failing = asyncio.ensure_future(_outcome((await client.dispense("probe")).Hang(probe_pb2.HangRequest())))
        child, plugin = ProcessIdentity.of(int((tmp_path / "pid").read_text())), ProcessIdentity.of(client.pid)
        await until(stuck.exists)
        assert not await client.kill()
        await asyncio.wait((failing,))
    await ended(child, plugin)
    assert leaks.now()[2] == [stuck]
    [warning] = quiet(caplog)
    assert "failed to exit gracefully" in warning


async def test_a_kill_that_is_cancelled_kills_at_once(go_plugin: Path) -> None:
    async with started([go_plugin, "-linger", "60s"], grace=40.0) as client:
        process = ProcessIdentity.of(client.pid)
        killing = asyncio.create_task(client.kill())
        await asyncio.wait((killing,), timeout=0.1)
        killing.cancel()
        await asyncio.wait((killing,), timeout=20.0)
        assert killing.cancelled()
        assert not is_known(process.pid)
        assert await client.kill()


async def test_a_plugin_that_ends_when_its_streams_have_is_left_in_time() -> None:
    async with started([sys.executable, "-m", "tests.goplugin.bare_plugin", "patient"], cwd=CHECKOUT) as client:
        await client.ping()
        assert await client.kill()


async def test_a_plugin_that_takes_its_time_is_waited_for(go_plugin: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with started([go_plugin, "-linger", "300ms"]) as client:
        assert await client.kill()
    assert quiet(caplog) == []


HOST = """
import asyncio, sys
from tests.goplugin.host_side import client_of

async def main():
    client = client_of(sys.argv[2:], auto_mtls=sys.argv[1] == "1")
    await client.start()
    print(client.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("auto_mtls", ["0", "1"])
@pytest.mark.parametrize("language", ["Go", "Python"])
async def test_a_host_that_is_killed_leaves_no_plugin_and_no_grandchild(
    go_plugin: Path, language: str, auto_mtls: str, tmp_path: Path
) -> None:
    command = [str(go_plugin)] if language == "Go" else list(OUR_PLUGIN)
    wrapper = ["sh", "-c", f'sleep 60 & echo $! > {tmp_path}/pid; "$@"; exit', "sh"]
    async with asyncio.timeout(SECONDS):
        host = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOST, auto_mtls, *wrapper, *command, stdout=PIPE, cwd=CHECKOUT, env=host_environment()
        )
        assert host.stdout is not None
        found = [ProcessIdentity.of(int(await host.stdout.readline()))]
        found.append(ProcessIdentity.of(int((tmp_path / "pid").read_text())))
        found += map(ProcessIdentity.of, children(found[0].pid))
        assert len(found) == 4
        host.kill()
        await host.wait()
        await ended(*found)


QUIET_HOST = """
import asyncio, sys
from tests.goplugin.host_side import client_of, count, put

async def main():
    for auto_mtls in (False, True):
        for multiplex in (False, True):
            for _ in range(int(sys.argv[1])):
                async with client_of(sys.argv[2:], auto_mtls=auto_mtls, multiplex=multiplex) as client:
                    await put(client, "k", b"v")
                    await count(client, 3)

asyncio.run(main())
"""


@pytest.mark.parametrize("language", ["Go", "Python"])
async def test_nothing_comes_on_the_hosts_stderr(go_plugin: Path, language: str) -> None:
    """Not from gRPC's core, nor from asyncio, nor from logging, of which nothing is set up."""
    command = ["5", str(go_plugin)] if language == "Go" else ["1", *OUR_PLUGIN]
    async with asyncio.timeout(45):
        host = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "always",
            "-c",
            QUIET_HOST,
            *command,
            stderr=PIPE,
            cwd=CHECKOUT,
            env=host_environment(),
        )
        _, stderr = await host.communicate()
    said = [line for line in stderr.decode().splitlines() if CLOSED_BY_GO not in line]
    assert (host.returncode, said) == (0, [])


class Leaks:
    """What a process has open and lying around."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def now(self) -> tuple[int, list[int], list[Path], int, int]:
        """Descriptors, processes, files, threads and tasks."""
        fds = len(list(Path("/proc/self/fd").iterdir()))
        return fds, children(), list(self.folder.iterdir()), threading.active_count(), len(asyncio.all_tasks())


@pytest.fixture
def leaks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """With a folder of one's own for temporary files, whose path is short."""
    with tempfile.TemporaryDirectory(prefix="leaks") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Leaks(Path(folder))


async def cycle(command: Sequence[str | Path], settings: dict[str, Any]) -> None:
    """Start, call, end."""
    async with started(command, cwd=CHECKOUT, **settings) as client:
        await put(client, "k", b"v")
        assert await client.kill()


async def test_100_starts_and_ends_of_a_plugin_in_go_leave_nothing(
    go_plugin: Path, static_tls: list[str], leaks: Leaks
) -> None:
    ways = [Way(tls, multiplexed) for tls in ("plain", "AutoMTLS") for multiplexed in (False, True)]
    for way in ways:
        await cycle([go_plugin], settings_of(way, static_tls)[0])
    before = leaks.now()
    for number in range(100):
        await cycle([go_plugin], settings_of(ways[number % 4], static_tls)[0])
    assert leaks.now() == before


async def test_starts_and_ends_of_a_plugin_of_ours_leave_nothing(way: Way, static_tls: list[str], leaks: Leaks) -> None:
    settings, flags = settings_of(way, static_tls)
    await cycle([*OUR_PLUGIN, *flags], settings)
    before = leaks.now()
    for _ in range(3):
        await cycle([*OUR_PLUGIN, *flags], settings)
    assert leaks.now() == before


async def test_plugins_that_are_killed_leave_neither_sockets_nor_folders(go_plugin: Path, leaks: Leaks) -> None:
    for command in ([go_plugin], OUR_PLUGIN):
        async with started(command, cwd=CHECKOUT) as client:
            os.kill(client.pid, signal.SIGKILL)
            with pytest.raises(BridgeError):
                await client.ping()
        assert leaks.now()[2] == []


async def test_what_is_called_after_a_crash_is_logged_no_louder_than_the_crash(
    way: Way, static_tls: list[str], go_plugin: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, flags = settings_of(way, static_tls)
    async with started([go_plugin, *flags], **settings) as client:
        kv = await client.dispense("kv")
        os.kill(client.pid, signal.SIGKILL)
        await until(lambda: client.exited)
        for _ in range(3):
            await _outcome(kv.Get(kv_pb2.GetRequest(key="k")))
    [error] = quiet(caplog, logging.WARNING)
    assert "ended with signal SIGKILL" in error


async def test_a_stub_that_is_used_after_the_kill_fails(go_plugin: Path) -> None:
    client = client_of([go_plugin])
    async with asyncio.timeout(SECONDS):
        await client.start()
        kv = await client.dispense("kv")
        await client.kill()
        with pytest.raises(grpc.aio.UsageError, match="closed"):
            await kv.Get(kv_pb2.GetRequest(key="k"))
        with pytest.raises(BridgeError, match="was not started, or was ended"):
            await client.ping()
