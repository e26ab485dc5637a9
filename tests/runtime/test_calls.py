"""Calls, results and lists of tools as a plugin reads and writes them are what the server's side reads and writes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.call import NO_VALUE as FULL_NO_VALUE
from bridge.call import Chunk as FullChunk
from bridge.call import Progress as FullProgress
from bridge.codec import to_any as full_to_any
from bridge.errors import BridgeError as FullError
from bridge.runtime import calls
from bridge.runtime.calls import NO_VALUE, ParameterSpec, Progress, ToolSpec, pack_chunk, pack_result, pack_tools
from bridge.runtime.calls import read_request as read
from bridge.runtime.errors import BridgeError, Code
from bridge.runtime.host_tools import StreamReader, pack_request, read_chunk, read_result
from bridge.tool_messages import pack_call, read_call
from bridge.tool_messages import pack_chunk as full_pack_chunk
from bridge.tool_messages import pack_result as full_pack_result
from bridge.tool_messages import read_result as full_read_result
from bridge.tool_specs import read_tools
from bridge.v1.bridge_pb2 import ExecuteToolRequest, ListToolsResponse, ToolChunk
from tests.unit.codec_values import QUICK, same, text, values

names = st.text(st.characters(codec="utf-8"), max_size=5) | st.just("x" * 130)
metadata = st.dictionaries(names, names, max_size=3)
arguments = st.dictionaries(names, values | st.binary(max_size=200), max_size=4)
SEQUENCES = st.integers(0, 300) | st.sampled_from([2047, 2048, 16383, 16384, 2**31, 2**62])


def unordered(found: calls.Request) -> tuple[str, str, list[tuple[str, Any]], dict[str, str]]:
    """A request; the order of arguments is nobody's."""
    return found.tool, found.session_id, sorted(found.arguments.items(), key=lambda item: item[0]), found.metadata


def as_the_server_reads(data: bytes) -> tuple[str, str, list[tuple[str, Any]], dict[str, str]]:
    request, found = read_call(data)
    found_metadata = dict(request.metadata)
    return unordered(calls.Request(request.tool_name, request.session_id, found, found_metadata))


def agrees(data: bytes) -> None:
    """Both read the same call, or refuse it for the same reason and with the same path."""
    try:
        expected: Any = as_the_server_reads(data)
    except FullError as error:
        expected = error
    if isinstance(expected, FullError):
        with pytest.raises(BridgeError) as caught:
            read(data)
        found = caught.value
        assert (int(found.code), found.reason) == (int(expected.code), expected.reason)
        assert [one.field for one in found.violations] == [one.field for one in expected.violations]
        return
    assert same(list(map(list, unordered(read(data))[2])), list(map(list, expected[2])))
    assert unordered(read(data))[::3] == expected[::3]
    assert read(data).session_id == expected[1]


@QUICK
@given(text, arguments, text, metadata)
def test_a_call_is_read_as_it_was_made(tool: str, given_: dict[str, Any], session: str, notes: dict[str, str]) -> None:
    agrees(pack_call(tool, given_, session, notes))


@QUICK
@given(st.tuples(names, values | st.binary(max_size=200)).map(lambda item: dict([item])), st.data())
def test_damaged_calls_are_read_or_refused_as_by_the_server(given_: dict[str, Any], data: st.DataObject) -> None:
    raw = bytearray(pack_call("tool", given_, "session", {"k": "v"}))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    agrees(bytes(raw))
    agrees(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


def entry(tag: int, key: bytes, value: bytes) -> bytes:
    """An entry of a map."""
    content = b"\n" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    return bytes([tag, len(content)]) + content


def any_of(value: Any) -> bytes:
    type_url, content = full_to_any(value)
    return b"\n" + bytes([len(type_url)]) + type_url.encode() + b"\x12" + bytes([len(content)]) + content


@QUICK
@given(st.binary(max_size=60))
@example(b"")
@example(entry(26, b"a", any_of(1)) + entry(26, b"a", any_of(2)))
@example(entry(26, b"a", any_of(1)) + entry(50, b"a", b"x"))
@example(entry(50, b"a", b"x") + entry(26, b"a", any_of(1)))
@example(entry(50, b"a", b"x") + entry(50, b"a", b"y"))
@example(entry(34, b"a", b"x") + entry(34, b"a", b"y"))
@example(entry(34, b"a", b"\xff"))
@example(entry(34, b"\xff", b"a"))
@example(entry(26, b"\xff", any_of(1)))
@example(entry(26, b"a", b""))
@example(entry(26, b"a", b"\n\x00"))
@example(entry(26, b"a", b"\n\x03abc\x12\x00"))
@example(entry(26, b"a", b"\x12\x01x" + any_of(5)[: -len(full_to_any(5)[1]) - 2]))
@example(entry(26, b"a", any_of(5) + b"\x12\x02\x08\x06"))
@example(entry(26, b"a", any_of(5)[:-4] + b"\x1a\x02\x08\x06"))
@example(entry(26, b"a", b"\x12" + any_of(5)[1:]))
@example(entry(34, b"a", b"v").replace(b"\x12", b"\x1a"))
@example(entry(34, b"a", b"v").replace(b"\n", b"\x0b"))
@example(b"\x1a\x00")
@example(b"\x1a\x03\n\x01a")
@example(b"\x1a\x02\x12\x00")
@example(b"\x12\x01a\x12\x01b\n\x01c\n\x01d")
@example(b"\x12\x80\x00")
@example(b"\x12\x05ab")
@example(b"\x12\x01\xff")
@example(b"\x28\x01")
@example(b"\x12")
def test_any_bytes_are_read_or_refused_as_by_the_server(data: bytes) -> None:
    agrees(data)


@pytest.mark.parametrize("length", [126, 127, 128, 16383, 16384, 3_000_000])
def test_arguments_of_every_length_are_read(length: int) -> None:
    agrees(pack_call("t" * length, {"a": "x" * length, "b": b"y" * length, "c": [1] * (length // 2)}))


def test_a_long_name_that_looks_like_a_short_one_with_a_value_is_a_long_name() -> None:
    # Taken for a length of one byte, the first of its two would end the name where 18 and a fitting length follow.
    agrees(pack_call("tool", {}, "", {"x" * 129 + "\x12": "v" * 17}))


def test_the_short_way_reads_what_the_walk_reads() -> None:
    data = pack_call("tool", {"a": 1, "b": "x", "c": {"d": [1.5]}, "e": b"raw"}, "session", {"k": "v"})
    assert unordered(calls._read_usual(data)) == unordered(calls._read_by_tables(data, None))


def test_a_path_in_a_call_begins_with_its_argument() -> None:
    request = ExecuteToolRequest(tool_name="tool")
    request.parameters["a b"].type_url = "x/unknown"
    with pytest.raises(BridgeError) as caught:
        read(request.SerializeToString())
    assert caught.value.violations[0].field == "$.a b"


RESULTS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | text | st.binary(max_size=300)
    | st.floats(-1e4, 1e4).map(lambda number: round(number, 3))
    | st.dictionaries(text, st.integers() | st.binary(max_size=5), max_size=3) | st.lists(text | st.none(), max_size=4)
)  # fmt: skip


@QUICK
@given(RESULTS)
def test_a_result_has_the_bytes_of_the_server(value: Any) -> None:
    assert pack_result(value) == full_pack_result(value)
    assert same(read_result(full_pack_result(value)), full_read_result(pack_result(value)))


@QUICK
@given(values)
def test_every_result_is_read_by_the_server(value: Any) -> None:
    assert same(full_read_result(pack_result(value)), value)
    assert same(read_result(full_pack_result(value)), value)


def test_a_result_that_cannot_be_carried_is_refused_with_its_path() -> None:
    with pytest.raises(BridgeError) as caught:
        pack_result({"a": [object()]})
    assert caught.value.violations[0].field == "$.a[0]"
    error = calls.unsupported_result("tool", caught.value)
    assert (error.code, error.reason, error.details) == (Code.UNKNOWN, "UNSUPPORTED_RESULT", caught.value.details)


@QUICK
@given(RESULTS | st.just(NO_VALUE), st.none() | st.tuples(st.none() | st.floats(0, 1), text), SEQUENCES, st.booleans())
def test_a_chunk_is_what_the_server_writes(
    value: Any, note: tuple[float | None, str] | None, sequence: int, final: bool
) -> None:
    data = pack_chunk(value, sequence, None if note is None else Progress(*note), final=final)
    chunk = FullChunk(FULL_NO_VALUE if value is NO_VALUE else value, None if note is None else FullProgress(*note))
    expected = full_pack_chunk(chunk, sequence, final)
    # By hand the fields are not in the order of their numbers.
    assert ToolChunk.FromString(data) == ToolChunk.FromString(expected)
    assert len(data) == len(expected)
    back = read_chunk(expected)
    assert same(back.value, value) or (back.value is value is NO_VALUE)
    assert back.progress == (None if note is None else Progress(*note))


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        ([(0, False), (2, True)], "chunk 1 is missing"),
        ([(0, False), (0, True)], "chunk 1 is missing"),
        ([(0, False)], "without a final one"),
        ([(0, True), (1, True)], "follows the final"),
        ([], "without a final one"),
    ],
)
def test_a_stream_with_a_gap_or_without_an_end_is_damaged(chunks: list[tuple[int, bool]], says: str) -> None:
    reader = StreamReader()
    with pytest.raises(BridgeError, match=says) as caught:
        for sequence, final in chunks:
            reader.feed(full_pack_chunk(FullChunk(1), sequence, final))
        reader.end()
    assert (caught.value.code, caught.value.reason) == (Code.DATA_LOSS, "BAD_RESPONSE")


def test_a_stream_gives_its_values_and_notes() -> None:
    reader = StreamReader()
    sent = [FullChunk(1), FullChunk(progress=FullProgress(0.5, "half")), FullChunk(None)]
    found = [reader.feed(full_pack_chunk(chunk, number, False)) for number, chunk in enumerate(sent)]
    assert reader.feed(full_pack_chunk(FullChunk(), 3, True)) is None
    reader.end()
    assert [chunk and chunk.value for chunk in found] == [1, NO_VALUE, None]
    assert found[1] is not None
    assert found[1].progress == Progress(0.5, "half")


@pytest.mark.parametrize("data", [b"\xff", b"\x12\x05a"])
def test_an_answer_that_is_none_is_lost_data(data: bytes) -> None:
    for function in (read_result, read_chunk):
        with pytest.raises(BridgeError, match="damaged") as caught:
            function(data)
        assert (caught.value.code, caught.value.reason) == (Code.DATA_LOSS, "BAD_RESPONSE")


def test_an_answer_with_a_value_of_no_known_type_is_lost_data() -> None:
    with pytest.raises(BridgeError, match=r"\$: the type 'unknown'") as caught:
        read_result(b"\x12\x0b\n\x09x/unknown")
    assert caught.value.reason == "BAD_RESPONSE"


def test_an_answer_without_a_result_is_none() -> None:
    assert read_result(b"") is None


# Calls that a plugin makes


@QUICK
@given(text, arguments, text, metadata)
def test_a_call_that_a_plugin_makes_is_read_by_the_server(
    tool: str, given_: dict[str, Any], session: str, notes: dict[str, str]
) -> None:
    request, found = read_call(pack_request(tool, given_, session, notes))
    assert (request.tool_name, request.session_id, dict(request.metadata)) == (tool, session, notes)
    assert found.keys() == given_.keys()
    assert all(same(found[name], given_[name]) for name in given_)


@pytest.mark.parametrize(
    ("tool", "given_", "session", "notes", "field"),
    [
        (None, {}, "", None, "tool"),
        ("t", {}, 5, None, "tool"),
        ("\ud800", {}, "", None, "tool"),
        ("t", {1: 2}, "", None, "$"),
        ("t", {"a": [object()]}, "", None, "$.a[0]"),
        ("t", {}, "", {"k": 1}, "metadata"),
        ("t", {}, "", {1: "v"}, "metadata"),
        ("t", {}, "", {"k": "\ud800"}, "metadata"),
    ],
)
def test_a_call_that_cannot_be_made_is_refused(tool: Any, given_: Any, session: Any, notes: Any, field: str) -> None:
    with pytest.raises(BridgeError) as caught:
        pack_request(tool, given_, session, notes)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.violations[0].field == field


# Lists of tools


def test_tools_are_listed_with_all_they_have() -> None:
    tools = [
        ToolSpec(
            "b.stream",
            "what it does",
            [
                ParameterSpec("a", "int", "a number", True, schema='{"type":"integer"}'),
                ParameterSpec("b", "str", "a text", default="x", schema="{}"),
                ParameterSpec("c", default=None, schema="{}"),
                ParameterSpec("d", default=object(), schema="{}"),
            ],
            {"k": "v"},
            supports_streaming=True,
            input_schema='{"type":"object"}',
            output_schema='{"type":"string"}',
            idempotent=True,
            read_only=True,
            isolation="process",
            timeout=4.1,
            collects=True,
        ),
        ToolSpec("a", input_schema="{}"),
    ]
    data = pack_tools(tools)
    plain, full = read_tools(data)
    assert (plain.name, full.name, full.description) == ("a", "b.stream", "what it does")
    assert [(parameter.name, parameter.type, parameter.required) for parameter in full.parameters] == [
        ("a", "int", True), ("b", "str", False), ("c", "", False), ("d", "", False),
    ]  # fmt: skip
    assert [parameter.default for parameter in full.parameters][1:3] == ["x", None]
    assert (full.streaming, full.options.collect, full.options.timeout) == (True, True, 4.1)
    assert (full.options.idempotent, full.options.read_only, full.isolation) == (True, True, "process")
    assert dict(full.options.metadata) == {"k": "v"}
    assert (full.input_schema, full.output_schema) == ({"type": "object"}, {"type": "string"})
    listing = ListToolsResponse.FromString(data)
    assert [parameter.HasField("default_value") for parameter in listing.tools[1].parameters] == [
        False, True, True, False,
    ]  # fmt: skip
    assert not listing.tools[0].HasField("timeout")
