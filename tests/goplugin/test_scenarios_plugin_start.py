"""A plugin of ours starts: its line, versions, cookie, noise before it, and where its sockets lie."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from tests.goplugin.conftest import RunGoHost
from tests.goplugin.go_host import HostError
from tests.goplugin.raw_plugin import descriptors, ended_badly, raw_plugin, sockets_in
from tests.goplugin.ways import CHECKOUT, OUR_PLUGIN, SECONDS, Run


@pytest.mark.parametrize(
    ("env", "end"),
    [
        ({}, "|grpc|"),
        ({"PLUGIN_MULTIPLEX_GRPC": "true"}, "|grpc||true"),
        ({"PLUGIN_MULTIPLEX_GRPC": "1"}, "|grpc||true"),
        ({"PLUGIN_MULTIPLEX_GRPC": "false"}, "|grpc||true"),
        ({"PLUGIN_MULTIPLEX_GRPC": "perhaps"}, "|grpc||true"),
    ],
    ids=["6 segments", "true", "1", "false", "none of both"],
)
async def test_gp11_the_line_has_a_seventh_segment_if_the_host_knows_of_multiplexing(
    env: dict[str, str], end: str
) -> None:
    async with asyncio.timeout(SECONDS), raw_plugin(env=env) as plugin:
        assert plugin.line.startswith("1|1|unix|")
        assert plugin.line.endswith(end + "\n")
        assert Path(plugin.handshake.address) in sockets_in(plugin.folder)


async def test_gp11_a_host_that_says_false_is_served_without_multiplexing(run_plain: Run) -> None:
    async with run_plain(host=["-env", "PLUGIN_MULTIPLEX_GRPC=false"]) as host:
        await host.ping()
        assert (await host.count("k", 3, times=3)).value == 9
        assert await host.helper(2) == 4


async def test_gp10_a_host_that_multiplexes_is_told_if_the_plugin_does_not(run_go_host: RunGoHost) -> None:
    command = ["env", "-u", "PLUGIN_MULTIPLEX_GRPC", *OUR_PLUGIN]
    async with asyncio.timeout(SECONDS), run_go_host(command, "-mux", cwd=CHECKOUT) as host:
        with pytest.raises(HostError, match="client requested gRPC broker multiplexing but plugin does not support"):
            await host.start()
        assert (await host.kill()).exited


@pytest.mark.parametrize("version", [2, 3, 250])
async def test_gp12_the_highest_version_in_common_is_served_with_its_own_plugins(run_plain: Run, version: int) -> None:
    flags = ["-versions", "2=probe,3=probe,250=probe+kv"]
    async with run_plain(*flags, host=["-versions", f"1,{version}"]) as host:
        assert (await host.start()).version == version
        assert (await host.info()).app_version == version
        assert ("proto.KV" in await host.do("services")) == (version == 250)


async def test_gp12_without_a_version_in_common_the_host_is_offered_the_lowest(run_plain: Run) -> None:
    async with run_plain("-versions", "2,3", host=["-versions", "9"]) as host:
        with pytest.raises(HostError, match=r"incompatible API version with plugin. Plugin version: 2"):
            await host.start()


@pytest.mark.parametrize(("offered", "version"), [(None, 2), ("", 2), ("3", 3), ("9,x,3,2", 3), ("x", 2)], ids=str)
async def test_gp12_what_the_host_offers_is_read_as_by_go(offered: str | None, version: int) -> None:
    env = {} if offered is None else {"PLUGIN_PROTOCOL_VERSIONS": offered}
    async with asyncio.timeout(SECONDS), raw_plugin("-versions", "2,3", env=env) as plugin:
        assert plugin.handshake.protocol_version == version


@pytest.mark.parametrize("value", [None, "", "other"], ids=["none", "empty", "another"])
async def test_gp13_who_starts_a_plugin_by_hand_is_told_what_it_is(value: str | None) -> None:
    async with asyncio.timeout(SECONDS):
        said = await ended_badly("-cookie", "THE_COOKIE=sweet", env={} if value is None else {"THE_COOKIE": value})
    assert "plugin" in said
    assert len(said.splitlines()) <= 5


@pytest.mark.parametrize(
    "flags", [["-noise", "not a line\n"], ["-noise", "x"], ["-noise-fd", "1|1|unix|/tmp/lie|grpc|\n"]]
)
async def test_gp18_what_is_printed_before_serving_is_no_line_and_reaches_the_host(
    run_plain: Run, flags: list[str]
) -> None:
    async with run_plain(*flags) as host:
        await host.ping()
        assert (await host.stdio(stdout=len(flags[1]))).stdout == flags[1].encode()


async def test_gp18_what_python_still_holds_back_is_no_line_either(run_plain: Run) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    async with run_plain("-unprotected", "-noise", "not a line\n", env=env) as host:
        await host.ping()
        assert (await host.stdio(stdout=11)).stdout == b"not a line\n"


async def test_gp27_sockets_lie_where_the_host_wants_them_and_belong_to_its_group(
    run_ours: Run, tmp_path: Path
) -> None:
    group = _another_group()
    short = Path(os.environ.get("TMPDIR", "/tmp")) / f"p{tmp_path.name[-6:]}"
    short.mkdir()
    try:
        async with run_ours(host=["-runner", "-socket-dir", str(short), "-group", str(group)]) as host:
            started = await host.start()
            path = Path(started.address)
            assert path.parent.parent == short
            assert _access([path]) == {(group, 0o660)}
            await host.ping()
            assert (await host.count("k", 3)).value == 3
            assert await host.helper(4) == 8
            sockets = [found for found in short.rglob("*") if found.is_socket() and found.parent == path.parent]
            assert sockets
            assert _access(sockets) == {(group, 0o660)}
            assert (await host.kill()).exit_code == 0
        assert not list(short.rglob("*"))
    finally:
        for left in sorted(short.rglob("*"), reverse=True):
            left.rmdir() if left.is_dir() else left.unlink()
        short.rmdir()


async def test_gp27_without_the_hosts_wish_sockets_are_for_our_own_user() -> None:
    async with asyncio.timeout(SECONDS), raw_plugin() as plugin:
        path = Path(plugin.handshake.address)
        assert [stat.S_IMODE(found.stat().st_mode) for found in (path, path.parent)] == [0o600, 0o700]


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"PLUGIN_UNIX_SOCKET_DIR": "/nowhere/at/all"}, "PLUGIN_UNIX_SOCKET_DIR"),
        ({"PLUGIN_UNIX_SOCKET_DIR": "/tmp/" + "x" * 100}, "PLUGIN_UNIX_SOCKET_DIR"),
        ({"PLUGIN_UNIX_SOCKET_GROUP": "no such group"}, "PLUGIN_UNIX_SOCKET_GROUP"),
        ({"TMPDIR": "/nowhere"}, "TMPDIR"),
    ],
    ids=["no directory", "too long", "no group", "no place for temporary files"],
)
@pytest.mark.parametrize("more", [{}, {"PLUGIN_MULTIPLEX_GRPC": "true"}], ids=["plain", "multiplexed"])
async def test_gp27_a_place_that_is_none_is_told_with_the_variables_name(
    env: dict[str, str], named: str, more: dict[str, str]
) -> None:
    async with asyncio.timeout(SECONDS):
        assert named in await ended_badly(env=env | more)


async def test_gp31_the_first_free_port_of_the_range_is_taken(run_ours: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        low = taken.getsockname()[1]
        high = min(65535, low + 50)
        ports = ["-min-port", str(low), "-max-port", str(high)]
        async with run_ours("-set", "network=tcp", host=ports) as host:
            started = await host.start()
            address, _, port = started.address.rpartition(":")
            assert address == "127.0.0.1"
            assert low < int(port) <= high
            await host.put("k", b"v")
            assert (await host.kill()).exit_code == 0


@pytest.mark.parametrize("more", [{}, {"PLUGIN_MULTIPLEX_GRPC": "true"}], ids=["plain", "multiplexed"])
async def test_gp31_a_range_without_a_free_port_is_told(more: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = {"PLUGIN_NETWORK": "tcp", "PLUGIN_MIN_PORT": port, "PLUGIN_MAX_PORT": port, **more}
        async with asyncio.timeout(SECONDS):
            said = await ended_badly(env=env)
    assert f"no port from {port} to {port}" in said
    assert "PLUGIN_MIN_PORT" in said


async def test_a_closed_stdin_and_many_variables_are_no_trouble() -> None:
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *OUR_PLUGIN]
    env = {f"VARIABLE_{number}": "x" * 100 for number in range(1000)}
    async with asyncio.timeout(SECONDS), raw_plugin(env=env, command=command) as plugin:
        assert plugin.handshake.protocol == "grpc"
        assert descriptors(plugin.pid) < 50


def _access(paths: list[Path]) -> set[tuple[int, int]]:
    """Groups and modes."""
    return {(path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) for path in paths}


def _another_group() -> int:
    """A group that files may be given to, and that is not theirs anyway."""
    if os.getuid() == 0:
        return 1
    others = [group for group in os.getgroups() if group != os.getgid()]
    if not others:
        pytest.skip("needs a user of two groups")
    return others[0]
