"""Classes of any kind as plugins, and how plugins are configured."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.call import NO_VALUE
from bridge.codec import decode
from bridge.errors import Code
from bridge.runtime import Adapter, tool
from bridge.runtime.errors import BridgeError
from bridge.runtime.objects import ObjectPlugin
from bridge.v1.bridge_pb2 import ToolChunk
from bridge.worker import frames
from tests.runtime.conftest import Runtime, StartWorker
from tests.runtime.plugins.objects import AsyncLife, Marked, Plain, Whisper
from tests.support.waiting import until
from tests.support.worker_pipe import refusal


async def _stream(pipe: Runtime, name: str, **arguments: Any) -> tuple[list[Any], list[str]]:
    """What a tool yields, and its notes of progress."""
    values: list[Any] = []
    notes: list[str] = []
    number = pipe.begin(name, streaming=True, **arguments)
    while isinstance(message := await pipe.next(number), frames.Chunk):
        chunk = ToolChunk.FromString(message.chunk)
        if chunk.HasField("progress"):
            notes.append(chunk.progress.message)
        else:
            values.append(_value(chunk))
            pipe.send(frames.Credit(number, 1))
    assert isinstance(message, frames.Result)
    return values, notes


def _value(chunk: ToolChunk) -> Any:
    return chunk.data if chunk.HasField("data") else decode(chunk.value)


# -- any class -----------------------------------------------------------------------------------------------------


async def test_the_public_methods_of_a_class_are_tools_of_one_object(start: StartWorker) -> None:
    pipe = await start(Plain)
    assert (await pipe.call("$describe"))["tools"] == [
        "count",
        "count_later",
        "deferred",
        "numbers",
        "numbers_later",
        "opaque",
        "spread",
    ]
    assert [await pipe.call("count"), await pipe.call("count_later", by=2), await pipe.call("count")] == [1, 3, 4]
    assert await pipe.call("deferred") == 5
    assert await _stream(pipe, "numbers", n=20) == ([*range(20)], [])
    assert await _stream(pipe, "numbers_later", n=20) == ([*range(20)], [])
    assert (await refusal(pipe.call("_hidden"))).reason == "TOOL_NOT_FOUND"
    assert (await refusal(pipe.call("count_later", by="x"))).code is Code.INVALID_ARGUMENT


async def test_arguments_go_where_the_method_wants_them(start: StartWorker) -> None:
    pipe = await start(Plain)
    assert await pipe.call("spread", first=1) == [1, [], 0, {}]
    assert await pipe.call("spread", first=1, rest=[2, 3], last=4, other=5) == [1, [2, 3], 4, {"other": 5}]
    assert await pipe.call("opaque", thing=b"x") == [b"x", None]
    assert (await refusal(pipe.call("spread"))).violations[0].description == "is required"
    assert (await refusal(pipe.call("spread", first=1, rest=2))).violations[0].field == "$.rest"


def test_marked_methods_are_the_only_tools_if_there_are_any() -> None:
    with pytest.raises(BridgeError) as caught:
        ObjectPlugin(type("Nothing", (), {}), "x")
    assert caught.value.reason == "NO_TOOLS"
    assert [*ObjectPlugin(Marked, "x").tools] == ["not_a_tool"]

    class More(Marked):
        @tool(name="is.a.tool")
        def is_a_tool(self) -> None: ...

    assert [*ObjectPlugin(More, "x").tools] == ["is.a.tool"]


async def test_an_object_that_cannot_be_made_stops_the_start(start: StartWorker) -> None:
    class Broken:
        def __init__(self) -> None:
            raise OSError("no device")

        def anything(self) -> None: ...

    pipe = await start(Broken)
    assert pipe.failed is not None
    assert pipe.failed.reason == "INIT_FAILED"
    assert pipe.failed.message.endswith("OSError: no device")
    assert await pipe.ended() == 1


# -- plugins of cjm-plugin-system ----------------------------------------------------------------------------------


async def test_a_plugin_is_not_called_before_it_is_initialized(start: StartWorker) -> None:
    pipe = await start(Whisper)
    error = await refusal(pipe.call("execute"))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "NOT_INITIALIZED")
    assert (await pipe.call("$describe"))["initialized"] is False
    assert await pipe.call("$initialize", config={"model": "small"}) is None
    assert await pipe.call("execute", args=[1], b=2) == {
        "args": [1],
        "kwargs": {"b": 2},
        "config": {"model": "small"},
        "done": ["initialize"],
    }
    await pipe.call("$cleanup")
    await pipe.call("$cleanup")
    again = await pipe.call("execute")
    assert (again["done"], again["config"]) == (["initialize", "cleanup", "initialize"], {"model": "small"})


async def test_the_life_of_a_plugin_is_in_its_own_hands(start: StartWorker) -> None:
    pipe = await start(Whisper, config={"model": "a"})
    assert await pipe.call("$config_schema") == Whisper().get_config_schema()
    assert await pipe.call("$current_config") == {"model": "a"}
    await pipe.call("$reconfigure", config={"model": "b"})
    assert await pipe.call("$current_config") == {"model": "b"}
    await pipe.call("$prefetch")
    await pipe.call("$disable")
    await pipe.call("$enable")
    reconfigured = ["reconfigure", {"model": "a"}, {"model": "b"}]
    assert (await pipe.call("execute"))["done"] == ["initialize", reconfigured, "prefetch", "disable", "enable"]
    about = await pipe.call("$describe")
    assert (about["kind"], about["name"], about["version"]) == ("object", "whisper", "1.2.3")
    assert about["tools"] == ["execute", "execute_stream", "loop"]
    assert set(about["lifecycle"]) >= {"cancel", "initialize", "prefetch", "report_progress"}
    pipe.send(frames.Shutdown())
    assert await pipe.ended() == 0
    assert pipe.worker._plugin._object.done[-1] == "cleanup"  # type: ignore[attr-defined]


async def test_a_failed_initialize_is_the_plugins_error(start: StartWorker) -> None:
    pipe = await start(Whisper)
    error = await refusal(pipe.call("$initialize", config={"model": "missing"}))
    assert (error.code, error.reason) == (Code.UNKNOWN, "FileNotFoundError")
    for wrong in ({}, {"config": 1}, {"config": {}, "more": 1}):
        assert (await refusal(pipe.call("$initialize", **wrong))).violations[0].field == "$.config"
    stopped = await start(Whisper, config={"model": "missing"})
    assert stopped.failed is not None
    assert stopped.failed.reason == "INITIALIZE_FAILED"
    assert "FileNotFoundError: there is no such model" in stopped.failed.message
    assert await stopped.ended() == 1


async def test_reported_progress_reaches_the_caller(start: StartWorker) -> None:
    pipe = await start(Whisper, config={})
    values, notes = await _stream(pipe, "execute_stream", text="a", repeat=3)
    assert values == ["a", "a", "a"]
    assert notes == ["piece 0", "piece 1", "piece 2", "done"]
    assert pipe.worker._plugin._object._progress == -1.0  # type: ignore[attr-defined]
    assert (await _stream(pipe, "$prefetch"))[1] == ["loading"]


async def test_a_cancelled_call_of_a_plugin_is_told_in_both_ways(start: StartWorker) -> None:
    pipe = await start(Whisper, config={})
    number = pipe.begin("loop")
    pipe.send(frames.Ping(1))
    async with asyncio.timeout(5):
        await pipe.pongs.get()
    pipe.send(frames.Cancel(number))
    assert (await refusal(pipe.end(number))).code is Code.CANCELLED
    assert await pipe.call("loop", forever=False) is True  # and the next call goes on


async def test_what_runs_in_the_background_goes_on_between_and_during_calls(start: StartWorker) -> None:
    pipe = await start(AsyncLife, config={})
    before = await pipe.call("beats_later")
    after = await pipe.call("beats", more=5)
    assert after >= before + 5
    async with asyncio.timeout(5):
        while await pipe.call("beats_later") < after + 5:
            pass
    assert await pipe.call("beats", more=1) > after
    pipe.send(frames.Shutdown())
    assert await pipe.ended() == 0


# -- configured adapters -------------------------------------------------------------------------------------------


def _configured(events: list[Any]) -> type:
    class Configured(Adapter):
        @dataclasses.dataclass
        class Config:
            """How it is set."""

            model: str
            size: int = 3

        @classmethod
        @asynccontextmanager
        async def lifespan(cls) -> AsyncIterator[str]:
            if cls.config.model == "broken":
                raise OSError("no such model")
            events.append(f"enter {cls.config.model}")
            yield f"resources of {cls.config.model}"
            events.append(f"leave {cls.config.model}")

        @tool
        def shows(self) -> list[Any]:
            return [self.config.model, self.config.size, self.resources]

        @tool
        def thread(self) -> str:
            return threading.current_thread().name

    return Configured


async def test_an_adapter_is_configured_by_its_dataclass(start: StartWorker) -> None:
    events: list[Any] = []
    pipe = await start(_configured(events), config={"model": "a"})
    assert await pipe.call("shows") == ["a", 3, "resources of a"]
    assert await pipe.call("$current_config") == {"model": "a", "size": 3}
    assert await pipe.call("$config_schema") == {
        "title": "Config",
        "description": "How it is set.",
        "type": "object",
        "properties": {"model": {"type": "string"}, "size": {"type": "integer", "default": 3}},
        "required": ["model"],
    }
    assert await pipe.call("thread") == "runtime-worker"  # nothing else has to run on the event loop
    await pipe.call("$reconfigure", config={"model": "b", "size": 4})
    assert await pipe.call("shows") == ["b", 4, "resources of b"]
    assert events == ["enter a", "leave a", "enter b"]
    pipe.send(frames.Shutdown())
    assert await pipe.ended() == 0
    assert events[3:] == ["leave b"]


async def test_a_wrong_configuration_changes_nothing_and_one_that_does_not_work_is_taken_back(
    start: StartWorker,
) -> None:
    events: list[Any] = []
    pipe = await start(_configured(events), config={"model": "a"})
    error = await refusal(pipe.call("$reconfigure", config={"model": "b", "size": "large"}))
    assert (error.code, error.violations[0].field) == (Code.INVALID_ARGUMENT, "$.config.size")
    assert events == ["enter a"]
    error = await refusal(pipe.call("$reconfigure", config={"model": "broken"}))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "LIFESPAN_FAILED")
    assert await pipe.call("shows") == ["a", 3, "resources of a"]


async def test_an_adapter_that_needs_a_configuration_waits_for_it(start: StartWorker) -> None:
    events: list[Any] = []
    pipe = await start(_configured(events))
    assert (await refusal(pipe.call("shows"))).reason == "NOT_INITIALIZED"
    await pipe.call("$initialize", config={"model": "late"})
    assert await pipe.call("shows") == ["late", 3, "resources of late"]
    await pipe.call("$cleanup")
    assert events == ["enter late", "leave late"]
    assert await pipe.call("shows") == ["late", 3, "resources of late"]
    assert events == ["enter late", "leave late", "enter late"]


async def test_a_start_that_cannot_work_fails_with_the_reason(start: StartWorker) -> None:
    for config, reason in (({"model": "broken"}, "LIFESPAN_FAILED"), ({"model": 1}, "INVALID_ARGUMENT")):
        pipe = await start(_configured([]), config=config)
        assert pipe.failed is not None
        assert pipe.failed.reason == reason
        assert await pipe.ended() == 1


async def test_an_adapter_without_configuration_takes_none(start: StartWorker) -> None:
    class Simple(Adapter):
        @tool
        def one(self) -> int:
            return 1

    pipe = await start(Simple)
    assert await pipe.call("$config_schema") == {}
    assert await pipe.call("$current_config") is None
    assert await pipe.call("$prefetch") is None
    assert (await refusal(pipe.call("$initialize", config={"a": 1}))).code is Code.INVALID_ARGUMENT
    assert await pipe.call("$initialize", config={}) is None
    assert await pipe.call("one") == 1
    assert await pipe.call("$describe", streaming=True) is not NO_VALUE
    assert (await refusal(pipe.call("$nonsense"))).reason == "TOOL_NOT_FOUND"


async def test_a_lifespan_is_left_in_the_task_that_entered_it(start: StartWorker) -> None:
    class Grouped(Adapter):
        @classmethod
        @asynccontextmanager
        async def lifespan(cls) -> AsyncIterator[dict[str, int]]:
            beats = {"n": 0}

            async def beat() -> None:
                while True:
                    beats["n"] += 1
                    await asyncio.sleep(0.001)

            async with asyncio.TaskGroup() as group:
                task = group.create_task(beat())
                yield beats
                task.cancel()

        @tool
        def plain(self) -> int:
            return int(self.resources["n"])

    pipe = await start(Grouped)
    first = await pipe.call("plain")
    async with asyncio.timeout(5):
        while await pipe.call("plain") <= first:
            pass
    pipe.send(frames.Shutdown())
    assert await pipe.ended() == 0


@dataclasses.dataclass
class Inner:
    depth: int = 0


async def test_a_field_that_the_configuration_does_not_have_is_named(start: StartWorker) -> None:
    class Nested(Adapter):
        @dataclasses.dataclass
        class Config:
            size: int = 3
            more: dict[str, Inner] = dataclasses.field(default_factory=dict)

        @tool
        def shows(self) -> int:
            return int(self.config.size)

    pipe = await start(Nested)
    error = await refusal(pipe.call("$initialize", config={"size": 4, "siez": 5}))
    assert (error.code, error.violations[0].field) == (Code.INVALID_ARGUMENT, "$.config.siez")
    assert "did you mean size?" in error.message
    error = await refusal(pipe.call("$initialize", config={"more": {"a": {"depth": 1, "other": 2}}}))
    assert error.violations[0].field.endswith(".other")
    assert "there is depth" in error.message
    assert await pipe.call("shows") == 3


async def test_an_awaited_cleanup_of_a_plain_tool_runs_to_its_end_after_a_cancel(start: StartWorker) -> None:
    events: list[str] = []
    began = threading.Event()

    class Cleans(Adapter):
        async def cleanup(self) -> None:
            events.append("begun")
            await asyncio.sleep(0)
            events.append("cleaned")

        @tool
        def waits(self) -> None:
            began.set()
            self.context.cancelled.wait_blocking(5)

    pipe = await start(Cleans)
    number = pipe.begin("waits")
    assert await asyncio.to_thread(began.wait, 5)
    pipe.send(frames.Cancel(number))
    await pipe.next(number)
    assert events == ["begun", "cleaned"]


async def test_a_change_that_is_cancelled_leaves_the_lifespan_of_before(start: StartWorker) -> None:
    events: list[str] = []
    leaves = threading.Event()

    class Slow(Adapter):
        @dataclasses.dataclass
        class Config:
            name: str = "a"

        @classmethod
        @asynccontextmanager
        async def lifespan(cls) -> AsyncIterator[None]:
            yield
            leaves.set()
            await until(lambda: "go" in events)
            events.append("left")

        @tool
        def one(self) -> int:
            return 1

    pipe = await start(Slow)
    number = pipe.begin("$reconfigure", config={"name": "b"})
    assert await asyncio.to_thread(leaves.wait, 5)
    pipe.send(frames.Cancel(number))
    pipe.send(frames.Ping(1))
    async with asyncio.timeout(5):
        assert await pipe.pongs.get() == 1
    events.append("go")
    await pipe.next(number)
    assert events == ["go", "left"]
    assert await pipe.call("$current_config") == {"name": "a"}
    assert (await pipe.call("$describe"))["initialized"]
    events.clear()
    pipe.send(frames.Shutdown())
    events.append("go")
    assert await pipe.ended() == 0
    assert events == ["go", "left"]
