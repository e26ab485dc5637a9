"""What users do with clients that no manual tells them to, and plugins in places where none is expected."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from asyncio.subprocess import PIPE
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from bridge.errors import BridgeError, Code
from bridge.goplugin import RestartPolicy
from bridge.goplugin.process.process_identity import ProcessIdentity
from bridge.goplugin.process.reattached_process import ReattachedProcess
from bridge.goplugin.transport.outlet import to_socket
from bridge_client.backoff import Backoff
from tests.goplugin.host_side import children, client_of, host_environment, started, sync_client_of
from tests.goplugin.process_programs import ended, logger, shell
from tests.goplugin.proto import probe_pb2
from tests.goplugin.raw_plugin import sockets_in
from tests.goplugin.ways import CHECKOUT, SECONDS
from tests.support.waiting import until


def test_a_client_whose_start_has_failed_may_start_in_another_loop(go_plugin: Path, tmp_path: Path) -> None:
    program = tmp_path / "plugin"
    client = client_of([program])

    async def use() -> None:
        async with asyncio.timeout(SECONDS), client:
            await client.ping()

    with pytest.raises(BridgeError, match="no such file"):
        asyncio.run(use())
    program.symlink_to(go_plugin)
    asyncio.run(use())


def test_a_client_with_many_users_may_go_from_loop_to_loop(go_plugin: Path) -> None:
    client = client_of([go_plugin])

    async def use() -> None:
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(client.start() for _ in range(3)))
            await client.ping()
            await asyncio.gather(*(client.kill() for _ in range(3)))

    for _ in range(2):
        asyncio.run(use())


async def test_a_cancel_while_a_failure_is_explained_ends_the_plugin(go_plugin: Path) -> None:
    before = set(children())
    client, raising = client_of([go_plugin]), asyncio.Event()

    async def use() -> None:
        async with client:
            raising.set()
            raise BridgeError(Code.UNAVAILABLE, "of the connection, one would think")

    async with asyncio.timeout(SECONDS):
        task = asyncio.create_task(use())
        await raising.wait()
        await asyncio.sleep(0)  # it waits for the plugin's end, which would be an explanation
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not client.is_running
    assert before.issuperset(children())


FORGOTTEN = """
import asyncio, gc, sys
from tests.goplugin.host_side import client_of

client = client_of(sys.argv[1:])
asyncio.run(client.start())
print(client.pid, flush=True)
del client
gc.collect()
sys.stdin.read()
"""


async def test_a_plugin_that_nobody_can_end_ends(go_plugin: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORGOTTEN, str(go_plugin)]
    host = await asyncio.create_subprocess_exec(*command, cwd=CHECKOUT, env=host_environment(), stdin=PIPE, stdout=PIPE)
    assert host.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            pid = int(await host.stdout.readline())
            await until(lambda: not _is_running(pid))
        assert host.returncode is None
    finally:
        host.kill()
        await host.communicate()


def _is_running(pid: int) -> bool:
    try:
        return ProcessIdentity.of(pid).is_running()
    except ProcessLookupError:
        return False


def test_a_blocking_client_that_is_forgotten_leaves_no_plugin_and_no_thread(go_plugin: Path) -> None:
    before = set(children())
    unused, used = sync_client_of([go_plugin]), sync_client_of([go_plugin])
    used.start()
    used.dispense("kv")
    del unused, used
    gc.collect()
    assert before.issuperset(children())
    assert not [thread for thread in threading.enumerate() if thread.name == "goplugin-host"]


async def test_calls_of_a_plugin_that_dies_fail_and_nobody_is_cancelled(go_plugin: Path) -> None:
    soon = RestartPolicy(max_restarts=100, backoff=Backoff(initial=0.001, maximum=0.001))
    async with started([go_plugin], restart=soon, auto_mtls=True) as client:
        for _ in range(20):
            before, probe = client.pid, await client.dispense("probe")
            callers = [asyncio.create_task(_call_on(probe)) for _ in range(16)]
            await probe.Info(probe_pb2.InfoRequest())
            os.kill(before, signal.SIGKILL)
            async with asyncio.timeout(SECONDS):
                await asyncio.wait(callers)
                await until(lambda: client.is_running and client.pid != before)  # noqa: B023 - not later
            assert [caller for caller in callers if caller.cancelled()] == []


async def _call_on(probe: Any) -> None:
    """Until it does not work any more."""
    with suppress(grpc.aio.AioRpcError, grpc.aio.UsageError):
        while True:
            await probe.Info(probe_pb2.InfoRequest())


async def test_of_a_plugin_that_does_not_fit_no_socket_is_left(go_plugin: Path, tmp_path: Path) -> None:
    flags = ["-no-mux"]
    with pytest.raises(BridgeError) as raised:
        async with started([go_plugin, *flags], multiplex=True, env={"TMPDIR": str(tmp_path)}):
            pass
    assert raised.value.reason == "MUX_NOT_SUPPORTED"
    assert not sockets_in(tmp_path)


@pytest.mark.parametrize("command", [Path("/bin/true"), "/bin/true", b"/bin/true", [b""]], ids=str)
async def test_what_is_no_command_of_a_client_is_refused(command: object) -> None:
    client = client_of([], cmd=command)
    with pytest.raises(BridgeError) as raised:
        await client.start()
    assert raised.value.code is Code.INVALID_ARGUMENT


async def test_a_host_whose_directory_was_removed_starts_plugins(
    go_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    async with started([go_plugin]) as client:
        await client.ping()
    with pytest.raises(BridgeError) as raised:
        await client_of(["./plugin"]).start()
    assert raised.value.reason == "PLUGIN_NOT_FOUND"


SERVER = """
import os, sys, time
import grpc
from concurrent.futures import ThreadPoolExecutor

server = grpc.server(ThreadPoolExecutor(1))
port = server.add_insecure_port(sys.argv[1])
server.start()
os.write(1, os.fsencode("1|1|" + sys.argv[2].replace("PORT", str(port)) + "|grpc\\n"))
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("unix-abstract:NAME", "unix|@NAME"),
        ("127.0.0.1:0", "tcp|:PORT"),
        ("unix:%FF%25", "unix|\udcff%"),
    ],
    ids=["abstract", "port only", "no text"],
)
async def test_a_plugin_is_found_wherever_it_listens(tmp_path: Path, listen: str, address: str) -> None:
    name = tmp_path.name + str(os.getpid())
    if address.startswith("unix|\udcff"):
        address = address.replace("|", f"|{tmp_path}/")
    words = [text.replace("NAME", name) for text in (listen, address)]
    async with started([sys.executable, "-c", SERVER, *words], cwd=tmp_path, grace=0) as client:
        assert client.is_running


@pytest.mark.parametrize("address", ["a..b:1", "\udcff:1", "a" * 70 + ":1"], ids=ascii)
async def test_what_is_no_name_of_a_host_is_not_connected_to(address: str) -> None:
    with pytest.raises(BridgeError, match="no name of a host") as raised:
        await to_socket("tcp", address, None)(asyncio.Protocol)
    assert raised.value.reason == "NOT_CONNECTED"


async def test_why_a_path_cannot_be_connected_to_is_told() -> None:
    with pytest.raises(BridgeError, match="too long"):
        await to_socket("unix", "/" + "x" * 200, None)(asyncio.Protocol)


async def test_who_waits_for_the_end_of_a_process_that_is_let_go_of_is_not_cancelled() -> None:
    process = await shell("echo '1|1|unix|/run/some/plugin.sock|grpc|'; sleep 60")
    attached = ReattachedProcess.attach(process.pid, logger=logger)
    waiting = asyncio.create_task(attached.ends_within(60))
    await asyncio.sleep(0)
    await attached.aclose()
    async with asyncio.timeout(SECONDS):
        assert not await waiting
        await process.aclose()
        await ended(process.identity)
