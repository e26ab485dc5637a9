"""Adapters as users of Snakepit write them. They know nothing of the bridge."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any

from tests.snakepit.stock_tools import StreamChunk, tool

JOURNAL = "STOCK_JOURNAL"
"""Variable with the file in which they write down what happens to them."""


def note(text: str) -> None:
    path = os.environ.get(JOURNAL)
    if path:
        with open(path, "a") as file:  # noqa: PTH123 - as users write it
            file.write(f"{text}\n")


def where() -> dict[str, Any]:
    try:
        asyncio.get_running_loop()
        on_loop = True
    except RuntimeError:
        on_loop = False
    return {
        "pid": os.getpid(),
        "main_thread": threading.current_thread() is threading.main_thread(),
        "on_loop": on_loop,
    }


class Values:
    """An iterator that is no generator, and holds something."""

    def __iter__(self) -> Values:
        return self

    def __next__(self) -> int:
        return 1

    def close(self) -> None:
        note("let go")


class Plain:
    """Decides by itself what its tools are; only one of them is declared."""

    def __init__(self) -> None:
        note("init")
        self.session_context: Any = None
        self.initialized = False

    def set_session_context(self, session_context: Any) -> None:
        note("context")
        self.session_context = session_context

    def initialize(self) -> None:
        note("initialize")
        self.initialized = True

    def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
        note(f"execute {tool_name}")
        assert context is self.session_context
        assert self.initialized
        handler = getattr(self, f"do_{tool_name}", None)
        if handler is None:
            raise NotImplementedError(f"Unknown tool: {tool_name}")
        return handler(context, **arguments)

    def cleanup(self) -> None:
        note("cleanup")

    @tool(description="Echoes its arguments")
    def echo(self, value: Any, times: int = 1) -> Any:
        """Never called by itself.

        Args:
            value: what comes back.
        """

    def do_echo(self, context: Any, value: Any, times: int = 1) -> Any:
        return value if times == 1 else [value] * times

    def do_where(self, context: Any) -> dict[str, Any]:
        return where()

    def do_add(self, context: Any, a: int, b: int) -> int:
        return a + b

    def do_nothing(self, context: Any) -> None:
        return None

    def do_pair(self, context: Any) -> tuple[int, str]:
        return (1, "b")

    def do_raw(self, context: Any) -> bytes:
        return b"\x00\xff"

    def do_odd(self, context: Any) -> dict[str, Any]:
        return {"it": object()}

    def do_fail(self, context: Any) -> None:
        raise KeyError("gone")

    def do_exit(self, context: Any) -> None:
        raise SystemExit(3)

    def do_metadata(self, context: Any) -> dict[str, str]:
        return dict(context.request_metadata)

    def do_count(self, context: Any, n: int) -> Any:
        yield from range(n)
        note("counted")

    def do_chunks(self, context: Any) -> Any:
        yield StreamChunk({"n": 1}, metadata={"step": 1})
        yield StreamChunk(b"\x01\x02")
        yield StreamChunk("end", is_final=True)

    def do_endless(self, context: Any) -> Any:
        try:
            n = 0
            while True:
                yield n
                n += 1
        finally:
            note("closed")

    def do_listed(self, context: Any) -> list[int]:
        return [1, 2, 3]

    def do_breaks(self, context: Any) -> Any:
        yield 1
        raise ValueError("broken")

    async def do_coroutine(self, context: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return where()

    async def do_agen(self, context: Any) -> Any:
        for i in range(3):
            await asyncio.sleep(0)
            yield i

    def do_values(self, context: Any) -> Any:
        return Values()

    async def do_leave(self, context: Any) -> None:
        await asyncio.sleep(0)
        sys.exit(3)

    async def do_wait(self, context: Any) -> None:
        note("waiting")
        await asyncio.Event().wait()

    def do_correlation(self, context: Any) -> Any:
        yield sys.modules["snakepit_bridge.otel_tracing"].get_correlation_id()  # type: ignore[attr-defined]

    def do_elixir(self, context: Any, name: str, arguments: dict[str, Any]) -> Any:
        return context.call_elixir_tool(name, **arguments)

    def do_tools(self, context: Any) -> Any:
        return sorted(context.elixir_tools)

    def do_proxy(self, context: Any, name: str, arguments: dict[str, Any]) -> Any:
        spec = context.elixir_tools[name]
        return {"name": spec["name"], "result": spec(**arguments), "keys": sorted(spec)}


class Asynchronous:
    """Coroutines everywhere, and yet it asks Elixir by calls that block."""

    state: list[Any] = []  # noqa: RUF012 - what all calls share
    """Something that belongs to the event loop of the first call."""

    def set_session_context(self, session_context: Any) -> None:
        self.session_context = session_context

    async def initialize(self) -> None:
        note("initialize")
        await asyncio.sleep(0)
        self.loop = asyncio.get_running_loop()

    async def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
        assert self.loop is asyncio.get_running_loop()
        if tool_name == "where":
            return where()
        if tool_name == "leave":
            sys.exit(3)
        if tool_name == "same_loop":
            self.state.append(self.loop)
            return all(loop is self.loop for loop in self.state)
        if tool_name == "elixir":
            return context.call_elixir_tool(**arguments)
        if tool_name == "stream":
            return self.stream(**arguments)
        if tool_name == "plain_stream":
            return (i for i in range(3))
        if tool_name == "values":
            return Values()
        if tool_name == "wait":
            note("waiting")
            await asyncio.Event().wait()
        if tool_name == "later":
            asyncio.get_running_loop().create_task(self.later()).add_done_callback(self.state.append)
            return None
        raise ValueError(f"unknown {tool_name}")

    async def later(self) -> None:
        await asyncio.sleep(0)
        note("later")

    async def stream(self, n: int) -> Any:
        for i in range(n):
            await asyncio.sleep(0)
            yield StreamChunk(i, is_final=i == n - 1)

    async def cleanup(self) -> None:
        await asyncio.sleep(0)
        note("cleanup")


class Mixed:
    """Snakepit's template: coroutines around a plain ``execute_tool``."""

    def __init__(self) -> None:
        self.session_context: Any = None
        self.initialized = False

    def set_session_context(self, session_context: Any) -> None:
        self.session_context = session_context

    async def initialize(self) -> None:
        self.initialized = True

    async def cleanup(self) -> None:
        note("cleanup")

    def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
        return {"initialized": self.initialized, **where()}


class Readme:
    """As the examples of its documentation: nothing but marked methods."""

    def set_session_context(self, session_context: Any) -> None:
        self.session_context = session_context

    @tool(description="Search for items")
    def search(self, query: str, limit: int = 10) -> dict[str, Any]:
        return {"query": query, "limit": limit, "session": self.session_context.session_id}

    @tool(description="Counts", supports_streaming=True, required_variables=["a", "b"])
    def count(self, n: int) -> Any:
        yield from range(n)

    @tool()
    async def slow(self, **anything: Any) -> dict[str, Any]:
        """Is awaited."""
        await asyncio.sleep(0)
        return anything


class Broken:
    """Cannot even be made."""

    def __init__(self) -> None:
        raise RuntimeError("no model")

    def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
        return None

    def cleanup(self) -> None:
        note("cleanup")


class Variables:
    """Uses session variables as v0.4.2 had them."""

    def set_session_context(self, session_context: Any) -> None:
        self.session_context = session_context

    def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
        return getattr(self, tool_name)(context)

    def basics(self, ctx: Any) -> dict[str, Any]:
        identifier = ctx.register_variable("temperature", "float", 0.5, {"min": 0.0, "max": 1.0}, {"unit": "C"})
        before = ctx.get_variable(identifier)
        ctx.update_variable("temperature", 0.75)
        ctx["note"] = "hi"
        ctx.v.flag = True
        proxy = ctx.variable("temperature")
        proxy.value = 1.0
        listed = {variable["name"]: variable for variable in ctx.list_variables("t*")}
        found = ctx.get_variables(["temperature", "note"])
        ctx.delete_variable("note")
        return {
            "identifier": identifier,
            "before": before,
            "after": proxy.value,
            "flag": ctx.v.flag,
            "found": found,
            "listed": listed,
            "there": ["temperature" in ctx, "note" in ctx, "missing" in ctx],
        }

    def refusals(self, ctx: Any) -> list[str]:
        ctx.register_variable("level", "integer", 1, {"min": 0, "max": 3})
        attempts = [
            lambda: ctx.get_variable("missing"),
            lambda: ctx["missing"],
            lambda: ctx.update_variable("missing", 1),
            lambda: ctx.get_variables(["level", "missing"]),
            lambda: ctx.update_variable("level", 9),
            lambda: ctx.register_variable("x", "float", 1.0, {"most": 3}),
            lambda: ctx.register_variable("x", "nonsense", 1.0),
        ]
        kinds = []
        for attempt in attempts:
            try:
                attempt()
                kinds.append("nothing")
            except Exception as error:  # noqa: BLE001 - its class is what is of interest
                kinds.append(",".join(cls.__name__ for cls in type(error).__mro__[:2]))
        return kinds

    def batches(self, ctx: Any) -> dict[str, Any]:
        ctx.register_variable("a", "integer", 1, {"max": 5})
        ctx.register_variable("b", "map", {"x": [1]})
        with ctx.batch_updates() as batch:
            batch["a"] = 2
            batch["b"] = {"x": [2]}
        atomic = ctx.update_variables({"a": 99, "b": {}}, atomic=True)
        after_atomic = ctx.get_variables(["a", "b"])
        loose = ctx.update_variables({"a": 99, "b": {}})
        return {
            "atomic": sorted(atomic),
            "after_atomic": after_atomic,
            "loose": [loose["b"], isinstance(loose["a"], str)],
            "after": ctx.get_variables(["a", "b"]),
        }
