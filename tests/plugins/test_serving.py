"""`bridge serve plugin.toml`: adapters in other interpreters, beside those of the server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, tool
from bridge.manifest import Manifest, load_manifest
from bridge.testing import serving
from bridge_client import BridgeClient
from tests.support import probes
from tests.support.interpreters import find

CODE = '''
import ctypes
import os
import sys
from dataclasses import dataclass
from bridge import Adapter, SessionContext, tool

class Eyes(Adapter):
    @dataclass
    class Config:
        language: str = "en"

    @tool
    def python(self) -> list:
        """Which Python this is."""
        return list(sys.version_info[:2])

    @tool
    def environment(self) -> dict:
        return dict(os.environ)

    @tool
    def read_lines(self, path: str, lines: int = 1) -> str:
        return f"{path}: {lines} {WHAT}"

    @tool
    def language(self) -> str:
        return self.config.language

    @tool(timeout=60)
    def wait(self, ctx: SessionContext) -> None:
        while True:
            pass

    @tool
    def crash(self) -> None:
        ctypes.string_at(0)

    @tool
    def remember(self, ctx: SessionContext, name: str, value: int) -> int:
        ctx.sync.set(name, value)
        return ctx.sync.get(name)

WHAT = "lines"
'''


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a plugin: its code, and its manifest with more lines."""

    def write(code: str = CODE, more: str = "", python: str = sys.executable) -> Manifest:
        (tmp_path / "eyes.py").write_text(code)
        manifest = tmp_path / "eyes.toml"
        manifest.write_text(f'name = "eyes"\nadapter = "eyes.py:Eyes"\npython = "{python}"\n{more}')
        for path in (tmp_path, tmp_path / "eyes.py", manifest):
            path.chmod(0o700 if path.is_dir() else 0o600)
        return load_manifest(manifest)

    return write


async def test_w01_a_plugin_runs_in_its_own_python_with_nothing_installed(interpreter: str, write: Any) -> None:
    async with (
        asyncio.timeout(30),
        serving(write(python=interpreter)) as server,
        BridgeClient(server.addresses[0]) as client,
    ):
        version = ".".join(map(str, await client.call("python")))
        assert find(version) == interpreter
        assert await client.call("read_lines", path="a") == "a: 1 lines"
        with pytest.raises(BridgeError) as caught:
            await client.call("read_lines", lines="two")
        assert {violation.field for violation in caught.value.violations} == {"$.path", "$.lines"}


async def test_its_tools_are_listed_with_schemas_beside_those_of_the_server(write: Any) -> None:
    async with (
        asyncio.timeout(30),
        serving(probes.Inline, write()) as server,
        BridgeClient(server.addresses[0]) as client,
    ):
        tools = {tool.name: tool for tool in await client.tools()}
        assert tools["python"].description == "Which Python this is."
        assert [(p.name, p.required) for p in tools["crash"].parameters] == []
        assert [(p.name, p.required) for p in tools["wait"].parameters] == []
        assert "add" in tools
        assert await client.call("add", a=1, b=2) == 3
        assert "plugin eyes" in (await client.server_info()).adapters


async def test_two_with_a_tool_of_one_name_stop_the_start(write: Any) -> None:
    class Reader(Adapter):
        @tool
        async def crash(self) -> None:
            return

    with pytest.raises(BridgeError, match="plugin eyes") as caught:
        async with asyncio.timeout(30), serving(Reader, write()):
            pass
    assert caught.value.reason == "DUPLICATE_TOOL"


async def test_w18_only_what_is_allowed_is_in_its_environment(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_SECRET", "secret")
    monkeypatch.setenv("FOR_EYES", "yes")
    manifest = write(more='[env]\nallow = ["FOR_EYES"]\nset = { OWN = "own" }\n')
    async with asyncio.timeout(30), serving(manifest) as server, BridgeClient(server.addresses[0]) as client:
        environment = await client.call("environment")
    assert (environment["FOR_EYES"], environment["OWN"]) == ("yes", "own")
    assert "SERVER_SECRET" not in environment


async def test_its_config_is_given_and_checked(write: Any) -> None:
    async with (
        asyncio.timeout(30),
        serving(write(more='[config]\nlanguage = "la"\n')) as server,
        BridgeClient(server.addresses[0]) as client,
    ):
        assert await client.call("language") == "la"
    with pytest.raises(BridgeError, match="language"):
        async with asyncio.timeout(30), serving(write(more="[config]\nlanguage = 7\n")):
            pass


async def test_a_crash_costs_its_call_and_the_deadline_kills(write: Any) -> None:
    manifest = write(more="[limits]\nworkers = 1\ncall_timeout = 2.0\ngrace = 0.1\n")
    async with (
        asyncio.timeout(30),
        serving(manifest) as server,
        BridgeClient(server.addresses[0], retry=None, breaker=None) as client,
    ):
        with pytest.raises(BridgeError) as caught:
            await client.call("crash")
        assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "WORKER_DIED")
        assert "eyes.py" in caught.value.message
        with pytest.raises(BridgeError) as caught:
            await client.call("wait")
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert await client.call("read_lines", path="a") == "a: 1 lines"


async def test_variables_and_limits_of_the_session_are_there(write: Any) -> None:
    async with asyncio.timeout(30), serving(write()) as server, BridgeClient(server.addresses[0]) as client:
        async with client.session() as session:
            assert await client.call("remember", name="x", value=5, session=session.session_id) == 5
            assert await session.get("x") == 5
        with pytest.raises(BridgeError):
            await client.call("remember", name="x", value=5)


async def test_a_reload_takes_new_code_and_the_new_manifest(write: Any, tmp_path: Path) -> None:
    async with asyncio.timeout(30), serving(write()) as server, BridgeClient(server.addresses[0]) as client:
        assert await client.call("language") == "en"
        write(CODE.replace('WHAT = "lines"', 'WHAT = "longer lines"'), more='[config]\nlanguage = "la"\n')
        await server.reload()
        assert await client.call("read_lines", path="a") == "a: 1 longer lines"
        assert await client.call("language") == "la"
        manifest = tmp_path / "eyes.toml"
        manifest.write_text(manifest.read_text() + "\n[nonsense]\n")
        with pytest.raises(BridgeError, match="nonsense"):
            await server.reload()
        assert await client.call("language") == "la"


async def test_w02_a_plugin_that_cannot_start_stops_the_start_and_says_why(write: Any) -> None:
    for code, words in (
        ("import no_such_module_anywhere", "no_such_module_anywhere"),
        ("import sys; sys.exit(3)", "SystemExit"),
        (CODE.replace("class Eyes", "class Ears"), "Ears"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ):
        with pytest.raises(BridgeError) as caught:
            async with asyncio.timeout(30), serving(write(code)):
                pass
        assert caught.value.reason == "WORKER_START_FAILED", code
        assert words in caught.value.message, code


async def test_its_processes_are_gone_with_the_server(write: Any) -> None:
    before = descendants()
    async with asyncio.timeout(30):
        async with serving(write()) as server, BridgeClient(server.addresses[0]) as client:
            await client.call("python")
            started = descendants() - before
            assert started
        assert not started & descendants()


def descendants() -> set[int]:
    """Processes that threads of this one have started."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
