from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge import Adapter, testing, tool
from bridge.adapter import inspect_adapter
from bridge.errors import BridgeError, Code
from bridge.loader import load_adapters
from bridge.registry import Registry
from bridge.stock import is_stock, stock_adapter
from bridge_client import BridgeClient
from tests.snakepit import stock_adapters
from tests.support.waiting import until

BIG = 2**70


@pytest.fixture(params=["", "thread"], ids=["process", "thread"])
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Journal:
    """What adapters have written down."""

    def __init__(self, file: Path) -> None:
        file.touch()
        self._file = file

    def text(self) -> str:
        return self._file.read_text()

    def lines(self) -> list[str]:
        return self.text().splitlines()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    file = tmp_path / "journal"
    monkeypatch.setenv(stock_adapters.JOURNAL, str(file))
    return Journal(file)


@pytest.fixture
async def plain(isolation: str, journal: Journal) -> AsyncIterator[BridgeClient]:
    async with asyncio.timeout(20), serving(stock_adapters.Plain, isolation) as client:
        yield client


def serving(cls: type, isolation: str = "", **settings: Any) -> Any:
    return testing.connect(stock_adapter(cls), isolation=isolation, **settings)


async def refused(client: BridgeClient, name: str, **arguments: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await client.call(name, **arguments)
    return caught.value


# -- what is one


def test_classes_are_known_by_what_they_have() -> None:
    class Neither:
        def call(self) -> None: ...

    class Ours(Adapter):
        @tool
        def execute_tool(self) -> None: ...

    assert is_stock(stock_adapters.Plain)
    assert is_stock(stock_adapters.Readme)
    assert not is_stock(Neither)
    assert not is_stock(Ours)
    assert not is_stock(stock_adapters.Plain())
    assert not is_stock("execute_tool")


@pytest.mark.parametrize("form", ["module.Class", "module:Class", "file.py:Class"])
def test_every_way_to_write_a_class_finds_it(form: str) -> None:
    specs = {
        "module.Class": "tests.snakepit.stock_adapters.Plain",
        "module:Class": "tests.snakepit.stock_adapters:Plain",
        "file.py:Class": f"{stock_adapters.__file__}:Plain",
    }
    (cls,) = load_adapters(specs[form])
    assert issubclass(cls, Adapter)
    assert cls.__name__ == "Plain"


def test_a_class_of_another_kind_is_still_refused() -> None:
    with pytest.raises(BridgeError) as caught:
        load_adapters("pathlib.Path")
    assert caught.value.reason == "NOT_AN_ADAPTER"


@pytest.mark.parametrize("spec", ["leaves_at_import.Adapter", "leaves_at_import:Adapter", "leaves_at_import"])
def test_a_module_that_exits_does_not_end_who_imports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    (tmp_path / "leaves_at_import.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BridgeError, match="SystemExit") as caught:
        load_adapters(spec)
    assert caught.value.reason == "IMPORT_FAILED"


def test_a_module_that_is_not_there_is_still_told() -> None:
    with pytest.raises(BridgeError) as caught:
        load_adapters("tests.snakepit.nothing_here")
    assert caught.value.reason == "MODULE_NOT_FOUND"


# -- what is listed


def test_declared_tools_are_listed_as_they_are_written() -> None:
    listed = {tool.name: tool for tool in Registry([stock_adapter(stock_adapters.Readme)]).tools}
    assert sorted(listed) == ["count", "search", "slow"]
    search = listed["search"]
    assert search.description == "Search for items"
    assert [(p.name, p.type, p.required) for p in search.parameters] == [
        ("query", "str", True),
        ("limit", "int", False),
    ]
    assert search.parameters[1].default == 10
    assert search.input_schema["required"] == ["query"]
    assert search.input_schema["properties"]["limit"] == {"type": "integer", "default": 10}
    assert not search.input_schema["additionalProperties"]
    assert (search.streaming, listed["count"].streaming) == (False, True)
    assert listed["count"].options.metadata == {"required_variables": "a,b"}
    assert listed["slow"].description == "Is awaited."
    assert listed["slow"].input_schema["additionalProperties"]


def test_only_execute_tool_takes_tools_that_nobody_has() -> None:
    assert inspect_adapter(stock_adapter(stock_adapters.Plain)).fallback is not None
    assert inspect_adapter(stock_adapter(stock_adapters.Readme)).fallback is None


def test_the_same_class_is_wrapped_once() -> None:
    assert stock_adapter(stock_adapters.Plain) is stock_adapter(stock_adapters.Plain)


def test_a_parameter_that_no_schema_can_describe_is_listed_all_the_same() -> None:
    class Odd:
        def execute_tool(self, **_: Any) -> None: ...

    def odd(self: Any, queue: asyncio.Queue[int], when: NoSuchType = ..., *rest: Any) -> None: ...  # type: ignore[name-defined] # noqa: F821

    odd._tool_metadata = object()  # type: ignore[attr-defined]
    Odd.odd = odd  # type: ignore[attr-defined]
    described = inspect_adapter(stock_adapter(Odd)).tools["odd"]
    assert [(p.name, p.required, p.schema) for p in described.parameters] == [("queue", True, {}), ("when", False, {})]


# -- what results are


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("add", {"a": 1, "b": BIG}, BIG + 1),
        ("nothing", {}, None),
        ("pair", {}, [1, "b"]),
        ("raw", {}, b"\x00\xff"),
        ("odd", {}, {"it": {"__ffi_unserializable__": True, "__type__": "builtins.object"}}),
        ("echo", {"value": {"a": [1.0, None, True]}}, {"a": [1.0, None, True]}),
        ("echo", {"value": float("inf")}, "Infinity"),
        ("listed", {}, [1, 2, 3]),
    ],
)
async def test_results_are_exact(plain: BridgeClient, name: str, arguments: dict[str, Any], result: Any) -> None:
    value = await plain.call(name, **arguments)
    assert value == result
    assert type(value) is type(result)


async def test_an_undeclared_tool_gets_its_own_name(plain: BridgeClient, journal: Journal) -> None:
    await plain.call("nothing")
    assert "execute nothing" in journal.text()


async def test_an_exception_keeps_its_class_and_text(plain: BridgeClient) -> None:
    error = await refused(plain, "fail")
    assert (error.code, error.reason, error.message) == (Code.UNKNOWN, "KeyError", "KeyError: 'gone'")
    assert (await refused(plain, "no_such")).reason == "NotImplementedError"


async def test_a_tool_that_exits_takes_nothing_with_it(plain: BridgeClient) -> None:
    assert (await refused(plain, "exit")).reason == "SystemExit"
    assert await plain.call("add", a=1, b=1) == 2


async def test_a_coroutine_that_exits_takes_nothing_with_it(plain: BridgeClient) -> None:
    assert (await refused(plain, "leave")).reason == "SystemExit"
    assert (await plain.call("coroutine"))["on_loop"] is True


async def test_a_missing_argument_is_a_type_error_of_the_tool(plain: BridgeClient) -> None:
    assert (await refused(plain, "add", a=1)).reason == "TypeError"


# -- the life of an instance


async def test_each_call_has_an_instance_that_is_prepared_and_cleaned_up_once(
    plain: BridgeClient, journal: Journal
) -> None:
    for name in ("nothing", "nothing"):
        await plain.call(name)
    life = ["init", "context", "initialize", "execute nothing", "cleanup"]
    assert journal.lines() == life * 2


@pytest.mark.parametrize("name", ["fail", "exit", "no_such"])
async def test_cleanup_runs_once_after_an_error(plain: BridgeClient, journal: Journal, name: str) -> None:
    await refused(plain, name)
    assert journal.text().count("cleanup") == 1


async def test_cleanup_runs_once_after_a_stream_and_not_before(plain: BridgeClient, journal: Journal) -> None:
    assert [value async for value in plain.stream("count", n=2)] == [0, 1]
    assert journal.lines()[-2:] == ["counted", "cleanup"]


async def test_a_stream_that_nobody_reads_on_is_closed_and_cleaned_up(plain: BridgeClient, journal: Journal) -> None:
    stream = plain.stream("endless")
    assert await anext(stream) == 0
    await stream.aclose()
    await until(lambda: journal.lines()[-2:] == ["closed", "cleanup"])


async def test_an_iterator_that_nobody_reads_on_lets_go_of_what_it_holds(plain: BridgeClient, journal: Journal) -> None:
    stream = plain.stream("values")
    assert await anext(stream) == 1
    await stream.aclose()
    await until(lambda: journal.lines()[-2:] == ["let go", "cleanup"])


async def test_a_coroutine_that_plain_code_waits_for_is_cancelled_with_the_call(
    plain: BridgeClient, journal: Journal
) -> None:
    call = asyncio.ensure_future(plain.call("wait"))
    await until(lambda: "waiting" in journal.text())
    call.cancel()
    await asyncio.wait((call,))
    await until(lambda: journal.lines()[-1] == "cleanup")


async def test_a_stream_called_for_one_result_is_refused_and_cleaned_up(plain: BridgeClient, journal: Journal) -> None:
    error = await refused(plain, "count", n=1)
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "STREAMING_TOOL")
    assert "counted" not in journal.text()
    assert journal.text().count("cleanup") == 1


async def test_a_class_that_cannot_be_made_is_not_cleaned_up(
    isolation: str, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(20), serving(stock_adapters.Broken, isolation) as client:
        error = await refused(client, "any")
    assert (error.reason, error.message) == ("RuntimeError", "RuntimeError: no model")
    assert journal.text() == ""
    assert "cleanup of" not in caplog.text


# -- streams


@pytest.mark.parametrize(
    ("name", "arguments", "chunks"),
    [
        ("count", {"n": 3}, [0, 1, 2]),
        ("count", {"n": 0}, []),
        ("chunks", {}, [{"n": 1}, b"\x01\x02", "end"]),
        ("agen", {}, [0, 1, 2]),
        ("listed", {}, [1, 2, 3]),
        ("pair", {}, [1, "b"]),
        ("add", {"a": 1, "b": 1}, [2]),
        ("raw", {}, [b"\x00\xff"]),
        ("echo", {"value": {"a": 1}}, [{"a": 1}]),
        ("echo", {"value": "text"}, ["text"]),
    ],
)
async def test_streams_carry_what_was_yielded(
    plain: BridgeClient, name: str, arguments: dict[str, Any], chunks: list[Any]
) -> None:
    assert [value async for value in plain.stream(name, **arguments)] == chunks


async def test_a_stream_that_breaks_gives_its_values_and_then_the_error(plain: BridgeClient) -> None:
    seen = []
    with pytest.raises(BridgeError) as caught:
        async for value in plain.stream("breaks"):
            seen.append(value)
    assert (seen, caught.value.reason) == ([1], "ValueError")


# -- where it runs


async def test_plain_code_runs_in_the_main_thread_of_a_worker_process() -> None:
    async with asyncio.timeout(20), serving(stock_adapters.Plain) as client:
        place = await client.call("where")
    assert place["pid"] != os.getpid()
    assert (place["main_thread"], place["on_loop"]) == (True, False)


async def test_plain_code_never_runs_on_an_event_loop_here() -> None:
    async with asyncio.timeout(20), serving(stock_adapters.Plain, "thread") as client:
        place = await client.call("where")
    assert place == {"pid": os.getpid(), "main_thread": False, "on_loop": False}


async def test_what_plain_code_returns_to_be_awaited_is_awaited_on_an_event_loop(plain: BridgeClient) -> None:
    assert (await plain.call("coroutine"))["on_loop"] is True


async def test_coroutines_around_plain_code_are_awaited(isolation: str, journal: Journal) -> None:
    async with asyncio.timeout(20), serving(stock_adapters.Mixed, isolation) as client:
        place = await client.call("anything")
    assert (place["initialized"], place["on_loop"]) == (True, False)
    assert journal.text() == "cleanup\n"


# -- coroutines


@pytest.fixture
async def asynchronous(isolation: str, journal: Journal) -> AsyncIterator[BridgeClient]:
    async with asyncio.timeout(20), serving(stock_adapters.Asynchronous, isolation) as client:
        yield client


async def test_coroutines_run_on_an_event_loop(asynchronous: BridgeClient, journal: Journal, isolation: str) -> None:
    place = await asynchronous.call("where")
    assert place["on_loop"] is True
    assert (place["pid"] == os.getpid()) is (isolation == "thread")
    assert journal.lines() == ["initialize", "cleanup"]


async def test_the_event_loop_of_coroutines_is_the_same_in_all_calls(asynchronous: BridgeClient) -> None:
    for _ in range(3):
        assert await asynchronous.call("same_loop")


async def test_what_a_coroutine_leaves_behind_goes_on(asynchronous: BridgeClient, journal: Journal) -> None:
    await asynchronous.call("later")
    await until(lambda: "later" in journal.text())


async def test_an_asynchronous_adapter_that_exits_takes_nothing_with_it(asynchronous: BridgeClient) -> None:
    assert (await refused(asynchronous, "leave")).reason == "SystemExit"
    assert (await asynchronous.call("where"))["on_loop"] is True


async def test_coroutines_can_stream_either_way(asynchronous: BridgeClient, journal: Journal) -> None:
    assert [value async for value in asynchronous.stream("stream", n=3)] == [0, 1, 2]
    assert [value async for value in asynchronous.stream("plain_stream")] == [0, 1, 2]
    assert journal.text().count("cleanup") == 2


async def test_what_a_coroutine_streams_is_let_go_of(asynchronous: BridgeClient, journal: Journal) -> None:
    stream = asynchronous.stream("values")
    assert await anext(stream) == 1
    await stream.aclose()
    await until(lambda: journal.lines()[-2:] == ["let go", "cleanup"])


async def test_a_coroutine_is_cancelled_and_cleaned_up_when_nobody_waits(
    asynchronous: BridgeClient, journal: Journal
) -> None:
    call = asyncio.ensure_future(asynchronous.call("wait"))
    await until(lambda: "waiting" in journal.text())
    call.cancel()
    await asyncio.wait((call,))
    await until(lambda: journal.lines() == ["initialize", "waiting", "cleanup"])
    assert (await refused(asynchronous, "no_such")).reason == "ValueError"


# -- marked methods only


async def test_marked_methods_are_tools_without_execute_tool(isolation: str) -> None:
    async with asyncio.timeout(20), serving(stock_adapters.Readme, isolation) as client:
        async with client.session() as session:
            found = await session.call("search", query="q")
            assert found == {"query": "q", "limit": 10, "session": session.session_id}
        assert await client.call("slow", a=1) == {"a": 1}
        assert [value async for value in client.stream("count", n=2)] == [0, 1]
        assert (await refused(client, "count", n=1)).reason == "STREAMING_TOOL"
        assert (await refused(client, "execute_tool")).reason == "TOOL_NOT_FOUND"
