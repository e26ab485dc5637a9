"""Reattaching, managed clients, where a client may be used, code that blocks, and what plugins print."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from bridge.errors import BridgeError, Code
from bridge.goplugin import ReattachConfig, cleanup_clients
from bridge.goplugin import sync as blocking
from bridge.goplugin.process.process_identity import ProcessIdentity
from tests.goplugin.host_side import (
    client_of,
    code_of,
    get,
    host_environment,
    put,
    quiet,
    started,
    sync_client_of,
)
from tests.goplugin.process_programs import ended, is_known
from tests.goplugin.proto import kv_pb2, probe_pb2
from tests.goplugin.ways import CHECKOUT, OUR_PLUGIN, SECONDS
from tests.support.waiting import until


@asynccontextmanager
async def running(*command: str | Path) -> AsyncIterator[ReattachConfig]:
    """A plugin in test mode."""
    process = await asyncio.create_subprocess_exec(*map(str, command), "-test", stdout=PIPE, cwd=CHECKOUT)
    try:
        assert process.stdout is not None
        yield ReattachConfig.from_json(await process.stdout.readline())
        assert process.returncode is None
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("language", ["Go", "Python"])
async def test_gp28_a_plugin_in_test_mode_outlives_its_hosts(go_plugin: Path, language: str) -> None:
    async with asyncio.timeout(SECONDS), running(*([go_plugin] if language == "Go" else OUR_PLUGIN)) as config:
        assert config.test
        async with started([], reattach=config) as client:
            await client.ping()
            await put(client, "k", b"v")
            assert client.reattach_config == config
            assert await client.kill()
        async with started([], reattach=ReattachConfig.from_json(config.to_json())) as client:
            assert await get(client, "k") == b"v"


@pytest.mark.parametrize("language", ["Go", "Python"])
async def test_gp29_a_second_host_attaches_to_a_plugin_and_ends_it(go_plugin: Path, language: str) -> None:
    command = [go_plugin] if language == "Go" else OUR_PLUGIN
    async with started(command, cwd=CHECKOUT) as first:
        await put(first, "k", b"v")
        process = ProcessIdentity.of(first.pid)
        async with started([], reattach=ReattachConfig.from_json(first.reattach_config.to_json())) as second:
            assert await get(second, "k") == b"v"
            assert await second.kill()
        await ended(process)
        await until(lambda: first.exited)
        assert first.exited is not None
        assert first.exited.code == 0


async def test_of_a_wrapper_that_was_reattached_nothing_is_left(go_plugin: Path) -> None:
    async with started(["sh", "-c", '"$0" -linger 60s; exit', str(go_plugin)]) as first:
        wrapper = ProcessIdentity.of(first.pid)
        async with started([], reattach=first.reattach_config, grace=0.2) as second:
            await second.ping()
            assert not await second.kill()
        await ended(wrapper)


async def test_a_plugin_with_automtls_or_multiplexing_cannot_be_reattached(go_plugin: Path) -> None:
    for settings in ({"auto_mtls": True}, {"multiplex": True}):
        async with started([go_plugin], **settings) as client:
            with pytest.raises(BridgeError, match="cannot be reattached") as raised:
                _ = client.reattach_config
            assert raised.value.reason == "REATTACH"


async def _refused(config: ReattachConfig, **settings: Any) -> BridgeError:
    async with asyncio.timeout(SECONDS):
        with pytest.raises(BridgeError) as raised:
            await client_of([], reattach=config, **settings).start()
    return raised.value


async def test_a_plugin_that_is_gone_or_does_not_fit_is_not_reattached(go_plugin: Path) -> None:
    async with started([go_plugin], grace=0.0) as client:
        config = client.reattach_config
    error = await _refused(config)
    assert (error.code, error.reason) == (Code.NOT_FOUND, "PLUGIN_NOT_RUNNING")
    live = ReattachConfig(network="unix", address=config.address, protocol_version=1, pid=os.getpid())
    assert (await _refused(live)).reason == "NOT_CONNECTED"
    for wrong, reason in (
        ({"protocol": "netrpc"}, "PLUGIN_PROTOCOL"),
        ({"network": "pigeon"}, "PLUGIN_ADDRESS"),
        ({"protocol_version": 9}, "APP_VERSION"),
    ):
        fields: dict[str, Any] = {"network": "unix", "address": "/x", "protocol_version": 1, "pid": os.getpid()}
        assert (await _refused(ReattachConfig(**(fields | wrong)))).reason == reason


async def test_a_process_that_has_got_the_number_of_a_plugin_is_not_killed(go_plugin: Path) -> None:
    other = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
    try:
        async with started([go_plugin]) as client:
            address = client.reattach_config.address
            config = ReattachConfig(network="unix", address=address, protocol_version=1, pid=other.pid)
            error = await _refused(config)
            assert (error.code, error.reason) == (Code.NOT_FOUND, "PLUGIN_NOT_RUNNING")
            await client.ping()
        assert other.returncode is None
    finally:
        other.kill()
        await other.wait()


async def test_a_plugin_whose_host_in_go_has_not_told_its_version_is_reattached(go_plugin: Path) -> None:
    async with started([go_plugin]) as client:
        known = client.reattach_config
        config = ReattachConfig(network="unix", address=known.address, protocol_version=0, pid=known.pid, test=True)
        async with started([], reattach=config) as second:
            await second.ping()
            assert second.protocol_version == 1


async def test_managed_clients_are_ended_together(go_plugin: Path) -> None:
    async with (
        started([go_plugin], managed=True) as one,
        started([go_plugin], managed=True) as two,
        started([go_plugin]) as unmanaged,
    ):
        for _ in range(2):
            await cleanup_clients()
            assert [client.is_running for client in (one, two, unmanaged)] == [False, False, True]


def test_managed_clients_of_code_that_blocks_are_ended_together(go_plugin: Path) -> None:
    with sync_client_of([go_plugin], managed=True) as managed, sync_client_of([go_plugin]) as unmanaged:
        blocking.cleanup_clients()
        assert [client.is_running for client in (managed, unmanaged)] == [False, True]
    blocking.cleanup_clients()


async def test_a_client_in_another_event_loop_says_so(go_plugin: Path) -> None:
    async with started([go_plugin]) as client:
        for use in (client.ping, client.kill, client.start, lambda: client.dispense("kv")):
            with pytest.raises(BridgeError, match="another event loop") as raised:
                await asyncio.to_thread(asyncio.run, use())
            assert raised.value.reason == "OTHER_LOOP"
        await client.ping()


def test_a_client_may_be_used_in_one_event_loop_after_another(go_plugin: Path) -> None:
    client = client_of([go_plugin])

    async def use() -> None:
        async with client:
            await client.ping()

    asyncio.run(use())
    asyncio.run(use())


def test_one_blocking_client_serves_many_threads(go_plugin: Path) -> None:
    with sync_client_of([go_plugin], auto_mtls=True) as client:
        kv, failures = client.dispense("kv"), []

        def use(number: int) -> None:
            try:
                for _ in range(20):
                    kv.Put(kv_pb2.PutRequest(key=str(number), value=b"%d" % number))
                    assert kv.Get(kv_pb2.GetRequest(key=str(number))).value == b"%d" % number
                    client.ping()
            except Exception as error:  # noqa: BLE001 - told below
                failures.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


def test_a_blocking_client_tells_a_crash_and_is_over_after_its_end(go_plugin: Path) -> None:
    with pytest.raises(grpc.RpcError) as raised, sync_client_of([go_plugin]) as client:
        try:
            client.dispense("probe").Exit(probe_pb2.ExitRequest(code=7))
        except grpc.RpcError as error:
            reason = client.explained(error)
            assert isinstance(reason, BridgeError)
            assert "exit code 7" in reason.message
            with pytest.raises(BridgeError, match="exit code 7"):
                client.ping()
            raise
    assert code_of(raised.value) == "UNAVAILABLE"
    assert "exit code 7" in raised.value.__notes__[0]
    with pytest.raises(BridgeError) as over:
        client.start()
    assert over.value.reason == "CLIENT_CLOSED"


def test_a_blocking_client_that_cannot_start_leaves_no_thread(go_plugin: Path) -> None:
    before = threading.active_count()
    with pytest.raises(BridgeError, match="no such file"), sync_client_of([go_plugin.parent / "none"]):
        raise AssertionError
    assert threading.active_count() == before


INTERRUPTED = """
import os, signal, sys, threading
from tests.goplugin.host_side import sync_client_of

def interrupt():
    while not os.path.exists(sys.argv[1]):
        pass
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    with sync_client_of(["sh", "-c", f"echo $$ > {sys.argv[1]}.new; mv {sys.argv[1]}.new {sys.argv[1]}; sleep 60"]):
        pass
except KeyboardInterrupt:
    pid = int(open(sys.argv[1]).read())
    print("interrupted", os.path.exists(f"/proc/{pid}"), threading.active_count())
"""


def test_ctrl_c_while_a_blocking_client_starts_ends_the_plugin(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "pid")]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=host_environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.stdout, done.stderr) == ("interrupted False 1\n", "")


FORKED = """
import asyncio, os, sys
from bridge.errors import BridgeError
from tests.goplugin.host_side import client_of, sync_client_of

def in_child(use):
    pid = os.fork()
    if pid == 0:
        try:
            use()
        except BridgeError as error:
            os.write(1, f"{error.reason}\\n".encode())
        return True
    os.waitpid(pid, 0)
    return False

with sync_client_of(sys.argv[1:]) as client:
    child = in_child(client.ping)
    if not child:
        client.ping()
if child:
    os._exit(0)

async def main():
    async with client_of(sys.argv[1:]) as client:
        child = in_child(lambda: client.ping().send(None))
        if not child:
            await client.ping()
    if child:
        os._exit(0)

asyncio.run(main())
"""


def test_a_fork_leaves_the_plugin_to_its_parent(go_plugin: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(go_plugin)]
    # What gRPC itself does at a fork may crash the child, now and then.
    environment = host_environment() | {"GRPC_ENABLE_FORK_SUPPORT": "false"}
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.stdout, done.returncode) == ("FORKED\nFORKED\n", 0), done.stderr


class Full:
    """Takes nothing."""

    def write(self, data: bytes) -> int:
        """Fails."""
        raise OSError("full")


@pytest.mark.parametrize("language", ["Go", "Python"])
async def test_every_byte_that_a_plugin_prints_arrives_where_the_host_wants_it(go_plugin: Path, language: str) -> None:
    command = [go_plugin] if language == "Go" else OUR_PLUGIN
    out, err = io.BytesIO(), io.BytesIO()
    data = bytes(range(256)) * 40
    async with started(command, cwd=CHECKOUT, sync_stdout=out, sync_stderr=err, auto_mtls=True) as client:
        probe = await client.dispense("probe")
        await probe.Print(probe_pb2.PrintRequest(stdout=data, stderr=b"\xff\n", times=50))
        await until(lambda: len(out.getvalue()) >= len(data) * 50 and len(err.getvalue()) >= 100)
        assert await client.kill()
    assert out.getvalue() == data * 50
    assert err.getvalue() == b"\xff\n" * 50


async def test_what_a_plugin_of_ours_prints_just_before_its_end_arrives() -> None:
    out = io.BytesIO()
    async with started(OUR_PLUGIN, cwd=CHECKOUT, sync_stdout=out) as client:
        probe = await client.dispense("probe")
        await probe.Print(probe_pb2.PrintRequest(stdout=b"x" * 1000, times=100))
    assert len(out.getvalue()) == 100_000


async def test_a_sink_that_fails_gets_nothing_more_and_the_others_do(
    go_plugin: Path, caplog: pytest.LogCaptureFixture
) -> None:
    err = io.BytesIO()
    async with started([go_plugin], sync_stdout=Full(), sync_stderr=err) as client:
        probe = await client.dispense("probe")
        await probe.Print(probe_pb2.PrintRequest(stdout=b"out", stderr=b"err", times=500))
        await until(lambda: len(err.getvalue()) == 1500)
        await client.ping()
    assert len([line for line in quiet(caplog) if "could not be written" in line]) == 1


async def test_what_nobody_wants_to_have_does_not_block_the_plugin(go_plugin: Path) -> None:
    async with started([go_plugin]) as client:
        probe = await client.dispense("probe")
        await probe.Print(probe_pb2.PrintRequest(stdout=b"x" * 10_000, times=500))


@pytest.mark.parametrize("language", ["Go", "Python"])
async def test_logs_of_a_plugin_have_its_levels_and_fields(
    go_plugin: Path, language: str, caplog: pytest.LogCaptureFixture
) -> None:
    command = [go_plugin] if language == "Go" else [*OUR_PLUGIN, "-set", "log_level=trace"]
    name = "bridge.goplugin.host." + Path(command[0]).name.replace(".", "_")
    with caplog.at_level(5, name):
        async with started(command, cwd=CHECKOUT) as client:
            probe = await client.dispense("probe")
            for level in ("trace", "debug", "info", "warn", "error"):
                await probe.Log(probe_pb2.LogRequest(level=level, message=f"at {level}", pairs={"key": "a b"}))
    found = {r.getMessage().split(" key=")[0]: r for r in caplog.records if r.name == name}
    levels = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "error": 40}
    assert {level: found[f"at {level}"].levelno for level in levels} == levels
    assert found["at warn"].__dict__["fields"]["key"] == "a b"


async def test_the_signal_that_ended_a_plugin_is_told(go_plugin: Path) -> None:
    async with started([go_plugin]) as client:
        pid = client.pid
        os.kill(pid, signal.SIGTERM)
        await until(lambda: client.exited)
        assert not is_known(pid)
        with pytest.raises(BridgeError, match="SIGTERM"):
            await client.ping()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"cmd": []}, "cmd"),
        ({"reattach": ReattachConfig(network="unix", address="/x", protocol_version=1, pid=1)}, "cmd"),
        ({"start_timeout": -1.0}, "start_timeout"),
        ({"grace": float("nan")}, "grace"),
        ({"grace": float("inf")}, "grace"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(BridgeError, match=problem) as raised:
        client_of(settings.pop("cmd", ["x"]), **settings)
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_a_setting_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="commnd"):
        client_of(["x"], commnd=["x"])
