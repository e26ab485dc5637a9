"""Which process a number means, and processes that somebody else has started."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from bridge.errors import BridgeError, Code
from bridge.goplugin.process.process_identity import ProcessIdentity
from bridge.goplugin.process.reattached_process import ReattachedProcess
from tests.goplugin.process_programs import ended, is_known, logger, open_files
from tests.support.waiting import until

GUEST = """
import asyncio, os
from bridge.goplugin.process.reattached_process import ReattachedProcess
from tests.goplugin.process_programs import logger

async def main():
    process = ReattachedProcess.attach(os.getppid(), logger=logger)
    process.kill()
    await process.exited()
    print("alive", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def leader() -> Iterator[subprocess.Popen[bytes]]:
    """Leads a group with one child, whose number it tells."""
    yield from _process("sleep 60 & echo $!; wait", start_new_session=True)


@pytest.fixture
def member() -> Iterator[subprocess.Popen[bytes]]:
    """A process of our group, with a child."""
    yield from _process("sleep 60 & echo $!; wait", start_new_session=False)


@pytest.fixture(params=["pidfd", "old pidfd", "looking"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel of today, one that cannot signal groups by pidfd, and one without pidfds."""
    send = signal.pidfd_send_signal

    def old(pidfd: int, sig: int, info: None = None, flags: int = 0) -> None:
        if flags:
            raise OSError(errno.EINVAL, "Invalid argument")
        send(pidfd, sig, info, flags)

    if request.param == "looking":
        monkeypatch.setattr(os, "pidfd_open", _no_pidfd)
    elif request.param == "old pidfd":
        monkeypatch.setattr(signal, "pidfd_send_signal", old)
    return str(request.param)


async def test_attached_process_is_killed_with_the_group_it_leads(leader: subprocess.Popen[bytes], kernel: str) -> None:
    child = _child(leader)
    before = open_files()
    async with asyncio.timeout(20):
        process = ReattachedProcess.attach(leader.pid, logger=logger)
        assert not await process.wait_or_kill(0.05)
        assert await process.exited() == process.exit
        await process.aclose()
    await ended(process.identity, child)
    assert open_files() == before


async def test_attached_process_in_our_group_is_killed_alone(member: subprocess.Popen[bytes], kernel: str) -> None:
    child = _child(member)
    async with asyncio.timeout(20):
        process = ReattachedProcess.attach(member.pid, logger=logger)
        process.kill()
        await process.exited()
    assert child.is_running()
    os.kill(child.pid, signal.SIGKILL)


def test_host_that_was_started_by_the_plugin_does_not_kill_itself_with_it() -> None:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = ["sh", "-c", f"'{sys.executable}' -c '{GUEST}' & wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, start_new_session=True) as plugin:
        assert plugin.stdout is not None
        assert plugin.stdout.read() == b"alive\n"
    assert plugin.returncode == -signal.SIGKILL


async def test_end_of_an_attached_process_is_seen(leader: subprocess.Popen[bytes], kernel: str) -> None:
    async with asyncio.timeout(20):
        process = ReattachedProcess.attach(leader.pid, logger=logger)
        assert "is running" in process.describe_exit()
        waiting = asyncio.ensure_future(process.wait_or_kill(15.0))
        await asyncio.sleep(0)
        leader.kill()
        assert await waiting
    assert "has ended" in process.describe_exit()


async def test_closing_lets_an_attached_process_run(leader: subprocess.Popen[bytes], kernel: str) -> None:
    before = open_files()
    process = ReattachedProcess.attach(leader.pid, logger=logger)
    waiting = asyncio.ensure_future(process.exited())
    await asyncio.sleep(0)
    await process.aclose()
    process.kill()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert process.identity.is_running()
    assert process.exit is None
    assert open_files() == before


async def test_later_process_of_the_same_number_is_not_taken_for_it(leader: subprocess.Popen[bytes]) -> None:
    before = open_files()
    identity = ProcessIdentity.of(leader.pid)
    for other in (
        msgspec.structs.replace(identity, start_time=identity.start_time - 1),
        msgspec.structs.replace(identity, boot_id="another"),
    ):
        assert not other.is_running()
        with pytest.raises(BridgeError, match="reattachment process not found") as caught:
            ReattachedProcess.attach(other, logger=logger)
        assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "PLUGIN_NOT_RUNNING")
    assert identity.is_running()
    assert open_files() == before


async def test_who_got_the_number_later_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pidfd_open", _no_pidfd)
    for new_session in (True, False):
        with _echo(new_session) as other:
            process = ReattachedProcess.attach(other.pid, logger=logger)
            process.identity = msgspec.structs.replace(process.identity, start_time=1)
            process.kill()
            await process.aclose()
            assert other.communicate(b"alive")[0] == b"alive"


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
async def test_number_of_no_process_is_not_found(pid: int) -> None:
    with pytest.raises(BridgeError, match="reattachment process not found"):
        ReattachedProcess.attach(pid, logger=logger)


async def test_process_that_only_waits_to_be_reaped_does_not_run(leader: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(leader.pid)
    leader.kill()
    async with asyncio.timeout(10):
        await until(lambda: not identity.is_running())
    assert is_known(leader.pid)
    with pytest.raises(BridgeError, match="reattachment process not found"):
        ReattachedProcess.attach(identity, logger=logger)


def test_identity_survives_json() -> None:
    identity = ProcessIdentity.of(os.getpid())
    assert identity.is_running()
    assert identity.start_time > 0
    assert identity.boot_id
    assert msgspec.json.decode(msgspec.json.encode(identity), type=ProcessIdentity) == identity


def test_name_of_a_process_does_not_confuse(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 ("
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "60"])
    try:
        identity = ProcessIdentity.of(process.pid)
        assert identity.is_running()
        assert identity.start_time >= ProcessIdentity.of(os.getpid()).start_time
    finally:
        process.kill()
        process.wait()
    assert not identity.is_running()


def _no_pidfd(pid: int, flags: int = 0) -> NoReturn:
    raise OSError(errno.ENOSYS, "Function not implemented")


def _process(text: str, *, start_new_session: bool) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE, start_new_session=start_new_session)
    with process:
        try:
            yield process
        finally:
            if start_new_session:
                os.killpg(process.pid, signal.SIGKILL)  # it is not reaped yet
            process.kill()


def _echo(start_new_session: bool) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(["cat"], stdin=pipe, stdout=pipe, start_new_session=start_new_session)


def _child(process: subprocess.Popen[bytes]) -> ProcessIdentity:
    assert process.stdout is not None
    return ProcessIdentity.of(int(process.stdout.readline()))
