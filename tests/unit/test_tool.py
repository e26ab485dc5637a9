"""What a signature says about a tool."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pydantic
import pytest

from bridge import Adapter, BridgeError, Code, SessionContext, tool
from bridge.adapter import inspect_adapter
from bridge.tool import Tool


def the_tool(cls: type[Adapter]) -> Tool:
    (only,) = inspect_adapter(cls).tools.values()
    return only


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Model(pydantic.BaseModel):
    size: int


class Everything(Adapter):
    @tool
    async def search(
        self,
        text: str,
        limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10,
        *,
        colour: Colour = Colour.RED,
        order: Literal["up", "down"] = "up",
        point: Point | None = None,
        when: datetime.datetime | None = None,
        context: SessionContext,
    ) -> list[str]:
        """Searches.

        It really does.

        Args:
            text: what to look for.
            limit (int): most hits.
        """
        return [text] * limit


def test_parameters_are_described_by_the_signature_and_the_docstring() -> None:
    search = the_tool(Everything)
    assert search.description == "Searches.\n\nIt really does."
    assert [p.name for p in search.parameters] == ["text", "limit", "colour", "order", "point", "when"]
    text, limit = search.parameters[:2]
    assert (text.required, text.description, text.type) == (True, "what to look for.", "str")
    assert (limit.required, limit.description, limit.default) == (False, "most hits.", 10)
    assert limit.schema == {"type": "integer", "minimum": 1, "maximum": 100, "description": "most hits.", "default": 10}


def test_the_input_schema_is_one_closed_object() -> None:
    schema = the_tool(Everything).input_schema
    assert schema["required"] == ["text"]
    assert schema["additionalProperties"] is False
    assert {"$ref": "#/$defs/Point"} in schema["properties"]["point"]["anyOf"]
    assert schema["$defs"]["Point"]["required"] == ["x"]


def test_the_context_parameter_is_not_for_callers() -> None:
    search = the_tool(Everything)
    assert search.context_parameter == "context"
    assert "context" not in search.input_schema["properties"]


def test_arguments_are_converted_to_the_annotated_types() -> None:
    bound = the_tool(Everything).bind({"text": "a", "colour": "red", "point": {"x": 1}, "when": "2024-02-29T12:00:00Z"})
    assert bound == {
        "text": "a",
        "colour": Colour.RED,
        "point": Point(1),
        "when": datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        "limit": 10,
        "order": "up",
    }


def test_every_violation_is_reported_with_its_path_and_without_the_value() -> None:
    arguments = {"limit": 1000, "order": "s3cret", "point": {"x": "s3cret"}, "lmit": 3}
    with pytest.raises(BridgeError) as caught:
        the_tool(Everything).bind(arguments)
    assert caught.value.code is Code.INVALID_ARGUMENT
    found = {v.field: v.description for v in caught.value.violations}
    assert found == {
        "$.lmit": "is not a parameter; did you mean limit?",
        "$.text": "is required",
        "$.limit": "expected int <= 100",
        "$.order": "expected one of the values in the schema",
        "$.point.x": "expected int, got str",
    }
    assert "s3cret" not in str(caught.value) + repr(found)


@pytest.mark.parametrize(
    ("given", "wrong"), [(2.0, "float"), (True, "bool"), ("2", "str"), (None, "null"), ([], "array")]
)
def test_only_an_integer_is_an_integer(given: Any, wrong: str) -> None:
    with pytest.raises(BridgeError) as caught:
        the_tool(Everything).bind({"text": "a", "limit": given})
    (violation,) = caught.value.violations
    assert violation.field == "$.limit"
    assert "expected int" in violation.description
    assert wrong in violation.description


def test_arrays_models_and_plain_values_bind() -> None:
    class Arrays(Adapter):
        @tool
        def f(self, a: np.ndarray, m: Model, x: Any, n: float = 0) -> Any: ...

    bound = the_tool(Arrays).bind({"a": [1, 2], "m": {"size": 3}, "x": {1: b"2"}, "n": 7})
    assert bound["a"].tolist() == [1, 2]
    assert (bound["m"], bound["x"], bound["n"]) == (Model(size=3), {1: b"2"}, 7.0)
    with pytest.raises(BridgeError) as caught:
        the_tool(Arrays).bind({"a": "no", "m": {"size": "s3cret"}, "x": 0})
    assert {v.field for v in caught.value.violations} == {"$.a", "$.m"}
    assert "s3cret" not in str(caught.value)


def test_the_kind_of_function_decides_where_a_tool_runs_and_whether_it_streams() -> None:
    class Kinds(Adapter):
        @tool
        def plain(self) -> int: ...

        @tool
        async def awaiting(self) -> int: ...

        @tool()
        def yielding(self) -> Iterator[int]:
            yield 1

        @tool(isolation="inline")
        def quick(self) -> int: ...

        @tool
        async def awaiting_and_yielding(self) -> AsyncIterator[int]:
            yield 1

    tools = inspect_adapter(Kinds).tools
    assert {name: (t.isolation, t.streaming) for name, t in tools.items()} == {
        "plain": ("thread", False),
        "awaiting": ("inline", False),
        "yielding": ("thread", True),
        "quick": ("inline", False),
        "awaiting_and_yielding": ("inline", True),
    }
    assert tools["yielding"].output_schema["type"] == "integer"


def bad_star() -> type[Adapter]:
    class A(Adapter):
        @tool
        def f(self, *args: int) -> None: ...

    return A


def bad_positional() -> type[Adapter]:
    class A(Adapter):
        @tool
        def f(self, x: int, /) -> None: ...

    return A


def bad_annotation() -> type[Adapter]:
    class A(Adapter):
        @tool
        def f(self, x: NoSuchType) -> None: ...  # noqa: F821

    return A


def bad_type() -> type[Adapter]:
    class A(Adapter):
        @tool
        def f(self, x: Iterator[int] | dict[str, set[Any]] | list[Any]) -> None: ...

    return A


def bad_name() -> type[Adapter]:
    class A(Adapter):
        @tool(name="two words")
        def f(self) -> None: ...

    return A


def bad_isolation() -> type[Adapter]:
    class A(Adapter):
        @tool(isolation="moon")
        def f(self) -> None: ...

    return A


def bad_async_thread() -> type[Adapter]:
    class A(Adapter):
        @tool(isolation="thread")
        async def f(self) -> None: ...

    return A


def bad_collect() -> type[Adapter]:
    class A(Adapter):
        @tool(collect=True)
        async def f(self) -> None: ...

    return A


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (bad_star, "named parameters"),
        (bad_positional, "by name"),
        (bad_annotation, "NoSuchType"),
        (bad_type, "the type of x cannot be carried"),
        (bad_name, "two words"),
        (bad_isolation, "moon"),
        (bad_async_thread, "plain def"),
        (bad_collect, "yield"),
    ],
)
def test_a_bad_signature_says_what_to_change(make: Any, says: str) -> None:
    with pytest.raises(BridgeError, match=says) as caught:
        inspect_adapter(make())
    assert caught.value.reason == "BAD_SIGNATURE"
    assert "A.f" in caught.value.message


def test_two_tools_of_one_name_in_an_adapter_are_refused() -> None:
    class Twice(Adapter):
        @tool
        def first(self) -> None: ...

        @tool(name="first")
        def second(self) -> None: ...

    with pytest.raises(BridgeError) as caught:
        inspect_adapter(Twice)
    assert caught.value.reason == "DUPLICATE_TOOL"


def test_a_class_without_tools_or_base_is_refused() -> None:
    with pytest.raises(BridgeError) as caught:
        inspect_adapter(type("Empty", (Adapter,), {}))
    assert caught.value.reason == "NO_TOOLS"
    with pytest.raises(BridgeError) as caught:
        inspect_adapter(int)
    assert caught.value.reason == "NOT_AN_ADAPTER"


def test_declared_reads_are_distinct_names() -> None:
    class Declaring(Adapter):
        @tool(reads=("a", "b/c", "a"))
        async def read(self, ctx: SessionContext) -> None: ...

    class Undeclared(Adapter):
        @tool
        async def read(self, ctx: SessionContext) -> None: ...

    assert the_tool(Declaring).reads == ("a", "b/c")
    assert the_tool(Undeclared).reads == ()


@pytest.mark.parametrize(
    ("reads", "why"),
    [
        ("temperature", "a list of names"),
        (["no name"], "reads has 'no name'"),
        (["", "a"], "reads has ''"),
        ([5], "reads has 5"),
        ([f"v{number}" for number in range(1001)], "1000 can be read at once"),
        (5, "a list of names"),
    ],
    ids=["text", "space", "empty", "number", "too many", "no list"],
)
def test_reads_that_are_no_names_are_refused_when_the_adapter_is_loaded(reads: Any, why: str) -> None:
    class Declaring(Adapter):
        @tool(reads=reads)
        async def read(self, ctx: SessionContext) -> None: ...

    with pytest.raises(BridgeError, match=why) as caught:
        inspect_adapter(Declaring)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "BAD_SIGNATURE")


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "2"])
def test_a_limit_that_is_no_number_of_calls_is_refused_when_the_adapter_is_loaded(most: Any) -> None:
    class Limited(Adapter):
        @tool(max_concurrency=most)
        async def narrow(self) -> None: ...

    with pytest.raises(BridgeError, match="max_concurrency is a number of calls from 1 on") as caught:
        inspect_adapter(Limited)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "BAD_SIGNATURE")
