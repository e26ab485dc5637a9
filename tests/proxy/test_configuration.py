"""What changes a plugin as a whole: its configuration, what it has loaded, its code."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from tests.proxy.ways import Awaited, Files, Start, Way, WriteManifest, comes, killed


async def test_the_configuration_of_the_manifest_is_there_from_the_beginning(
    start: Start, plugin: WriteManifest
) -> None:
    way = await start(plugin(config={"label": "by manifest"}))
    assert await way.call("label") == "by manifest"
    assert (await way.ask("current_config"))["label"] == "by manifest"


async def test_the_one_a_proxy_is_made_with_takes_its_place(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin(config={"label": "by manifest"}), config={"label": "by proxy"})
    assert await way.call("label") == "by proxy"


@pytest.mark.parametrize("method", ["initialize", "reconfigure"])
async def test_a_plugin_can_be_configured_anew(start: Start, plugin: WriteManifest, method: str) -> None:
    way = await start(plugin())
    assert await way.call("label") == "none"
    await way.ask(method, {"label": "new"})
    assert await way.call("label") == "new"
    assert await way.call("label_later") == "new"


async def test_its_configuration_has_a_schema(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    schema = await way.ask("config_schema")
    assert schema["properties"]["label"] == {"type": "string", "default": "none"}


async def test_a_plain_class_is_initialized_by_its_proxy(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin("Plain"))
    with pytest.raises(BridgeError) as caught:
        await way.call(text="a")
    assert caught.value.reason == "NOT_INITIALIZED"
    await way.ask("initialize", {"model": "m"})
    assert await way.call(text="a") == "ma"
    assert await way.ask("current_config") == {"model": "m"}
    assert (await way.ask("config_schema"))["properties"] == {"model": {"type": "string"}}
    description = await way.ask("describe")
    assert (description["name"], description["version"]) == ("plain", "1.2")


async def test_a_worker_in_place_of_a_dead_one_is_configured_alike(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    await way.ask("initialize", {"label": "kept"})
    await killed(await way.call("pid"))
    assert await way.call("label") == "kept"


async def both_are_busy(way: Way, files: Files) -> None:
    """Has both of two workers run a call, so that both are there, and wait for the next one."""
    names = [secrets.token_hex(4) for _ in range(3)]
    calls = [way.begin("waits", begun=files[name], release=files[names[2]]) for name in names[:2]]
    for name in names[:2]:
        await files.come(name)
    files.make(names[2])
    await asyncio.gather(*calls)


async def test_all_workers_get_a_configuration(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin(limits={"workers": 2}))
    await both_are_busy(way, files)
    await way.ask("reconfigure", {"label": "both"})
    assert len((await way.stats()).pids) == 2
    calls = [way.begin("waits", begun=files[name], release=files["go again"]) for name in "cd"]
    await files.come("c")  # one is busy, so the next call is the other's
    labels = way.begin("label")
    files.make("go again")
    assert [await labels, *await asyncio.gather(*calls)] == ["both", "released", "released"]


async def test_w17_a_configuration_waits_for_the_calls_that_run_and_the_next_ones_wait_for_it(
    start: Start, plugin: WriteManifest, files: Files
) -> None:
    way = await start(plugin())
    running = way.begin("waits", begun=files["begun"], release=files["go"])
    await files.come("begun")
    config = {"label": "new", "begun": files["configuring"], "release": files["configure"]}
    changing = asyncio.create_task(way.ask("reconfigure", config))
    await comes(way, lambda stats: stats.state == "changing")
    late = way.begin("label")
    assert not files.has("configuring")
    files.make("go")
    assert await running == "released"
    await files.come("configuring")
    assert not late.done()
    files.make("configure")
    await changing
    assert await late == "new"


async def test_a_configuration_that_is_refused_leaves_the_one_before(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    await way.ask("initialize", {"label": "good"})
    with pytest.raises(BridgeError, match="this configuration fails"):
        await way.ask("reconfigure", {"label": "bad", "fails": True})
    assert await way.call("label") == "good"
    with pytest.raises(BridgeError) as caught:
        await way.ask("initialize", {"label": 5})
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert await way.call("label") == "good"


async def test_a_configuration_that_one_worker_refuses_is_in_force_in_none(
    start: Start, plugin: WriteManifest, files: Files
) -> None:
    way = await start(plugin(limits={"workers": 2}))
    await way.ask("initialize", {"label": "good"})
    await both_are_busy(way, files)
    with pytest.raises(BridgeError, match="only once"):
        await way.ask("reconfigure", {"label": "bad", "once": files["once"]})
    await both_are_busy(way, files)
    assert await asyncio.gather(*(way.call("label") for _ in range(6))) == ["good"] * 6


async def test_the_calls_after_a_failed_change_are_not_held_up(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin("Plain"))
    with pytest.raises(BridgeError, match="this configuration fails"):
        await way.ask("initialize", {"fails": True})
    await way.ask("initialize", {"model": "m"})
    assert await way.call(text="a") == "ma"


async def test_w03_prefetch_may_take_long_as_long_as_it_tells_of_progress(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin("Plain"), config={"steps": 8, "pause": 0.1})
    await way.ask("prefetch", stall_timeout=0.5)


async def test_prefetch_that_stalls_fails(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin("Plain", limits={"grace": 0.1}), config={"steps": 2, "pause": 0.01, "stalls": True})
    with pytest.raises(BridgeError) as caught:
        await way.ask("prefetch", stall_timeout=0.2)
    assert (caught.value.code, caught.value.reason) == (Code.DEADLINE_EXCEEDED, "NO_PROGRESS")
    assert await way.call(text="a") == "-a", "by another worker, which is configured, too"


async def test_cleanup_lets_go_and_initialize_begins_again(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin("Plain"), config={"cleaned": files["cleaned"]})
    await way.ask("cleanup")
    assert files.has("cleaned")
    await way.ask("initialize", {"model": "m"})
    assert await way.call(text="a") == "ma"


async def test_closing_cleans_up(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin("Plain"), config={"cleaned": files["cleaned"]})
    await way.close()
    assert files.has("cleaned")


def rename(file: Path) -> None:
    """Another version of the plugin."""
    file.write_text(file.read_text().replace("def pid(", "def process("))


async def test_restart_takes_the_code_as_it_is_now_and_keeps_the_configuration(
    start: Start, plugin: WriteManifest
) -> None:
    manifest = plugin()
    way = await start(manifest)
    await way.ask("initialize", {"label": "kept"})
    rename(Path(manifest["adapter"].rpartition(":")[0]))
    await way.ask("restart")
    assert "process" in way.proxy.tools
    assert await way.call("process") in (await way.stats()).pids
    assert await way.call("label") == "kept"


def broken(file: Path) -> Callable[[], object]:
    """Has a plugin fail; what repairs it."""
    text = file.read_text()
    file.write_text("1 / 0")
    return lambda: file.write_text(text)


async def test_a_restart_that_fails_is_made_good_by_the_next_calls(start: Start, plugin: WriteManifest) -> None:
    manifest = plugin()
    way = await start(manifest)
    repair = broken(Path(manifest["adapter"].rpartition(":")[0]))
    with pytest.raises(BridgeError, match="ZeroDivisionError"):
        await way.ask("restart")
    repair()
    pid = await way.call("pid")
    assert await way.call("pid") == pid
    assert (await way.stats()).pids == (pid,)


@pytest.mark.parametrize("turns", [1, 3, 5])
async def test_a_restart_that_is_cancelled_leaves_workers_that_are_kept(
    start_in: Start, plugin: WriteManifest, turns: int
) -> None:
    way = await start_in(Awaited, plugin())
    restarting = asyncio.create_task(way.ask("restart"))
    for _ in range(turns):
        await asyncio.sleep(0)
    restarting.cancel()
    await asyncio.wait((restarting,))
    pid = await way.call("pid")
    assert await way.call("pid") == pid
