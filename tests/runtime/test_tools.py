"""What a tool's signature says in a plugin is what it says in a server."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import pytest

import bridge
from bridge import runtime
from bridge.adapter import inspect_adapter
from bridge.errors import BridgeError
from bridge.runtime.adapters import AdapterPlugin
from bridge.runtime.calls import pack_tools
from bridge.runtime.convert import Types
from bridge.runtime.errors import BridgeError as RuntimeBridgeError
from bridge.runtime.signatures import inspect_tool
from bridge.runtime.tools import ToolOptions
from bridge.tool_specs import tool_specs
from bridge.v1.bridge_pb2 import ListToolsResponse
from tests.runtime.conftest import spec_facts, twin
from tests.runtime.plugins import described

Described = described.Described
RuntimeDescribed = twin(described).Described


def test_callers_see_the_same_of_a_tool_wherever_it_is() -> None:
    ours = AdapterPlugin(RuntimeDescribed, "x")
    theirs = tool_specs(inspect_adapter(Described).tools.values())
    listed = ListToolsResponse.FromString(pack_tools([tool.spec for tool in ours.tools.values()]))
    expected = {spec.name: spec_facts(spec) for spec in theirs}
    assert {spec.name: spec_facts(spec) for spec in listed.tools} == expected
    assert {spec.name: spec.isolation for spec in listed.tools}["other.name"] == "call"
    assert ours.tools["reads"].reads == ("a", "b")


ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"name": "a"},
    {"name": "a", "count": 0},
    {"name": 1, "count": "2", "point": {"x": "1"}, "kind": "c", "flag": None, "data": 3},
    {"nam": "a", "counts": 1},
    {"name": "a", "point": {"x": 1, "y": 2}, "data": b"x", "anything": [1]},
    {"self": 1, "name": "a"},
    {f"p{number}": number for number in range(8)},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_arguments_are_bound_and_refused_as_in_a_server(arguments: dict[str, Any]) -> None:
    theirs = inspect_adapter(Described).tools["other.name"]
    ours = AdapterPlugin(RuntimeDescribed, "x").tools["other.name"]
    assert _bound(ours, arguments) == _bound(theirs, arguments)


def _bound(tool: Any, arguments: dict[str, Any]) -> Any:
    """What a tool gets; or what its caller is told."""
    try:
        return repr(sorted(tool.bind(arguments).items()))  # the classes are twins
    except (BridgeError, RuntimeBridgeError) as error:
        violations = [(one.field, one.description) for one in error.violations]
        return int(error.code), error.reason, error.message, violations


def test_arguments_that_are_nested_without_end_are_refused() -> None:
    class Nested(runtime.Adapter):
        @runtime.tool
        def takes(self, value: Tree) -> None: ...

    tree: dict[str, Any] = {"value": 1}
    for _ in range(100_000):
        tree = {"value": 1, "children": [tree]}
    with pytest.raises(RuntimeBridgeError) as caught:
        AdapterPlugin(Nested, "x").tools["takes"].bind({"value": tree})
    assert caught.value.violations == (("$.value", "is nested too deeply"),)


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree] = dataclasses.field(default_factory=list)


def _no_self() -> None: ...


def _args(self: Any, *args: int) -> None: ...


def _kwargs(self: Any, **kwargs: int) -> None: ...


def _only_by_place(self: Any, a: int, /) -> None: ...


def _callback(self: Any, function: Callable[[], int]) -> None: ...


def _unknown(self: Any, value: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def _twice(self: Any, a: runtime.SessionContext, b: runtime.SessionContext) -> None: ...


def _fine(self: Any, a: int) -> None: ...


async def _async(self: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        (_no_self, {}, "first parameter is self"),
        (_args, {}, "take a list or a dict"),
        (_kwargs, {}, "take a list or a dict"),
        (_only_by_place, {}, "arguments come by name"),
        (_callback, {}, "the type of function cannot be carried"),
        (_unknown, {}, "annotations cannot be read (NameError"),
        (_twice, {}, "takes the SessionContext twice"),
        (_fine, {"name": "no spaces"}, "a tool's name is 1 to 128"),
        (_fine, {"name": "$initialize"}, "a tool's name is 1 to 128"),
        (_fine, {"isolation": "moon"}, "isolation='moon' is not known"),
        (_async, {"isolation": "thread"}, "make it a plain def"),
        (_fine, {"timeout": 0}, "timeout must be more than 0"),
        (_fine, {"timeout": float("nan")}, "timeout must be more than 0"),
        (_fine, {"max_concurrency": 0}, "max_concurrency is a number of calls from 1 on"),
        (_fine, {"max_concurrency": True}, "max_concurrency is a number of calls from 1 on"),
        (_fine, {"collect": True}, "collect=True is for tools that yield"),
        (_fine, {"reads": "name"}, "reads is a list of names"),
        (_fine, {"reads": ["a b"]}, "reads has a name that is none"),
        (_fine, {"reads": [f"n{number}" for number in range(1001)]}, "1000 can be read at once"),
    ],
)
def test_a_signature_that_cannot_work_says_what_to_change(function: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(RuntimeBridgeError) as caught:
        inspect_tool(function, ToolOptions(**options), "Owner", Types())
    assert caught.value.reason == "BAD_SIGNATURE"
    assert caught.value.message.startswith(f"Owner.{function.__name__} cannot be a tool: ")
    assert says in caught.value.message


def test_an_adapter_without_tools_or_with_two_of_one_name_is_refused() -> None:
    class Empty(runtime.Adapter):
        pass

    class Twice(runtime.Adapter):
        @runtime.tool
        def a(self) -> None: ...

        @runtime.tool(name="a")
        def b(self) -> None: ...

    for cls, reason in ((Empty, "NO_TOOLS"), (Twice, "DUPLICATE_TOOL")):
        with pytest.raises(RuntimeBridgeError) as caught:
            AdapterPlugin(cls, "x")
        assert caught.value.reason == reason


def test_a_parameter_that_takes_a_view_gets_large_values_without_a_copy() -> None:
    class Views(runtime.Adapter):
        @runtime.tool
        def takes(self, a: memoryview, b: memoryview | None, c: bytes, d: memoryview | bytes, e: Any) -> None: ...

    assert AdapterPlugin(Views, "x").tools["takes"].views == {"a", "b"}


def test_the_runtime_has_the_names_of_the_bridge_and_says_which_it_has_not() -> None:
    there = {name for name in bridge.__all__ if name != "__version__"}
    assert there - set(runtime.__all__) == {"Update", "UpdateKind", "Watch"}
    for name in runtime.__all__:
        assert getattr(runtime, name).__name__ == name
    for name in ("Update", "UpdateKind", "Watch"):
        with pytest.raises(ImportError, match="not there in plugins"):
            getattr(importlib.import_module("bridge.runtime"), name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        runtime.nonsense  # type: ignore[attr-defined]  # noqa: B018
