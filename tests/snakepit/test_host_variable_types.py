"""Types, values and constraints of variables of Snakepit v0.4.2, row by row, as a program of its time sends them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.snakepit.host_stub import SessionStub, get, host_stub, packed, register, status, value_of, write

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def session() -> AsyncIterator[SessionStub]:
    async with host_stub() as stub:
        await stub.InitializeSession(session_id="s")
        yield SessionStub(stub, "s")


# -- types -----------------------------------------------------------------------------------------------------------

ACCEPTED: list[tuple[str, Any, Any]] = [
    ("float", 1.5, 1.5),
    ("float", 2, 2.0),
    ("float", "NaN", "NaN"),
    ("float", "Infinity", "Infinity"),
    ("float", "-Infinity", "-Infinity"),
    ("integer", 5, 5),
    ("integer", 10**30, 10**30),
    ("integer", 5.0, 5),
    ("string", "x", "x"),
    ("boolean", True, True),
    ("boolean", "true", True),
    ("boolean", "false", False),
    ("boolean", 1, True),
    ("boolean", 0, False),
    ("choice", "anything", "anything"),
    ("module", "MyApp.Worker", "MyApp.Worker"),
    ("embedding", [1, 2.5], [1.0, 2.5]),
    (
        "tensor",
        {"shape": [2, 2], "data": [[1.5, 2.0], [3.0, 4.0]]},
        {"shape": [2, 2], "data": [[1.5, 2.0], [3.0, 4.0]]},
    ),
    ("tensor", {"shape": [2, 1], "data": [1, 2]}, {"shape": [2, 1], "data": [[1], [2]]}),
    ("tensor", {"shape": [2], "data": ["NaN", 1.5]}, {"shape": [2], "data": ["NaN", 1.5]}),
    ("tensor", {"shape": [2], "data": [True, False]}, {"shape": [2], "data": [True, False]}),
    ("tensor", {"shape": [], "data": [1.5]}, {"shape": [], "data": 1.5}),
    ("tensor", {"shape": [0], "data": []}, {"shape": [0], "data": []}),
    ("map", {"a": [1, None]}, {"a": [1, None]}),
    ("list", [1, "a", {}], [1, "a", {}]),
]


@pytest.mark.parametrize(("type_", "value", "kept"), ACCEPTED)
async def test_value_of_every_type_is_kept(session: SessionStub, type_: str, value: Any, kept: Any) -> None:
    assert await register(session, "x", type_, value) == "var_x"
    variable = await get(session, "x")
    assert (variable.type, value_of(variable)) == (type_, kept)
    assert type(value_of(variable)) is type(kept)
    assert not variable.binary_value
    assert (await write(session, "x", value, type_)).new_version == 2
    assert value_of(await get(session, "x")) == kept


REFUSED: list[tuple[str, Any]] = [
    ("float", "1.5"),
    ("float", True),
    ("float", None),
    ("integer", 5.5),
    ("integer", "5"),
    ("integer", True),
    ("string", 5),
    ("boolean", 2),
    ("boolean", "yes"),
    ("choice", 1),
    ("module", None),
    ("embedding", "no"),
    ("embedding", [1.0, "a"]),
    ("embedding", [True]),
    ("embedding", ["NaN"]),
    ("tensor", [1, 2]),
    ("tensor", {"shape": [2]}),
    ("tensor", {"shape": [2], "data": [1], "more": 1}),
    ("tensor", {"shape": [2], "data": [1]}),
    ("tensor", {"shape": [-1], "data": [1]}),
    ("tensor", {"shape": [1.0], "data": [1]}),
    ("tensor", {"shape": [1] * 33, "data": [1]}),
    ("tensor", {"shape": [0, 2**62], "data": []}),
    ("tensor", {"shape": [1], "data": ["a"]}),
    ("tensor", {"shape": [2], "data": [True, 1]}),
    ("tensor", {"shape": [1], "data": [2**70]}),
    ("tensor", {"shape": "no", "data": "no"}),
    ("map", [1]),
    ("list", {"a": 1}),
    ("complex", 1),
    ("", 1),
]


@pytest.mark.parametrize(("type_", "value"), REFUSED)
async def test_value_of_another_type_is_an_invalid_argument(session: SessionStub, type_: str, value: Any) -> None:
    call = session.RegisterVariable(name="x", type=type_, initial_value=packed(value, type_))
    assert (await status(call))[0] == "INVALID_ARGUMENT"
    assert (await status(get(session, "x"))) == ("NOT_FOUND", "Variable not found: x")


async def test_tensor_of_the_wrong_size_is_told_both_sizes(session: SessionStub) -> None:
    value = packed({"shape": [2, 3], "data": [[1, 2], [3, 4]]}, "tensor")
    _, text = await status(session.RegisterVariable(name="x", type="tensor", initial_value=value))
    assert text == "x: the shape needs 6 elements, and data has 4"


@pytest.mark.parametrize("content", [b"", b"oops", b"NaN", b'{"a":', b"[" * 100_000])
async def test_value_that_is_no_json_is_an_invalid_argument(session: SessionStub, content: bytes) -> None:
    value = {"type_url": "type.googleapis.com/snakepit.float", "value": content}
    assert (await status(session.RegisterVariable(name="x", type="float", initial_value=value)))[
        0
    ] == "INVALID_ARGUMENT"
    await register(session, "y", "map", {})
    assert (await status(session.SetVariable(variable_identifier="y", value=value)))[0] == "INVALID_ARGUMENT"


async def test_binary_value_is_never_decoded(session: SessionStub) -> None:
    header = {"type_url": "type.googleapis.com/snakepit.tensor.binary", "value": b'{"binary_format":"pickle"}'}
    calls = [
        session.RegisterVariable(name="t", type="tensor", initial_value=header, initial_binary_value=b"\x80\x05."),
        session.RegisterVariable(name="t", type="tensor", initial_value=header),
        session.RegisterVariable(name="t", type="float", initial_value=packed(1.5), initial_binary_value=b"\x83h"),
    ]
    await register(session, "e", "embedding", [1.0])
    calls += [
        session.SetVariable(variable_identifier="e", value=header, binary_value=b"\x83h"),
        session.SetVariables(updates={"e": header}, binary_updates={"e": b"\x83h"}),
    ]
    for call in calls:
        code, text = await status(call)
        assert code == "INVALID_ARGUMENT"
        assert "send" in text
        assert "JSON" in text
    assert (await get(session, "e")).version == 1


# -- constraints -----------------------------------------------------------------------------------------------------

CONSTRAINTS: list[tuple[str, dict[str, Any], Any, Any]] = [
    ("float", {"min": 0.0, "max": 1.5}, 1.0, 2.0),
    ("float", {"max": 10}, 10, "Infinity"),
    ("float", {"min": 0}, 0, "NaN"),
    ("integer", {"min": 0, "max": 10}, 10, 11),
    ("string", {"min_length": 2}, "ab", "a"),
    ("string", {"max_length": 2}, "ab", "abc"),
    ("string", {"pattern": "b+"}, "abbc", "ac"),
    ("string", {"pattern": "^a.c$"}, "abc", "xabc"),
    ("string", {"pattern": "^(?:a)|(?:b)$"}, "xxb", "xxc"),
    ("string", {"enum": ["a", "b"]}, "a", "c"),
    ("choice", {"choices": ["a", "b"]}, "a", "c"),
    ("module", {"allowed_modules": ["A.B"]}, "A.B", "C"),
    ("embedding", {"dimensions": 2}, [1.0, 2.0], [1.0]),
    ("tensor", {"shape": [1, 2]}, {"shape": [1, 2], "data": [[1, 2]]}, {"shape": [2], "data": [1, 2]}),
]


@pytest.mark.parametrize(("type_", "constraints", "good", "bad"), CONSTRAINTS)
async def test_constraint_holds_and_is_told(
    session: SessionStub, type_: str, constraints: dict[str, Any], good: Any, bad: Any
) -> None:
    text = json.dumps(constraints)
    await register(session, "x", type_, good, constraints_json=text)
    variable = await get(session, "x")
    assert json.loads(variable.constraints_json) == constraints
    assert variable.type == type_
    assert (await status(write(session, "x", bad, type_)))[0] == "INVALID_ARGUMENT"
    wrong = session.RegisterVariable(name="y", type=type_, initial_value=packed(bad, type_), constraints_json=text)
    assert (await status(wrong))[0] == "INVALID_ARGUMENT"
    assert (await get(session, "x")).version == 1


NOT_CONSTRAINTS: list[tuple[str, str]] = [
    ("float", "oops"),
    ("float", "[1]"),
    ("float", '{"minimum": 1}'),
    ("float", '{"min_length": 1}'),
    ("float", '{"min": "a"}'),
    ("float", '{"min": 2, "max": 1}'),
    ("integer", '{"choices": ["a"]}'),
    ("boolean", '{"min": 1}'),
    ("string", '{"pattern": "("}'),
    ("string", '{"pattern": 5}'),
    ("string", '{"enum": "a"}'),
    ("string", '{"enum": [1]}'),
    ("map", '{"min": 1}'),
    ("tensor", '{"shape": 2}'),
    ("embedding", '{"dimensions": -1}'),
    ("float", "[" * 100_000),
]


@pytest.mark.parametrize(("type_", "text"), NOT_CONSTRAINTS)
async def test_constraint_that_nobody_could_obey_is_refused(session: SessionStub, type_: str, text: str) -> None:
    good = {"float": 1.5, "integer": 1, "boolean": True, "map": {}, "embedding": [1.0], "string": "a"}
    value = packed(good.get(type_, {"shape": [1], "data": [1]}), type_)
    call = session.RegisterVariable(name="x", type=type_, initial_value=value, constraints_json=text)
    assert (await status(call))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("text", ["", "{}", '{"min": null}'])
async def test_constraints_that_say_nothing_are_none(session: SessionStub, text: str) -> None:
    await register(session, "x", "float", 1.5, constraints_json=text)
    assert (await get(session, "x")).constraints_json == "{}"
