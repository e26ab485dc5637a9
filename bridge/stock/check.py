"""What ``bridge snakepit check`` says of a stock adapter: its tools, and what will be different.

Differences are named where something of the adapter shows that they concern it, and not otherwise. What its code does
when it runs nobody can tell from its source: this is advice, and no proof.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from bridge.adapter import WRAPS, inspect_adapter
from bridge.stock.classes import METADATA, declared_tools, executes, is_async
from bridge.stock.source import Source, read_source

__all__ = ["Listed", "Note", "Report", "check"]

_ARGUMENTS: dict[str, Any] = {"tool_name": "", "arguments": {}, "context": None}


class Listed(msgspec.Struct, frozen=True):
    """A tool."""

    name: str
    parameters: str
    """For people."""
    streams: bool
    description: str
    declared: bool
    """By a decorator; else it is only known to ``execute_tool``."""


class Note(msgspec.Struct, frozen=True):
    """Something to know."""

    status: str
    """``ok``: it works here, though perhaps not there; ``differs``; ``problem``: it cannot work."""
    topic: str
    text: str


class Report(msgspec.Struct, frozen=True):
    """What was found."""

    adapter: str
    stock: bool
    """It was written for Snakepit's own server; else it is one of ours."""
    open_ended: bool
    """It decides by itself which tools there are, so there may be more."""
    tools: tuple[Listed, ...]
    notes: tuple[Note, ...]

    @property
    def works(self) -> bool:
        """Whether nothing is in the way of serving it."""
        return all(note.status != "problem" for note in self.notes)


def check(adapter: type) -> Report:
    """Looks at an adapter.

    Args:
        adapter: as ``bridge.loader.load_adapters`` gives it.
    """
    info = inspect_adapter(adapter)
    cls: type | None = getattr(adapter, WRAPS, None)
    source = None if cls is None else read_source(cls)
    tools = [
        Listed(tool.name, _parameters(tool.parameters), tool.streaming, tool.description.partition("\n")[0], True)
        for _, tool in sorted(info.tools.items())
    ]
    if source is not None:
        tools += [Listed(name, "", False, "", False) for name in source.names if name not in info.tools]
    notes = () if cls is None else tuple(_notes(cls, source))
    return Report(info.name, cls is not None, info.fallback is not None, tuple(tools), notes)


def _parameters(parameters: tuple[Any, ...]) -> str:
    return ", ".join(one.name if one.required else f"[{one.name}]" for one in parameters)


def _notes(cls: type, source: Source | None) -> Iterator[Note]:
    yield from _of_class(cls)
    if source is None:
        yield Note("differs", "source", "its source cannot be read, so only its class was looked at")
        return
    yield from _of_results(source)
    yield from _of_streams(cls, source)
    if source.state:
        text = (
            f"{', '.join(source.state)}: what functions keep at the top of modules is kept in the worker process, and "
            "begins anew if a tool crashes that"
        )
        yield Note("differs", "state", text)
    for applies, note in _USES:
        if applies(source):
            yield note


def _of_class(cls: type) -> Iterator[Note]:
    if problem := _cannot_be_made(cls):
        yield Note("problem", "constructor", problem)
    if not executes(cls):
        yield Note("ok", "execute_tool", "it has none: marked methods are called by their names, which works here only")
    elif problem := _cannot_be_executed(cls):
        yield Note("problem", "execute_tool", problem)
    elif is_async(cls.execute_tool):  # type: ignore[attr-defined]
        text = (
            "it is a coroutine: it runs in a worker process, on an event loop of its own that is not in the main thread"
        )
        yield Note("differs", "execute_tool", text)
    else:
        text = (
            "it is a plain function: it runs in the main thread of a worker process, so it may block, hold the "
            "interpreter, or crash, and the server goes on; one call runs at a time"
        )
        yield Note("differs", "execute_tool", text)
    if callable(getattr(cls, "register_with_session", None)):
        text = (
            "register_with_session is not called: it would cost a request to Elixir in every session, and its workers' "
            "ids mean nothing there; pools call tools by name without it"
        )
        yield Note("differs", "registration", text)
    if getattr(cls, "__thread_safe__", False):
        yield Note("differs", "threads", "__thread_safe__ is not needed: a worker process has one call at a time")


def _cannot_be_made(cls: type) -> str:
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        return f"an instance is made for each call, without arguments, and that fails: {error}"
    except ValueError:  # nobody knows its signature
        pass
    return ""


def _cannot_be_executed(cls: type) -> str:
    try:
        inspect.signature(cls.execute_tool).bind(None, **_ARGUMENTS)  # type: ignore[attr-defined]
    except TypeError as error:
        return f"it is called with tool_name=, arguments= and context=, and that fails: {error}"
    except ValueError:
        pass
    return ""


_RESULTS = (
    ({"None", "NoneType"}, 'None arrives as nil; Snakepit made it the text "None"'),
    ({"int"}, "integers arrive as integers of any size; Snakepit made them floats"),
    ({"tuple", "Tuple", "set", "Set", "frozenset"}, "tuples and sets arrive as lists; Snakepit made them text"),
    ({"bytes", "bytearray", "memoryview"}, "bytes arrive as {:binary, bytes}; Snakepit made them text"),
    ({"ndarray", "NDArray"}, "arrays arrive as lists; Snakepit made them text"),
    (
        {"Series", "DataFrame"},
        'what to_dict gives arrives; keys that are no text are a TypeError, so return to_dict("records") or tolist()',
    ),
    ({"datetime", "date", "time"}, "dates and times arrive in ISO 8601; Snakepit left a space in the middle"),
    ({"Decimal", "UUID", "Path"}, "decimals, UUIDs and paths arrive as text, also inside of lists and objects"),
)


def _of_results(source: Source) -> Iterator[Note]:
    for kinds, text in _RESULTS:
        of = [name for name, method in source.methods.items() if method.returns & kinds and _is_for_callers(name)]
        if of:
            yield Note("differs", "results", f"{_some(of)}: {text}")


def _is_for_callers(name: str) -> bool:
    hooks = {"initialize", "cleanup", "set_session_context", "register_with_session", "register_with_session_async"}
    return not (name.startswith("__") or name in hooks)


def _of_streams(cls: type, source: Source) -> Iterator[Note]:
    quiet = [
        name
        for name, method in declared_tools(cls).items()
        if (written := source.methods.get(name)) is not None
        and written.yields
        and not getattr(getattr(method, METADATA), "supports_streaming", False)
    ]
    if quiet:
        text = (
            f"{_some(quiet)}: they yield, and supports_streaming is not set: called for one result they are refused "
            "(FAILED_PRECONDITION); Snakepit answered by a map with an error in it"
        )
        yield Note("differs", "streams", text)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


_VARIABLES = frozenset({"register_variable", "get_variable", "update_variable", "list_variables", "get_variables"})

_USES: tuple[tuple[Callable[[Source], object], Note], ...] = (
    (
        lambda source: "call_elixir_tool" in source.calls,
        Note("ok", "Elixir tools", "call_elixir_tool takes arguments of every kind, text, lists and maps, too"),
    ),
    (
        lambda source: source.calls & _VARIABLES,
        Note(
            "ok",
            "variables",
            "session variables are there again: run `bridge host --snakepit` and give its address by --host",
        ),
    ),
    (
        lambda source: "stub" in source.attributes,
        Note(
            "differs",
            "stub",
            "context.stub connects when it is first used, and needs Snakepit's generated modules on PYTHONPATH",
        ),
    ),
    (
        lambda source: "print" in source.calls,
        Note("differs", "output", "what it prints goes into the log, line by line with the tool, at level info"),
    ),
    (
        lambda source: "pickle" in source.imports or "binary_format" in source.attributes,
        Note("differs", "pickle", "binary parameters are bytes: binary_format pickle is refused, whoever sends it"),
    ),
)
