"""Plugins that a host of ours cannot use, and what it says of them; nothing is left of any."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from bridge.goplugin import PluginPool, SecureConfig
from tests.goplugin.certificates import CLIENT, make
from tests.goplugin.host_side import COOKIE, PLUGINS, children, client_of, get, put, started
from tests.goplugin.process_programs import is_known, open_files
from tests.goplugin.ways import SECONDS
from tests.support.waiting import until

MODES = {
    "bad-version": ("APP_VERSION", "incompatible API version with plugin. Plugin version: 11, Client versions: [1]"),
    "bad-core-version": (
        "CORE_VERSION",
        "incompatible core API version with plugin. Plugin version: 2, Core version: 1",
    ),
    "bad-network": ("PLUGIN_ADDRESS", "unknown address type: coop"),
    "netrpc": ("PLUGIN_PROTOCOL", 'unsupported plugin protocol "netrpc". Supported: [grpc]'),
    "invalid-rpc-address": ("HANDSHAKE", "Unrecognized remote plugin message: not a handshake"),
    "early-exit": ("PLUGIN_EXITED", "plugin exited before we could connect"),
    "start-timeout": ("PLUGIN_START_TIMEOUT", "timeout while waiting for plugin to start"),
    "mock": ("NOT_CONNECTED", "cannot be reached where it listens (Connection refused)"),
    "stderr": ("PLUGIN_EXITED", "ended with exit code 0\nits stderr ended with:\nHELLO\nWORLD"),
    "stderr-json": ("PLUGIN_EXITED", '["HELLO"]\n12345\n{"a":1}'),
}


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """Neither processes nor descriptors."""
    before = children()
    files = {file for file in open_files() if "socket:" in file or "pipe:" in file}
    yield
    assert children() == before
    left = {file for file in open_files() if "socket:" in file or "pipe:" in file} - files
    # gRPC keeps a pair of sockets for itself, once.
    assert len(left) <= 4, left


async def failure(command: list[Any], **settings: Any) -> BridgeError:
    """Why a plugin could not be started."""
    async with asyncio.timeout(SECONDS):
        with pytest.raises(BridgeError) as raised:
            await client_of(command, **settings).start()
    return raised.value


@pytest.mark.parametrize("mode", MODES)
async def test_gp38_a_plugin_that_cannot_be_used_is_told_in_gos_words(go_plugin: Path, mode: str) -> None:
    reason, text = MODES[mode]
    error = await failure([go_plugin, "-mode", mode], start_timeout=1.0)
    assert error.reason == reason
    assert text in error.message


async def test_gp38_a_plugin_that_ends_early_is_told_with_exit_code_and_last_words(go_plugin: Path) -> None:
    error = await failure([go_plugin, "-mode", "early-exit", "-exit-code", "3"])
    assert error.code is Code.UNAVAILABLE
    for text in ("exit code 3", "cannot work here", "Failed to read any lines from plugin's stdout"):
        assert text in error.message


LEVELS = {
    "stderr": {"HELLO": "DEBUG", "WORLD": "DEBUG"},
    "stderr-json": {'["HELLO"]': "DEBUG", "12345": "DEBUG", '{"a":1}': "DEBUG"},
    "level-warn-text": {"[WARN] test line 98765": "WARNING"},
}


@pytest.mark.parametrize("mode", LEVELS)
async def test_gp38_what_a_plugin_says_on_stderr_is_logged(
    go_plugin: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        await failure([go_plugin, "-mode", mode])
    said = {r.getMessage(): r.levelname for r in caplog.records if r.name == f"bridge.goplugin.host.{go_plugin.name}"}
    assert said == LEVELS[mode]


@pytest.mark.parametrize("inherits", [True, False])
async def test_gp38_stdin_is_the_hosts_unless_it_is_kept(go_plugin: Path, tmp_path: Path, inherits: bool) -> None:
    (tmp_path / "hello").write_text("hello")
    kept = os.dup(0)
    given = os.open(tmp_path / "hello", os.O_RDONLY)
    os.dup2(given, 0)
    try:
        # The mode has a line of an address where nobody listens, and ends when it has read stdin.
        error = await failure([go_plugin, "-mode", "stdin"], inherit_stdin=inherits)
        assert os.lseek(0, 0, os.SEEK_CUR) == (5 if inherits else 0)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(given)
    assert error.code is Code.UNAVAILABLE


@pytest.mark.parametrize("right", [True, False])
async def test_gp39_a_program_with_another_checksum_is_not_run(go_plugin: Path, right: bool) -> None:
    checksum = hashlib.sha256(go_plugin.read_bytes() if right else b"").digest()  # noqa: ASYNC240
    if right:
        async with started([go_plugin], secure=SecureConfig(checksum)) as client:
            await client.ping()
        return
    error = await failure([go_plugin], secure=SecureConfig(checksum))
    assert (error.reason, "checksums did not match" in error.message) == ("CHECKSUM", True)


async def test_gp39_a_checksum_or_a_hash_that_is_missing_is_told(go_plugin: Path) -> None:
    error = await failure([go_plugin], secure=SecureConfig(b""))
    assert "error verifying checksum: no checksum provided" in error.message
    error = await failure([go_plugin], secure=SecureConfig(b"x", "none"))
    assert "error verifying checksum: no hash implementation provided" in error.message


ACCEPTED = {
    "5 segments": "{core}|{app}|{network}|{address}|{protocol}\n",
    "6 segments": "{core}|{app}|{network}|{address}|{protocol}|\n",
    "7 segments": "{core}|{app}|{network}|{address}|{protocol}|{cert}|false\n",
    "CRLF": "{core}|{app}|{network}|{address}|{protocol}|{cert}\r\n",
    "spaces": "  {line} \n",
}
REFUSED = {
    "3 segments": ("{core}|{app}|{network}\n", "HANDSHAKE", "Unrecognized remote plugin message"),
    "4 segments": ("{core}|{app}|{network}|{address}\n", "PLUGIN_PROTOCOL", 'unsupported plugin protocol "netrpc"'),
    "noise": ("Loading...\n{line}\n", "HANDSHAKE", "Unrecognized remote plugin message: Loading..."),
}


@pytest.mark.parametrize("line", ACCEPTED.values(), ids=ACCEPTED)
async def test_gp40_a_line_of_another_form_is_accepted(go_plugin: Path, line: str) -> None:
    async with started([go_plugin, "-line", line]) as client:
        await client.ping()
        assert await client.kill()


@pytest.mark.parametrize(("line", "reason", "text"), REFUSED.values(), ids=REFUSED)
async def test_gp40_a_line_of_no_known_form_is_refused(go_plugin: Path, line: str, reason: str, text: str) -> None:
    error = await failure([go_plugin, "-line", line])
    assert error.reason == reason
    assert text in error.message


async def test_gp40_a_certificate_with_padding_is_refused(go_plugin: Path) -> None:
    line = "{core}|{app}|{network}|{address}|{protocol}|{padded-cert}\n"
    error = await failure([go_plugin, "-line", line], auto_mtls=True)
    assert error.reason == "BAD_CERTIFICATE"
    assert "error parsing server cert: illegal base64 data at input byte" in error.message


async def test_a_plugin_that_sends_no_certificate_cannot_do_automtls(go_plugin: Path) -> None:
    line = "{core}|{app}|{network}|{address}|{protocol}|\n"
    error = await failure([go_plugin, "-line", line], auto_mtls=True)
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "NO_AUTO_MTLS")


async def test_a_certificate_that_nobody_has_asked_for_is_refused(go_plugin: Path) -> None:
    command = ["sh", "-c", 'PLUGIN_CLIENT_CERT=$CERTIFICATE exec "$0"', str(go_plugin)]
    error = await failure(command, env={"CERTIFICATE": make().certificate.decode()})
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "UNEXPECTED_TLS")


FOREIGN = {
    "another": ({}, "is not the one that is trusted"),
    "expired": ({"begins": timedelta(days=-2), "ends": timedelta(days=-1)}, "has expired"),
    "for clients only": ({"extended": CLIENT}, "serverAuth"),
}


@pytest.mark.parametrize(("options", "text"), FOREIGN.values(), ids=FOREIGN)
async def test_a_certificate_that_is_not_the_plugins_or_is_no_good_is_told(
    go_plugin: Path, options: dict[str, Any], text: str
) -> None:
    certificate = b64encode(make(**options).der).decode().rstrip("=")
    line = "{core}|{app}|{network}|{address}|{protocol}|" + certificate + "\n"
    error = await failure([go_plugin, "-line", line], auto_mtls=True)
    assert (error.code, error.reason) == (Code.UNAUTHENTICATED, "BAD_CERTIFICATE")
    assert text in error.message


async def test_what_is_no_certificate_at_all_is_told(go_plugin: Path) -> None:
    line = "{core}|{app}|{network}|{address}|{protocol}|" + "A" * 60 + "\n"
    error = await failure([go_plugin, "-line", line], auto_mtls=True)
    assert error.reason == "BAD_CERTIFICATE"


async def test_a_plugin_without_multiplexing_is_refused_by_a_host_that_wants_it(go_plugin: Path) -> None:
    error = await failure([go_plugin, "-no-mux"], multiplex=True)
    assert error.reason == "MUX_NOT_SUPPORTED"
    assert "client requested gRPC broker multiplexing but plugin does not support the feature" in error.message


@pytest.fixture
def mute() -> Any:
    """Where somebody listens who never answers."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/mute")
        listening.listen(1)
        yield f"{folder}/mute"


@pytest.mark.parametrize("multiplex", [False, True])
@pytest.mark.parametrize("auto_mtls", [False, True])
async def test_a_plugin_that_says_where_it_is_and_does_not_answer_there_is_late(
    go_plugin: Path, mute: str, multiplex: bool, auto_mtls: bool
) -> None:
    line = f"1|1|unix|{mute}|grpc|{{cert}}|true\n"
    error = await failure([go_plugin, "-line", line], start_timeout=0.6, multiplex=multiplex, auto_mtls=auto_mtls)
    assert error.reason == "PLUGIN_START_TIMEOUT"
    assert "timeout while waiting for plugin to start: it has said where it listens" in error.message


async def test_a_plugin_that_dies_before_it_answers_is_told_as_dead(mute: str) -> None:
    command = ["sh", "-c", f"echo '1|1|unix|{mute}|grpc|'; echo cannot >&2; sleep 0.2; exit 5"]
    error = await failure(command)
    assert error.reason == "PLUGIN_EXITED"
    assert "exit code 5" in error.message
    assert error.message.endswith("cannot")


async def test_a_start_that_is_cancelled_leaves_nothing(mute: str, tmp_path: Path) -> None:
    """While the plugin says nothing, and while it does not answer."""
    note = tmp_path / "pid"
    for line in ("", f"1|1|unix|{mute}|grpc|"):
        note.unlink(missing_ok=True)
        client = client_of(["sh", "-c", f"echo '{line}' | grep .; echo $$ > {note}; sleep 60"])
        starting = asyncio.create_task(client.start())
        async with asyncio.timeout(SECONDS):
            await until(lambda: note.exists() and note.read_text())
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
        assert not is_known(int(note.read_text()))
        assert not client.is_running


async def test_a_client_can_be_started_after_it_could_not(go_plugin: Path, tmp_path: Path) -> None:
    program = tmp_path / "plugin"
    client = client_of([program])
    async with asyncio.timeout(SECONDS):
        with pytest.raises(BridgeError, match="no such file"):
            await client.start()
        with pytest.raises(BridgeError, match="was not started") as raised:
            await client.dispense("kv")
        assert raised.value.reason == "PLUGIN_NOT_STARTED"
        program.symlink_to(go_plugin)
        async with client:
            await put(client, "k", b"v")
            await client.start()
            assert await get(client, "k") == b"v"


async def test_of_a_pool_of_which_one_cannot_be_started_nothing_is_left(go_plugin: Path, tmp_path: Path) -> None:
    command = ["sh", "-c", f'mkdir {tmp_path}/first && exec "$0"; exit 4', str(go_plugin)]
    with pytest.raises(BridgeError, match="exit code 4"):
        async with (
            asyncio.timeout(SECONDS),
            PluginPool(2, cmd=command, handshake=COOKIE, plugins=PLUGINS, auto_mtls=False),
        ):
            raise AssertionError
