"""Calls by a proxy, and streams, in each way there is."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from tests.proxy.ways import Files, Start, WriteManifest
from tests.support.interpreters import interpreter

__all__ = ["interpreter"]


async def test_w01_a_plugin_runs_in_any_interpreter_with_nothing_installed(
    start: Start, plugin: WriteManifest, interpreter: str
) -> None:
    way = await start(plugin(python=interpreter))
    about = await way.call("about")
    assert about["executable"] == interpreter
    assert not {"msgspec", "google", "grpc", "numpy"} & set(about["modules"])
    assert await way.values("counts", until=3) == [0, 1, 2]


async def test_values_come_back_as_they_went(start_anyhow: Start, plugin: WriteManifest) -> None:
    way = await start_anyhow(plugin())
    for value in (None, True, 7, 1.5, "text", b"bytes", [1, [2]], {"a": {"b": None}}):
        assert await way.call("echo", value=value) == value


async def test_w13_large_values_go_in_and_out(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    data = b"0123456789" * 1024 * 1024
    assert await way.call("echo", value=data) == data


async def test_arguments_may_be_called_as_options_are(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    arguments: dict[str, Any] = {"timeout": 1, "call_id": "c", "tool": "t", "retries": 2, "session_id": "s"}
    assert await way.but(timeout=10, call_id="mine").call("odd_names", **arguments) == [1, "c", "t", 2, "s"]


async def test_the_error_of_a_tool_has_its_traceback_and_what_it_printed(
    start_anyhow: Start, plugin: WriteManifest
) -> None:
    way = await start_anyhow(plugin())
    await way.call("prints", size=1000)
    with pytest.raises(BridgeError) as caught:
        await way.call("fails", printing="I was here")
    assert (caught.value.code, caught.value.reason) == (Code.UNKNOWN, "LookupError")
    assert "in fails" in (caught.value.details.debug or "")
    assert caught.value.__notes__ == ["it printed at last:\nI was here"], "and not what another call printed"
    assert "I was here" in way.proxy.logs()


async def test_wrong_arguments_and_unknown_tools_are_told_apart(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    with pytest.raises(BridgeError) as caught:
        await way.call("echo", valeu=1)
    assert caught.value.code is Code.INVALID_ARGUMENT
    with pytest.raises(BridgeError, match="did you mean 'echo'") as caught:
        await way.call("ehco")
    assert caught.value.reason == "TOOL_NOT_FOUND"


async def test_a_plugin_with_one_purpose_needs_no_name_of_a_tool(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin("Plain"), config={"model": "m"})
    assert await way.call(text="a", times=2) == "maa"
    assert await way.values(text="abc") == ["a", "b", "c"]


async def test_of_many_tools_one_has_to_be_named(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    with pytest.raises(BridgeError, match="which tool") as caught:
        await way.call()
    assert caught.value.reason == "NO_TOOL_NAMED"


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
async def test_a_time_that_no_call_can_keep_is_refused(start: Start, plugin: WriteManifest, timeout: float) -> None:
    way = await start(plugin())
    with pytest.raises(BridgeError) as caught:
        way.but(timeout=timeout)
    assert caught.value.code is Code.INVALID_ARGUMENT


async def test_options_add_up(start: Start, plugin: WriteManifest, files: Files) -> None:
    way = await start(plugin(limits={"grace": 0.1}))
    way.caller = way.proxy.with_options(timeout=0.05).with_options(call_id="named")
    call = way.begin("waits", begun=files["begun"], release=files["never"])
    with pytest.raises(BridgeError) as caught:
        await call
    assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_its_tools_are_listed_with_their_schemas(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    tools = way.proxy.tools
    assert tools["counts"].streaming
    assert tools["dies_once"].options.idempotent
    assert tools["prints"].input_schema["properties"]["size"]["type"] == "integer"


# -- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["counts", "counts_later"])
async def test_w15_a_stream_yields_all_values_in_order(start_anyhow: Start, plugin: WriteManifest, tool: str) -> None:
    way = await start_anyhow(plugin())
    assert await way.values(tool, until=100) == list(range(100))


@pytest.mark.parametrize("tool", ["counts", "counts_later"])
async def test_w15_leaving_a_stream_early_closes_the_generator(
    start_anyhow: Start, plugin: WriteManifest, files: Files, tool: str
) -> None:
    way = await start_anyhow(plugin())
    assert await way.values(tool, most=3, until=10**9, closed=files["closed"]) == [0, 1, 2]
    assert files.has("closed"), "when it was left, not later"
    assert await way.call("echo", value=1) == 1


async def test_w15_forgetting_a_stream_closes_the_generator_soon(
    start_anyhow: Start, plugin: WriteManifest, files: Files
) -> None:
    way = await start_anyhow(plugin())
    await way.values("counts", most=3, closing=False, until=10**9, closed=files["closed"])
    await files.come("closed")
    assert await way.call("echo", value=1) == 1


async def test_w15_an_error_in_the_middle_comes_after_the_values_before_it(
    start_anyhow: Start, plugin: WriteManifest
) -> None:
    way = await start_anyhow(plugin())
    values: list[int] = []
    with pytest.raises(BridgeError) as caught:
        await way.take(values, "counts", until=20, fails=True)
    assert caught.value.reason == "LookupError"
    assert values == list(range(20))


async def test_a_tool_that_yields_nothing_is_a_stream_of_one_value(start_anyhow: Start, plugin: WriteManifest) -> None:
    way = await start_anyhow(plugin())
    assert await way.values("echo", value=5) == [5]


async def test_a_tool_that_yields_cannot_be_called_for_one_result(start: Start, plugin: WriteManifest) -> None:
    way = await start(plugin())
    with pytest.raises(BridgeError, match="use stream") as caught:
        await way.call("counts", until=3)
    assert caught.value.reason == "STREAMING_TOOL"
