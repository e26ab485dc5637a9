"""What Go's host says of plugins that do not do as they should, word for word."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from tests.goplugin.conftest import RunGoHost
from tests.goplugin.go_host import HostError

SECONDS = 30

MODES = {
    "bad-version": "incompatible API version with plugin. Plugin version: 11, Client versions: [1]",
    "bad-core-version": "incompatible core API version with plugin. Plugin version: 2, Core version: 1",
    "bad-network": "unknown address type: coop",
    "netrpc": 'unsupported plugin protocol "netrpc". Supported: [grpc]',
    "invalid-rpc-address": "Unrecognized remote plugin message: not a handshake",
    "early-exit": "Failed to read any lines from plugin's stdout",
    "start-timeout": "timeout while waiting for plugin to start",
}


@pytest.mark.parametrize("mode", MODES)
async def test_a_plugin_that_cannot_be_used_is_told_by_its_error(
    run_go_host: RunGoHost, go_plugin: Path, mode: str
) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin, "-mode", mode], "-start-timeout", "1s") as host:
        with pytest.raises(HostError) as raised:
            await host.start()
        assert MODES[mode] in str(raised.value)


ACCEPTED = {
    "5 segments": "{core}|{app}|{network}|{address}|{protocol}\n",
    "6 segments": "{core}|{app}|{network}|{address}|{protocol}|\n",
    "7 segments": "{core}|{app}|{network}|{address}|{protocol}|{cert}|false\n",
    "CRLF": "{core}|{app}|{network}|{address}|{protocol}|{cert}\r\n",
    "spaces": "  {line} \n",
}
REFUSED = {
    "3 segments": ("{core}|{app}|{network}\n", "Unrecognized remote plugin message"),
    "4 segments mean net/rpc": ("{core}|{app}|{network}|{address}\n", 'unsupported plugin protocol "netrpc"'),
    "noise": ("Loading...\n{line}\n", "Unrecognized remote plugin message: Loading..."),
}


@pytest.mark.parametrize("line", ACCEPTED.values(), ids=ACCEPTED)
async def test_a_line_of_another_form_is_accepted(run_go_host: RunGoHost, go_plugin: Path, line: str) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin, "-line", line]) as host:
        await host.ping()
        assert not (await host.kill()).forced


@pytest.mark.parametrize(("line", "text"), REFUSED.values(), ids=REFUSED)
async def test_a_line_of_no_known_form_is_refused(
    run_go_host: RunGoHost, go_plugin: Path, line: str, text: str
) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin, "-line", line]) as host:
        with pytest.raises(HostError) as raised:
            await host.start()
        assert text in str(raised.value)


async def test_a_certificate_with_padding_is_refused(run_go_host: RunGoHost, go_plugin: Path) -> None:
    line = "{core}|{app}|{network}|{address}|{protocol}|{padded-cert}\n"
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin, "-line", line], "-automtls") as host:
        with pytest.raises(HostError, match="error parsing server cert: illegal base64 data at input byte"):
            await host.start()


async def test_a_certificate_that_nobody_has_asked_for_breaks_gos_host(
    run_go_host: RunGoHost, go_plugin: Path, static_tls: list[str]
) -> None:
    flags = ["-env", f"PLUGIN_CLIENT_CERT={_text(static_tls[1])}"]
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin], *flags) as host:
        with pytest.raises(HostError, match="nil pointer dereference"):
            await host.start()


async def test_a_plugin_without_multiplexing_is_refused_by_a_host_that_wants_it(
    run_go_host: RunGoHost, go_plugin: Path
) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin, "-no-mux"], "-mux") as host:
        with pytest.raises(HostError, match="client requested gRPC broker multiplexing but plugin does not support"):
            await host.start()


async def test_host_and_plugin_agree_on_the_highest_version_that_both_have(
    run_go_host: RunGoHost, go_plugin: Path
) -> None:
    command = [go_plugin, "-versions", "2=kv,3,250=kv"]
    async with asyncio.timeout(SECONDS), run_go_host(command, "-versions", "1,2,3") as host:
        assert (await host.start()).version == 3
        assert (await host.info()).app_version == 3
    async with asyncio.timeout(SECONDS), run_go_host(command, "-versions", "2") as host:
        with pytest.raises(HostError) as raised:
            await host.stream(1)
        assert raised.value.code == "Unimplemented"
    async with asyncio.timeout(SECONDS), run_go_host(command, "-versions", "9") as host:
        with pytest.raises(HostError, match="Plugin version: 2, Client versions: \\[9\\]"):
            await host.start()


@pytest.mark.parametrize(("step", "code"), [("panic", 2), ("exit", 7)])
async def test_a_plugin_that_ends_within_a_call_is_unavailable(
    run_go_host: RunGoHost, go_plugin: Path, step: str, code: int
) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin]) as host:
        with pytest.raises(HostError) as raised:
            await host.do(step, message="oh no", code=code)
        assert raised.value.code == "Unavailable"
        while not await host.do("exited"):
            pass
        assert (await host.kill()).exit_code == code


async def test_logs_of_a_plugin_are_entries_of_the_hosts_log(run_go_host: RunGoHost, go_plugin: Path) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin]) as host:
        await host.do("log", level="warn", message="mind", pairs={"key": "value"})
        await host.kill()
        [entry] = [entry for entry in await host.logs() if entry["@message"] == "mind"]
        assert (entry["@level"], entry["key"], entry["@module"]) == ("warn", "value", "host.plugin-" + _key(go_plugin))


async def test_text_on_stderr_is_logged_by_its_prefix(run_go_host: RunGoHost, go_plugin: Path) -> None:
    text = "[WARN] a\nplain\npanic: b\nc\n"
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin, "-stderr", text]) as host:
        await host.ping()
        await host.kill()
        levels = {entry["@message"]: entry["@level"] for entry in await host.logs()}
        found = [levels[message] for message in ("[WARN] a", "plain", "panic: b", "c")]
        assert found == ["warn", "debug", "error", "error"]


@pytest.mark.parametrize("right", [True, False])
async def test_a_file_with_another_checksum_is_not_run(run_go_host: RunGoHost, go_plugin: Path, right: bool) -> None:
    checksum = _sha256(go_plugin) if right else hashlib.sha256().hexdigest()
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin], "-checksum", checksum) as host:
        if right:
            await host.ping()
        else:
            with pytest.raises(HostError, match="checksums did not match"):
                await host.start()


async def test_a_plugin_gets_the_hosts_environment_unless_it_is_kept(run_go_host: RunGoHost, go_plugin: Path) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin], "-env", "OWN=1") as host:
        environment = (await host.info()).environment
        assert (environment["OWN"], environment["BASIC_PLUGIN"]) == ("1", "hello")
        assert "PATH" in environment
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin], "-skip-host-env", "-env", "OWN=1") as host:
        assert set((await host.info()).environment) == {
            "OWN", "BASIC_PLUGIN", "PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS",
        }  # fmt: skip


async def test_a_runner_gives_a_folder_and_a_group_to_all_sockets(run_go_host: RunGoHost, go_plugin: Path) -> None:
    group = os.getgid()
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin], "-runner", "-group", str(group)) as host:
        started = await host.start()
        place = Path(started.address)
        assert place.parent.parent == host.folder
        assert _group_and_mode(place) == (group, 0o660)
        assert (await host.count("k", 1)).value == 1
        await host.kill()
        assert list(host.folder.iterdir()) == []


async def test_what_a_host_does_not_take_blocks_the_plugins_print(run_go_host: RunGoHost, go_plugin: Path) -> None:
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin], "-deaf") as host:
        printing = host.begin("print", stdout=bytes(1024), times=4096)
        await asyncio.wait({printing}, timeout=0.5)
        assert not printing.done()
        await host.ping()  # other calls go on
        assert not (await host.kill()).forced


async def test_stdin_of_the_plugin_is_a_file_of_ours(run_go_host: RunGoHost, go_plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("hello")
    flags = ["-stdin", str(tmp_path / "hello")]
    async with asyncio.timeout(SECONDS), run_go_host([go_plugin, "-mode", "stdin"], *flags) as host:
        await host.start()
        while not await host.do("exited"):
            pass
        assert (await host.kill()).exit_code == 0


async def test_a_plugin_in_test_mode_is_not_killed_by_who_attaches(run_go_host: RunGoHost, go_plugin: Path) -> None:
    plugin = await asyncio.create_subprocess_exec(str(go_plugin), "-test", stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(SECONDS):
            assert plugin.stdout is not None
            config = (await plugin.stdout.readline()).decode()
            async with run_go_host([], "-reattach", config) as host:
                await host.put("k", b"v")
                await host.kill()
            async with run_go_host([], "-reattach", config) as host:
                assert await host.get("k") == b"v"
            plugin.terminate()
            assert await plugin.wait() == 0
    finally:
        if plugin.returncode is None:
            plugin.kill()
            await plugin.wait()


def _key(program: Path) -> str:
    return program.name.partition("-")[2]


def _text(path: str) -> str:
    return Path(path).read_text()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _group_and_mode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_gid, status.st_mode & 0o777
