"""Plugins in their own interpreters: the whole way from a server's worker to a tool and back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy
import pytest

from adapters import showcase
from bridge.adapter import inspect_adapter
from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.errors import BridgeError, Code
from bridge.host import CallScope, Host, NoHost
from bridge.hosts.memory import InMemoryHost
from bridge.tool_specs import tool_specs
from bridge.v1.bridge_pb2 import ListToolsResponse
from bridge.worker import frames
from bridge.worker.nursery import Nursery, Recipe
from bridge.worker.process import Worker
from tests.runtime.conftest import spec_facts
from tests.runtime.plugins import described
from tests.support.interpreters import interpreter
from tests.support.waiting import until
from tests.support.worker_pipe import refusal

__all__ = ["interpreter"]

PLUGINS = Path(__file__).parent / "plugins"
ROOT = Path(__file__).parents[2]
PROCESSES = f"{PLUGINS / 'processes.py'}:Processes"

StartPlugin = Callable[..., Awaitable[Worker]]


def recipe(adapter: str, *, python: str = "", config: Any = None, path: tuple[str, ...] = ()) -> Recipe:
    """For a plugin."""
    argument = json.dumps({"adapter": adapter, "path": path, "config": config})
    return Recipe(
        preload="bridge.plugin:preload",
        run="bridge.plugin:run",
        argument=argument,
        about="a plugin",
        python=python,
        runtime=True,
        environ={"PATH": os.environ["PATH"]},
        cwd="/",
    )


@pytest.fixture
async def start_plugin() -> AsyncIterator[StartPlugin]:
    """``worker = await start_plugin(adapter, python=..., config=..., settings=...)``"""
    async with AsyncExitStack() as stack:

        async def start(
            adapter: str, *, settings: frames.Settings | None = None, grace: float = 5.0, **options: Any
        ) -> Worker:
            nursery = Nursery(recipe(adapter, **options))
            stack.push_async_callback(nursery.aclose)
            async with asyncio.timeout(20):
                await nursery.start()
                newborn = await nursery.fork()
                worker = await Worker.start(newborn, nursery.kill, settings or frames.Settings(), grace=grace)
            stack.push_async_callback(lambda: asyncio.wait({worker.shut_down()}, timeout=10))
            return worker

        yield start


class Calling:
    """A call of a tool, which tells what comes before its end."""

    def __init__(self, worker: Worker, tool: str, host: Host | None, session_id: str, **arguments: Any) -> None:
        self.values: list[Any] = []
        self.notes: asyncio.Queue[str] = asyncio.Queue()
        request = ToolCall(tool, arguments, host or NoHost(), session_id=session_id, streaming=True, emit=self._take)
        self.task = asyncio.create_task(worker.run(request))

    async def _take(self, chunk: Chunk) -> None:
        if chunk.progress is not None:
            self.notes.put_nowait(chunk.progress.message)
        if chunk.value is not NO_VALUE:
            self.values.append(chunk.value)

    async def note(self) -> str:
        """The next note of progress."""
        async with asyncio.timeout(10):
            return await self.notes.get()

    async def end(self) -> Any:
        """Its result."""
        async with asyncio.timeout(10):
            return await self.task


async def call(worker: Worker, tool: str, host: Host | None = None, session_id: str = "", **arguments: Any) -> Any:
    """Calls a tool and returns its result."""
    async with asyncio.timeout(10):
        return await worker.run(ToolCall(tool, arguments, host or NoHost(), session_id=session_id))


def begin(worker: Worker, tool: str, host: Host | None = None, session_id: str = "", **arguments: Any) -> Calling:
    """Calls a tool by the streaming way."""
    return Calling(worker, tool, host, session_id, **arguments)


# -- every Python --------------------------------------------------------------------------------------------------


async def test_every_python_describes_tools_as_a_server_does(start_plugin: StartPlugin, interpreter: str) -> None:
    worker = await start_plugin(f"{PLUGINS / 'described.py'}:Described", python=interpreter)
    listed = {tool.name: spec_facts(tool) for tool in ListToolsResponse.FromString(worker.tools).tools}
    expected = {tool.name: spec_facts(tool) for tool in tool_specs(inspect_adapter(described.Described).tools.values())}
    for facts in (*listed.values(), *expected.values()):
        # How a type is shown to people differs a little from Python to Python.
        facts["parameters"] = [(name, *rest) for name, _, *rest in facts["parameters"]]
    assert listed == expected


async def test_every_python_converts_arguments(start_plugin: StartPlugin, interpreter: str) -> None:
    worker = await start_plugin(f"{PLUGINS / 'described.py'}:Described", python=interpreter)
    got = await call(
        worker,
        "types",
        color="r",
        named={"name": "n", "at": {"x": 1, "color": "b"}},
        numbers=[1, 2.5],
        table={"a": [1]},
        choice=[1],
        when="2020-01-01T00:00:00.5Z",
        day="2020-01-01",
        span="PT1S",
        exact="1.5",
        ident="12345678-1234-5678-1234-567812345678",
        these=["a", "a"],
    )
    assert got[:6] == ["Color", "dict", "Pair", "list", "dict", "list"]
    assert got[6:] == ["datetime", "date", "timedelta", "Decimal", "UUID", "set"]
    error = await refusal(call(worker, "types", color="z", named={"name": "n", "at": {"x": "1"}}, choice=1.5))
    assert [(one.field, one.description) for one in error.violations] == [
        ("$.color", "expected one of the values in the schema"),
        ("$.named.at.x", "expected int, got str"),
        ("$.choice", "expected int | str | array | null, got float"),
    ]


async def test_every_python_runs_plain_and_async_tools_and_streams(start_plugin: StartPlugin, interpreter: str) -> None:
    worker = await start_plugin(PROCESSES, python=interpreter)
    facts = await call(worker, "facts")
    assert facts["version"] in interpreter or facts["version"] == "3.11"
    assert facts["thread"] is True
    assert facts["pid"] == worker.pid
    assert [await call(worker, "add", a=1), await call(worker, "add_later", a=2), await call(worker, "add", a=3)] == [
        2,
        3,
        4,
    ]
    streaming = begin(worker, "chunks", size=10, count=100)
    assert await streaming.end() is NO_VALUE
    assert streaming.values == [bytes((number,)) * 10 for number in range(100)]
    assert await call(worker, "listens") == ""


async def test_a_worker_without_async_tools_imports_no_event_loop(start_plugin: StartPlugin, interpreter: str) -> None:
    worker = await start_plugin(f"{PLUGINS / 'smallest.py'}:Smallest", python=interpreter)
    modules = set(await call(worker, "modules"))
    assert modules.isdisjoint({"asyncio", "subprocess", "multiprocessing", "ssl", "msgspec", "google"})
    assert {name for name in modules if name.startswith("bridge.")} >= {"bridge.worker", "bridge.convert"}


async def test_every_python_has_plugins_that_know_nothing_of_the_bridge(
    start_plugin: StartPlugin, interpreter: str
) -> None:
    worker = await start_plugin(f"{PLUGINS / 'objects.py'}:Whisper", python=interpreter, config={"model": "x"})
    assert (await call(worker, "execute", args=[1], b=2))["config"] == {"model": "x"}
    streaming = begin(worker, "execute_stream", text="a", repeat=3)
    await streaming.end()
    assert streaming.values == ["a"] * 3
    about = await call(worker, "$describe")
    assert interpreter == "" or about["python"].startswith("3.")
    beats = await start_plugin(f"{PLUGINS / 'objects.py'}:AsyncLife", python=interpreter, config={})
    assert await call(beats, "beats", more=2) >= 2


async def test_every_python_ends_a_cancelled_call(start_plugin: StartPlugin, interpreter: str) -> None:
    worker = await start_plugin(PROCESSES, python=interpreter)
    for name in ("spin_until_cancelled", "sleep_later"):
        calling = begin(worker, name)
        assert await calling.note() == "started"
        calling.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling.end()
        assert await call(worker, "add", a=1) == 2
    assert not worker.exited.done()


@pytest.mark.parametrize("name", showcase.__all__)
async def test_ordinary_adapters_are_plugins_as_they_are(start_plugin: StartPlugin, name: str) -> None:
    adapter = getattr(showcase, name)
    worker = await start_plugin(f"{adapter.__module__}:{name}", path=(str(ROOT),))
    listed = {tool.name: spec_facts(tool) for tool in ListToolsResponse.FromString(worker.tools).tools}
    assert listed == {tool.name: spec_facts(tool) for tool in tool_specs(inspect_adapter(adapter).tools.values())}


async def test_an_ordinary_adapter_computes_as_it_does_in_a_server(start_plugin: StartPlugin) -> None:
    worker = await start_plugin("adapters.showcase.arrays:ArrayTools", path=(str(ROOT),))
    values = numpy.arange(1_000_000, dtype="float64")
    described_ = await call(worker, "describe_array", values=values)
    assert (described_["shape"], described_["maximum"]) == ([1_000_000], 999_999.0)
    means = await call(worker, "moving_average", values=values, window=3)
    assert numpy.array_equal(means, numpy.lib.stride_tricks.sliding_window_view(values, 3).mean(axis=1))


# -- the start -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "text", "cause", "says"),
    [
        ("no_such_module:A", "", "MODULE_NOT_FOUND", "no module 'no_such_module'"),
        ("/no/such/file.py:A", "", "MODULE_NOT_FOUND", "no file '/no/such/file.py'"),
        ("not a name:A", "", "MODULE_NOT_FOUND", "write package.module:Class"),
        ("{file}:A", "class B: pass", "CLASS_NOT_FOUND", "it has B"),
        ("{file}:A", "A = 1", "NOT_AN_ADAPTER", "is no class, but int"),
        ("{file}:A", "raise OSError('no gpu')", "IMPORT_FAILED", "OSError: no gpu"),
        ("{file}:A", "import sys; sys.exit(3)", "IMPORT_FAILED", "SystemExit: 3"),
        ("{file}:A", "class A:\n def", "IMPORT_FAILED", "SyntaxError"),
        ("{file}:A", "from bridge import Watch", "IMPORT_FAILED", "not there in plugins"),
        ("{file}:A", "import bridge.server", "IMPORT_FAILED", "no other module of the bridge"),
        ("{file}:A", "from bridge import Adapter\nclass A(Adapter): pass", "NO_TOOLS", "mark methods with @tool"),
    ],
)
async def test_what_cannot_be_imported_says_why_and_at_once(
    tmp_path: Path, adapter: str, text: str, cause: str, says: str
) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(text)
    nursery = Nursery(recipe(adapter.format(file=file)))
    async with asyncio.timeout(10):
        error = await refusal(nursery.start())
        await nursery.aclose()
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "WORKER_START_FAILED")
    assert error.details.metadata["cause"] == cause
    assert says in error.message


async def test_what_fails_in_the_worker_says_why(start_plugin: StartPlugin) -> None:
    error = await refusal(start_plugin(f"{PLUGINS / 'objects.py'}:Whisper", config={"model": "missing"}))
    assert error.reason == "INITIALIZE_FAILED"


async def test_modules_are_found_in_the_folders_of_the_manifest(start_plugin: StartPlugin, tmp_path: Path) -> None:
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text("")
    (tmp_path / "my_package" / "adapters.py").write_text("class A:\n def one(self): return 1\n")
    worker = await start_plugin("my_package.adapters:A", path=(str(tmp_path),))
    assert await call(worker, "one") == 1


# -- large values --------------------------------------------------------------------------------------------------


async def test_large_values_go_beside_the_messages(start_plugin: StartPlugin) -> None:
    settings = frames.Settings(max_message_bytes=100_000)  # so they cannot go in them
    worker = await start_plugin(PROCESSES, settings=settings)
    data = bytes(range(256)) * 4000
    assert await call(worker, "echo", value=data) == data
    assert await call(worker, "echo", value={"a": [data, 1]}) == {"a": [data, 1]}
    assert await call(worker, "measure", data=data) == ["memoryview", len(data), True, b"\0\1\2\3"]
    assert len(await call(worker, "bytes_of", size=1_000_000)) == 1_000_000
    streaming = begin(worker, "chunks", size=300_000, count=20)
    await streaming.end()
    assert [(len(value), value[0]) for value in streaming.values] == [(300_000, number) for number in range(20)]
    error = await refusal(call(worker, "bytes_of", size=200_000))
    assert error.reason == "MESSAGE_TOO_LARGE"


async def test_more_than_may_be_shared_is_refused(start_plugin: StartPlugin) -> None:
    worker = await start_plugin(PROCESSES, settings=frames.Settings(max_shared_bytes=1_000_000))
    assert len(await call(worker, "bytes_of", size=1_000_000)) == 1_000_000
    assert (await refusal(call(worker, "bytes_of", size=1_000_001))).reason == "MESSAGE_TOO_LARGE"
    inline = await start_plugin(PROCESSES, settings=frames.Settings(max_shared_bytes=0))
    assert len(await call(inline, "bytes_of", size=1_000_001)) == 1_000_001


async def test_an_array_is_a_view_where_numpy_is_there(start_plugin: StartPlugin) -> None:
    worker = await start_plugin(PROCESSES)
    array = numpy.arange(100_000, dtype="float64")
    assert numpy.array_equal(await call(worker, "echo", value=array), array)


# -- the host ------------------------------------------------------------------------------------------------------


async def test_variables_of_a_session_are_there(start_plugin: StartPlugin, tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text(
        "from bridge import Adapter, SessionContext, tool\n"
        "class A(Adapter):\n"
        "    @tool\n"
        "    def plain(self, ctx: SessionContext) -> int:\n"
        "        return ctx.sync.update('n', lambda n: n + 1, default=0)\n"
        "    @tool\n"
        "    async def later(self, ctx: SessionContext) -> int:\n"
        "        return await ctx.update('n', lambda n: n + 1, default=0)\n"
    )
    worker = await start_plugin(f"{tmp_path / 'asks.py'}:A")
    host = InMemoryHost()
    session = (await host.open_session(CallScope())).session_id
    for number in range(1, 20, 2):
        assert await call(worker, "plain", host, session) == number
        assert await call(worker, "later", host, session) == number + 1
    variable = (await host.get_variables(CallScope(session), ["n"]))["n"]
    assert (variable.value, variable.changed_by) == (20, "tool:later")
    await host.aclose()


# -- the end -------------------------------------------------------------------------------------------------------


async def test_a_tool_that_does_not_look_is_killed_and_answers_pings_before(start_plugin: StartPlugin) -> None:
    worker = await start_plugin(PROCESSES, grace=0.1)
    calling = begin(worker, "spin")
    await calling.note()
    assert await worker.ping(5.0)
    calling.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling.end()
    assert worker.exited.done()


async def test_a_worker_that_is_told_to_end_lets_go_of_what_it_has(start_plugin: StartPlugin) -> None:
    worker = await start_plugin(f"{PLUGINS / 'objects.py'}:Whisper", config={})
    await worker.shut_down()
    assert (await worker.exited).code == 0
    assert "cleaned up" in worker._output.tail()


@pytest.mark.parametrize("tool", [None, "sleep", "sleep_later", "spin"])
async def test_sigterm_ends_a_worker_soon_whatever_it_does(start_plugin: StartPlugin, tool: str | None) -> None:
    worker = await start_plugin(PROCESSES)
    calling = None if tool is None else begin(worker, tool)
    if calling is not None:
        await calling.note()
    os.kill(worker.pid, signal.SIGTERM)
    async with asyncio.timeout(5):
        exit_ = await asyncio.shield(worker.exited)
    assert exit_.code == 128 + signal.SIGTERM
    if calling is not None:
        with pytest.raises(BridgeError) as caught:
            await calling.end()
        assert caught.value.reason == ("SHUTDOWN" if tool == "sleep_later" else "WORKER_DIED")


async def test_sigterm_lets_an_idle_worker_end_in_order(start_plugin: StartPlugin) -> None:
    worker = await start_plugin(f"{PLUGINS / 'objects.py'}:Whisper", config={})
    await call(worker, "execute")
    os.kill(worker.pid, signal.SIGTERM)
    async with asyncio.timeout(5):
        await asyncio.shield(worker.exited)
        await until(lambda: worker._burial is not None and worker._burial.done())
    assert "cleaned up" in worker._output.tail()


async def test_a_worker_without_a_server_is_gone_with_all_that_it_has_started(start_plugin: StartPlugin) -> None:
    worker = await start_plugin(PROCESSES)
    calling = begin(worker, "spawn")
    child = int(await calling.note())
    worker._connection.close()
    async with asyncio.timeout(5):
        exit_ = await asyncio.shield(worker.exited)
        await until(lambda: not Path(f"/proc/{child}").exists() or _is_dead(child))
    assert exit_.signal == signal.SIGKILL
    with pytest.raises(BridgeError):
        await calling.end()


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_children_of_tools_have_nothing_of_the_pipe(start_plugin: StartPlugin) -> None:
    worker = await start_plugin(PROCESSES)
    assert await call(worker, "sockets_of_a_child") == []
    assert await call(worker, "fork") == [True]
    assert await call(worker, "terminate_a_fork") == signal.SIGTERM
    assert await call(worker, "add", a=1) == 2


async def test_what_is_printed_and_how_a_worker_dies_is_told(start_plugin: StartPlugin) -> None:
    worker = await start_plugin(PROCESSES)
    await call(worker, "prints", text="seen by nobody")
    error = await refusal(call(worker, "exits", code=3))
    assert (error.reason, error.details.metadata["exit_code"]) == ("WORKER_DIED", "3")


async def test_two_hundred_calls_leave_nothing_behind(start_plugin: StartPlugin) -> None:
    worker = await start_plugin(PROCESSES, settings=frames.Settings(max_message_bytes=100_000))
    too_large = [bytes(300_000), "x" * 100_000]
    folder = Path(f"/proc/{worker.pid}")

    def counts() -> tuple[int, int]:
        return len([*(folder / "fd").iterdir()]), len([*(folder / "task").iterdir()])

    async def some() -> None:
        for number in range(20):
            assert await call(worker, "add", a=number) == number + 1
            assert await call(worker, "add_later", a=number) == number + 1
            assert len(await call(worker, "bytes_of", size=300_000)) == 300_000
            await begin(worker, "chunks", size=300_000, count=3).end()
            assert (await refusal(call(worker, "echo", value=too_large))).reason == "MESSAGE_TOO_LARGE"

    await some()
    before = counts()
    for _ in range(3):
        await some()
    assert counts() == before
