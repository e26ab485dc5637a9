"""Values between Elixir and a tool: each row of what stock Snakepit loses, and what arrives instead."""

from __future__ import annotations

import asyncio
import json
import pickle
from typing import Any

import grpc
import pytest

from tests.snakepit.elixir_bytes import STRING_VALUE, execute_request, recorded, text
from tests.snakepit.elixir_client import ElixirClient, serving_worker
from tests.snakepit.elixir_reading import Raised, read_answer
from tests.snakepit.wire_adapters import Wire

PREFIX = "type.googleapis.com/"


def exact(value: Any) -> Any:
    """Shows the difference between 5 and 5.0, too."""
    return value if isinstance(value, (bytes, tuple)) else json.dumps(value)


# -- from Elixir -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, "NoneType None"),
        (True, "bool True"),
        (5, "int 5"),
        (5.0, "float 5.0"),
        (2**53 + 1, "int 9007199254740993"),
        ("5", "str '5'"),
        ("NaN", "str 'NaN'"),
        ([1, 2.0], "list [1, 2.0]"),
        ({"a": None}, "dict {'a': None}"),
    ],
)
async def test_parameter_is_the_type_that_elixir_sent(elixir: ElixirClient, value: Any, seen: str) -> None:
    assert await elixir.value("kind", {"value": value}) == seen


@pytest.mark.parametrize(
    ("url", "document", "seen"),
    [
        (STRING_VALUE, '"x"', "str 'x'"),
        (STRING_VALUE, "\n\x05hello", "str 'hello'"),  # as Snakepit's own Python client packs text
        (STRING_VALUE, "\n\x03[1]", "str '[1]'"),
        (STRING_VALUE, "", "str ''"),
        (PREFIX + "google.protobuf.Value", "7", "int 7"),
        (PREFIX + "snakepit.integer", "7", "int 7"),
        (PREFIX + "snakepit.float", '"NaN"', "float nan"),
        (PREFIX + "snakepit.float", '"-Infinity"', "float -inf"),
        (PREFIX + "snakepit.map", '{"a":1}', "dict {'a': 1}"),
        ("type.snakepit.bridge/json", "[1]", "list [1]"),
        ("", "null", "NoneType None"),
    ],
)
async def test_parameter_is_json_or_packed_text_whatever_its_url_says(
    elixir: ElixirClient, url: str, document: str, seen: str
) -> None:
    assert await elixir.value("kind", {}, packed={"value": text(1, url) + text(2, document)}) == seen


async def test_binary_parameter_is_bytes(elixir: ElixirClient) -> None:
    assert await elixir.value("kind", {}, binary={"value": b"\x00\xff"}) == r"bytes b'\x00\xff'"
    assert await elixir.value("kind", {}, binary={"value": b""}) == "bytes b''"
    raw = await elixir.value("kind", {}, binary={"value": b"\x01"}, metadata={"binary_format:value": "raw"})
    assert raw == r"bytes b'\x01'"


@pytest.mark.parametrize(
    ("options", "description"),
    [
        ({"packed": {"value": text(1, STRING_VALUE) + text(2, "hello")}}, "JSON"),
        ({"packed": {"value": text(1, STRING_VALUE) + text(2, "NaN")}}, "JSON"),
        ({"packed": {"value": text(1, STRING_VALUE) + text(2, "[" * 5000)}}, "deep"),
        ({"packed": {"value": text(1, PREFIX + "snakepit.tensor.binary") + text(2, "{}")}}, "pickled"),
        ({"parameters": {"value": 1}, "binary": {"value": b"x"}}, "binary_parameters"),
        (
            {"binary": {"value": pickle.dumps([1])}, "metadata": {"binary_format:value": "pickle"}},
            "may run code",
        ),
    ],
    ids=["no JSON", "NaN", "too deep", "pickled tensor", "twice", "pickled"],
)
async def test_parameter_that_is_no_value_is_a_value_error_with_its_name(
    elixir: ElixirClient, options: dict[str, Any], description: str
) -> None:
    raised = await elixir.failure("echo", options.pop("parameters", {}), **options)
    assert isinstance(raised, Raised)
    assert (raised.struct, raised.context["code"]) == ("ValueError", "INVALID_ARGUMENT")
    (violation,) = raised.context["violations"]
    assert violation["field"].startswith("$.value")
    assert description in violation["description"]
    assert await elixir.value("echo", {"value": 1}) == 1


async def test_parameters_that_a_tool_does_not_take_are_all_named(elixir: ElixirClient) -> None:
    raised = await elixir.failure("repeat", {"text": 1, "count": 2})
    assert raised.struct == "ValueError"
    assert {each["field"] for each in raised.context["violations"]} == {"$.text", "$.times", "$.count"}


async def test_request_that_is_no_message_is_an_invalid_argument(elixir: ElixirClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await elixir.exchange("ExecuteTool", b"\x12\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# -- to Elixir ---------------------------------------------------------------------------------------------------

MARKER = {"__ffi_unserializable__": True}


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("none", None),
        ("true", True),
        ("five", 5),
        ("five point nought", 5.0),
        ("2**53+1", 9007199254740993),
        ("10**30", 10**30),
        ("nan", "NaN"),
        ("infinity", "Infinity"),
        ("-infinity", "-Infinity"),
        ("nan in a list", [1.0, "NaN"]),
        ("infinity in a map", {"x": "-Infinity"}),
        ("text", "é😀"),
        ("empty text", ""),
        ("bytes", ("binary", b"\x00\xff")),
        ("empty bytes", b""),
        ("tuple", [1, "b"]),
        ("set", [7]),
        ("map", {"a": [1, 2.5, None]}),
        ("datetime", "2024-01-02T03:04:05+00:00"),
        ("datetime in a map", {"at": "2024-01-02T03:04:05+00:00"}),
        ("decimal in a list", ["1.10"]),
        ("object in a map", {"it": {**MARKER, "__type__": "_thread.lock"}}),
        ("bytes in a list", [{**MARKER, "__type__": "builtins.bytes"}]),
        ("set in a map", {"s": [7]}),
        ("2**64-1 in a list", [2**64 - 1]),
        ("2**64 in a list", [2**64]),
        ("zero copy", ("zero_copy", {"__snakepit_zero_copy__": True, "kind": "arrow", "ref": "g2gD"})),
    ],
)
async def test_result_arrives_as_what_it_is(elixir: ElixirClient, name: str, seen: Any) -> None:
    assert exact(await elixir.value("result", {"name": name})) == exact(seen)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("none", "None"),
        ("true", True),
        ("five", 5.0),
        ("2**53+1", 9007199254740992.0),
        ("10**30", 1e30),
        ("nan", "NaN"),
        ("-infinity", "-Infinity"),
        ("nan in a list", [1.0, None]),
        ("bytes", "b'\\x00\\xff'"),
        ("tuple", "(1, 'b')"),
        ("set", "{7}"),
        ("map", {"a": [1, 2.5, None]}),
        ("datetime", "2024-01-02 03:04:05+00:00"),
        ("datetime in a map", {"at": "2024-01-02T03:04:05+00:00"}),
        ("object in a map", {"it": {**MARKER, "__type__": "_thread.lock"}}),
    ],
)
async def test_result_by_the_rules_of_stock_arrives_as_stock_sends_it(name: str, seen: Any) -> None:
    async with asyncio.timeout(10), serving_worker(Wire, snakepit_results="stock") as elixir:
        assert exact(await elixir.value("result", {"name": name})) == exact(seen)


@pytest.mark.parametrize(("name", "path"), [("keys that are numbers", "$[1]"), ("lone surrogate", "$")])
async def test_result_that_json_cannot_carry_is_the_tools_type_error(
    elixir: ElixirClient, name: str, path: str
) -> None:
    raised = await elixir.failure("result", {"name": name})
    assert (raised.struct, raised.context["reason"]) == ("TypeError", "UNSUPPORTED_RESULT")
    assert raised.context["violations"][0]["field"] == path


async def test_bytes_travel_beside_the_result_and_not_in_it(elixir: ElixirClient) -> None:
    request = execute_request("result", {"name": "bytes"})
    data = await elixir.exchange("ExecuteTool", request)
    assert recorded(["32 02 00 ff"]) in data
    assert read_answer(data) == ("ok", ("binary", b"\x00\xff"))


async def test_ten_mebibytes_go_there_and_back(elixir: ElixirClient) -> None:
    data = bytes(range(256)) * 40960
    assert await elixir.value("echo", {}, binary={"value": data}) == ("binary", data)
