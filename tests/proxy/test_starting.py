"""How a plugin begins, and all the ways in which it does not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from bridge.runtime.death import children
from bridge.worker import WorkerProxy
from bridge.worker.memory import is_running
from tests.proxy.ways import Awaited, Blocking, Files, Start, WriteManifest, comes
from tests.support.waiting import until


def without(manifest: dict[str, Any], text: str) -> dict[str, Any]:
    """A plugin of another text."""
    file = Path(manifest["adapter"].rpartition(":")[0])
    file.write_text(text)
    return manifest


async def refused(start: Start, manifest: dict[str, Any], **parameters: Any) -> BridgeError:
    """What it does not begin with; nothing of it is left."""
    before = set(children())
    with pytest.raises(BridgeError) as caught:
        await start(manifest, **parameters)
    assert set(children()) <= before
    return caught.value


async def test_w02_an_interpreter_that_is_not_there(start: Start, plugin: WriteManifest) -> None:
    error = await refused(start, plugin(python="/no/such/python"))
    assert error.code is Code.INVALID_ARGUMENT
    assert "/no/such/python" in error.message


async def test_w02_an_interpreter_that_is_none(start: Start, plugin: WriteManifest) -> None:
    error = await refused(start, plugin(python="/bin/true"))
    assert error.reason == "WORKER_START_FAILED"


async def test_w02_a_module_that_is_not_there(start: Start, plugin: WriteManifest) -> None:
    error = await refused(start, {**plugin(), "adapter": "no_such_module:Sample"})
    assert error.reason == "WORKER_START_FAILED"
    assert "no_such_module" in error.message


async def test_w02_a_class_that_is_not_there(start: Start, plugin: WriteManifest) -> None:
    error = await refused(start, plugin("Nothing"))
    assert error.reason == "WORKER_START_FAILED"
    assert "Nothing" in error.message


async def test_w02_an_import_that_raises_is_told_with_its_traceback(start: Start, plugin: WriteManifest) -> None:
    text = "def deeper():\n    raise ValueError('not today')\ndeeper()\n"
    error = await refused(start, without(plugin(), text))
    assert "ValueError: not today" in error.message
    assert "in deeper" in (error.details.debug or "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys\nsys.exit('enough')\n", "enough"),
        ("import os\nos.write(2, b'last words')\nos._exit(5)\n", "exit code 5"),
        ("import ctypes\nprint('last words', flush=True)\nctypes.string_at(0)\n", "SIGSEGV"),
    ],
    ids=["sys.exit", "os._exit", "segfault"],
)
async def test_w02_an_import_that_ends_the_process(start: Start, plugin: WriteManifest, text: str, told: str) -> None:
    error = await refused(start, without(plugin(), text))
    assert error.reason == "WORKER_START_FAILED"
    assert told in error.message


async def test_w02_an_object_that_cannot_be_made(start: Start, plugin: WriteManifest) -> None:
    error = await refused(start, plugin("FailsToBegin"))
    assert "it cannot be made" in error.message
    assert any("in __init__" in note for note in error.__notes__), "the traceback"


async def test_w02_a_lifespan_that_fails(start: Start, plugin: WriteManifest) -> None:
    error = await refused(start, plugin(), config={"fails": True})
    assert error.reason == "LIFESPAN_FAILED"
    assert "this configuration fails" in error.message
    assert any("RuntimeError: this configuration fails" in note for note in error.__notes__), "the traceback"


async def test_w04_an_import_that_takes_too_long_is_killed(start: Start, plugin: WriteManifest) -> None:
    text = "import time\nprint('loading', flush=True)\ntime.sleep(60)\n"
    error = await refused(start, without(plugin(limits={"start_timeout": 0.5}), text))
    assert (error.code, error.reason) == (Code.DEADLINE_EXCEEDED, "WORKER_START_TIMEOUT")
    assert "loading" in error.message


async def test_w18_the_environment_is_what_the_manifest_allows(
    start: Start, plugin: WriteManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    monkeypatch.setenv("ALLOWED", "2")
    way = await start(plugin(env={"allow": ["ALLOWED"], "set": {"OWN": "3"}}))
    environment = await way.call("environment")
    assert "SECRET_OF_THE_HOST" not in environment
    assert (environment["ALLOWED"], environment["OWN"]) == ("2", "3")
    (pid,) = (await way.stats()).pids
    assert b"SECRET_OF_THE_HOST" not in await asyncio.to_thread(Path(f"/proc/{pid}/environ").read_bytes)


async def test_w19_a_manifest_that_others_can_change_is_refused(plugin: WriteManifest, tmp_path: Path) -> None:
    path = tmp_path / "plugin" / "plugin.toml"
    plugin()
    path.write_text('name = "sample"\nadapter = "sample_plugin.py:Sample"\n')
    path.chmod(0o600)
    assert WorkerProxy(path).manifest.name == "sample"
    path.chmod(0o666)
    with pytest.raises(BridgeError) as caught:
        WorkerProxy(path)
    assert caught.value.reason == "MANIFEST"


async def test_w21_two_proxies_of_one_manifest_have_nothing_in_common(start: Start, plugin: WriteManifest) -> None:
    manifest = plugin()
    one, other = await start(manifest), await start(manifest)
    await one.ask("initialize", {"label": "one"})
    assert await other.call("label") == "none"
    assert await one.call("pid") != await other.call("pid")
    await one.close()
    assert await other.call("label") == "none"


async def test_w16_one_worker_runs_one_call_at_a_time(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin())
    calls = [way.begin("waits", begun=files[str(number)], release=files["go"]) for number in range(3)]
    await comes(way, lambda stats: stats.running == 3)
    assert sum(files.has(str(number)) for number in range(3)) <= 1
    files.make("go")
    assert await asyncio.gather(*calls) == ["released"] * 3
    assert len((await way.stats()).pids) == 1


async def test_w16_as_many_workers_as_are_allowed_run_at_once(
    start: Start, plugin: WriteManifest, files: Files
) -> None:
    way = await start(plugin(), workers=3)
    calls = [way.begin("waits", begun=files[str(number)], release=files["go"]) for number in range(4)]
    async with asyncio.timeout(10):
        await until(lambda: sum(files.has(str(number)) for number in range(4)) == 3)
    files.make("go")
    assert await asyncio.gather(*calls) == ["released"] * 4
    assert len((await way.stats()).pids) == 3


async def test_a_process_for_each_call_if_the_manifest_says_so(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin(isolation="call"))
    pids = [await way.call("pid") for _ in range(3)]
    assert len(set(pids)) == 3


# -- started, closed, and in between ---------------------------------------------------------------------------------


async def test_a_proxy_that_is_not_started_says_so(plugin: WriteManifest) -> None:
    proxy = WorkerProxy(plugin())
    assert not proxy.is_alive
    for use in (
        lambda: proxy.execute("pid"),
        proxy.stats,
        lambda: proxy.stream("counts", until=1),
        lambda: proxy.tools,
    ):
        with pytest.raises(BridgeError) as caught:
            use()
        assert caught.value.reason == "CLOSED"


async def test_a_proxy_can_be_started_again(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    first = await way.call("pid")
    with pytest.raises(BridgeError) as caught:
        await way.start()
    assert caught.value.reason == "RUNNING"
    await way.close()
    await way.close()
    await way.start()
    assert await way.call("pid") != first


def test_used_in_a_with_statement_it_blocks(plugin: WriteManifest) -> None:
    with WorkerProxy(plugin()) as proxy:
        pid = proxy.execute("pid")
        assert list(proxy.stream("counts", until=3)) == [0, 1, 2]
    assert not is_running(pid)


async def test_used_in_an_async_with_statement_it_is_awaited(plugin: WriteManifest) -> None:
    async with WorkerProxy(plugin()) as proxy:
        assert await proxy.execute_async("echo", value=1) == 1
        for use in (lambda: proxy.execute("pid"), proxy.stats, lambda: proxy.stream("counts", until=1), proxy.close):
            with pytest.raises(BridgeError, match="_async") as caught:
                use()
            assert caught.value.reason == "WOULD_BLOCK"


# -- variables -------------------------------------------------------------------------------------------------------


async def test_a_plugin_without_variables_is_told_so(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    with pytest.raises(BridgeError) as caught:
        await way.call("remembers", name="n", value=1)
    assert caught.value.reason == "NO_SESSION"
    with pytest.raises(BridgeError, match="variables=True") as caught:
        await way.call("asks_its_host")
    assert caught.value.reason == "NO_HOST"


async def test_variables_in_memory_last_as_long_as_the_proxy(start_in: Start, plugin: WriteManifest) -> None:
    blocking = await start_in(Blocking, plugin(), variables=True)
    assert await blocking.call("remembers", name="n", value=1) is None
    assert await blocking.call("remembers", name="n", value=2) == 1
    variables = blocking.proxy.variables

    def look() -> Any:
        variables["other"] = 3
        return variables["n"]

    assert await asyncio.to_thread(look) == 2
    assert await blocking.call("remembers", name="other", value=0) == 3


async def test_variables_can_be_awaited(start_in: Start, plugin: WriteManifest) -> None:
    way = await start_in(Awaited, plugin(), variables=True)
    await way.proxy.variables_async.set("n", 5)
    assert await way.call("remembers", name="n", value=6) == 5
    assert await way.proxy.variables_async.get("n") == 6
