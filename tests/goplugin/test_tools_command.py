"""`bridge plugin` as hosts start it, and as people do."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from bridge import engines
from bridge.engines.base import ChannelOptions
from bridge.goplugin.handshake import Handshake
from bridge.goplugin.reattach import ReattachConfig
from bridge.goplugin.tools import HANDSHAKE
from bridge.tool_messages import pack_call, read_result
from tests.cli.running import bridge, command, environment

LIMIT = 30.0
COOKIE = {HANDSHAKE.magic_cookie_key: HANDSHAKE.magic_cookie_value}
NOISY = """\
    import os
    print("printed by Python")
    os.write(1, b"printed by C\\n")

    from bridge import Adapter, tool

    class Greeter(Adapter):
        @tool
        async def greet(self, name: str) -> str:
            return f"Hello, {name}!"
"""


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "greeter.py"
    path.write_text(textwrap.dedent(NOISY))
    return path


@asynccontextmanager
async def started(*arguments: str | Path, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command as a process. In the end it gets SIGTERM, and ends."""
    process = await asyncio.create_subprocess_exec(
        *command("plugin", *arguments),
        env=environment(**env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT):
            yield process
            process.send_signal(signal.SIGTERM)
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


async def greeting(address: str) -> object:
    options = ChannelOptions(max_message_bytes=32 * 1024 * 1024)
    async with aclosing(engines.connect(f"unix:{address}", options)) as channel:
        request = pack_call("greet", {"name": "world"})
        return read_result(await channel.unary("/bridge.v1.BridgeService/ExecuteTool", request, timeout=10))


async def test_the_first_line_is_the_handshake_whatever_an_adapter_prints(adapter: Path) -> None:
    async with started(adapter, **COOKIE) as process:
        handshake = Handshake.parse(await first_line(process))
        assert (handshake.protocol_version, handshake.network, handshake.multiplexing) == (1, "unix", None)
        assert await greeting(handshake.address) == "Hello, world!"
    assert process.returncode == 0
    assert not Path(handshake.address).parent.exists()


@pytest.fixture
def talker(adapter: Path) -> Path:
    adapter.write_text(adapter.read_text().replace('f"Hello, {name}!"', '"x" * 20_000_000'))
    return adapter


async def test_a_tool_may_give_as_much_as_a_plugin_may_send(talker: Path) -> None:
    async with started(talker, **COOKIE) as process:
        greeted = await greeting(Handshake.parse(await first_line(process)).address)
        assert isinstance(greeted, str)
        assert len(greeted) == 20_000_000


async def test_a_host_may_have_another_cookie(adapter: Path) -> None:
    async with started(adapter, "--cookie-key", "SHOP_PLUGIN", "--cookie-value=yes", SHOP_PLUGIN="yes") as process:
        assert Handshake.parse(await first_line(process)).protocol_version == 1


async def test_settings_of_servers_are_flags_too(adapter: Path) -> None:
    async with started("--isolation", "process", "--workers", "1", adapter, **COOKIE) as process:
        handshake = Handshake.parse(await first_line(process))
        assert await greeting(handshake.address) == "Hello, world!"
    assert process.returncode == 0


async def test_an_adapter_may_live_in_an_interpreter_of_its_own(adapter: Path) -> None:
    manifest = adapter.with_suffix(".toml")
    manifest.write_text(f'name = "greeter"\nadapter = "greeter.py:Greeter"\npython = "{sys.executable}"\n')
    for path in (adapter.parent, adapter, manifest):
        path.chmod(0o700)
    async with started(manifest, **COOKIE) as process:
        assert await greeting(Handshake.parse(await first_line(process)).address) == "Hello, world!"
    assert process.returncode == 0


@pytest.mark.parametrize("env", [{}, {HANDSHAKE.magic_cookie_key: "another"}], ids=["none", "another"])
def test_started_by_hand_it_says_what_it_is(adapter: Path, env: dict[str, str]) -> None:
    done = bridge("plugin", adapter, cwd=adapter.parent, **env)
    assert (done.code, done.out) == (1, "")
    assert "This program is a plugin" in done.err
    assert "bridge plugin --test" in done.err
    assert len(done.err.splitlines()) <= 5


async def test_in_test_mode_it_prints_how_to_reattach(adapter: Path) -> None:
    async with started("--test", adapter) as process:
        while not (line := await first_line(process)).startswith("{"):
            assert line.startswith("printed")
        assert json.loads(line)["Test"] is True
        reattach = ReattachConfig.from_json(line)
        assert reattach.pid == process.pid
        assert await greeting(reattach.address) == "Hello, world!"
    assert process.returncode == 0


def test_an_adapter_that_is_not_there_is_told_on_stderr(tmp_path: Path) -> None:
    done = bridge("plugin", "nothing.py", cwd=tmp_path, **COOKIE)
    assert (done.code, done.out) == (3, "")
    assert "nothing.py" in done.err


def test_two_adapters_with_one_tool_are_told_on_stderr(adapter: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text(adapter.read_text())
    done = bridge("plugin", adapter, other, cwd=tmp_path, **COOKIE)
    assert (done.code, done.out) == (3, "")
    assert "both have a tool called 'greet'" in done.err


@pytest.mark.parametrize("arguments", [["--listen", "127.0.0.1:0"], ["--no-such-flag"], ["--cookie-key"]], ids=str)
def test_wrong_usage_is_told(arguments: list[str], adapter: Path) -> None:
    done = bridge("plugin", adapter, *arguments, cwd=adapter.parent, **COOKIE)
    assert (done.code, done.out) == (2, "")
    assert arguments[0] in done.err


def test_without_an_adapter_it_says_how_to_name_one(tmp_path: Path) -> None:
    done = bridge("plugin", cwd=tmp_path, **COOKIE)
    assert (done.code, done.out) == (2, "")
    assert "bridge plugin file.py" in done.err


def test_the_help_has_the_defaults_of_plugins_and_the_table_of_the_file(tmp_path: Path) -> None:
    done = bridge("plugin", "--help", cwd=tmp_path, COLUMNS="200")
    defaults = dict(re.findall(r"(--[a-z-]+) .*\[default: \((.*?)\)\]", done.out))
    wanted = {"--max-message-bytes": "268435456", "--grace": "1", "--worker-grace": "0.3"}
    assert {flag: defaults.get(flag) for flag in wanted} == wanted
    assert "[server]" in done.out


def test_the_help_names_the_cookie(tmp_path: Path) -> None:
    done = bridge("plugin", "--help", cwd=tmp_path, COLUMNS="120")
    assert done.code == 0
    assert "TOOL_BRIDGE_PLUGIN" in done.out
    assert "--cookie-value" in done.out
    assert "--listen" not in done.out


async def test_flags_that_typer_reads_do_what_they_do_else(adapter: Path) -> None:
    flags = ["--debug", "--cookie-key=SHOP_PLUGIN", "--cookie-value", "yes"]
    async with started(*flags, "--", adapter, SHOP_PLUGIN="yes") as process:
        assert await greeting(Handshake.parse(await first_line(process)).address) == "Hello, world!"


def test_its_start_needs_no_command_line_library() -> None:
    heavy = "{'typer', 'grpc', 'rich'} & {*sys.modules}"
    code = f"import sys, bridge.cli.plugin_serving, bridge.goplugin.tools; print(*{heavy})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=LIMIT
    )
    assert done.stdout.split() == []
