"""What a plugin asks its host is what the host understands, and its answers are read as they were meant."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.call import NO_VALUE, Chunk, ToolCall
from bridge.errors import BridgeError as FullError
from bridge.host import CallScope
from bridge.hosts.memory import InMemoryHost
from bridge.hosts.messages import fill_constraints, fill_failure, fill_variable
from bridge.hosts.relay import answer, answer_stream
from bridge.hosts.requests import read_declaration, read_expected, read_ttl, read_write, read_writes
from bridge.runtime import host_messages as messages
from bridge.runtime.errors import BridgeError, Code
from bridge.runtime.host_messages import Constraints, Variable
from bridge.v1 import host_pb2
from bridge.variables import Constraints as FullConstraints
from bridge.variables import Variable as FullVariable
from bridge.variables import check_name, check_version
from tests.unit.codec_values import QUICK, same, values

FEW = settings(QUICK, max_examples=50)

names = st.text("abz09_.:/-", min_size=1, max_size=12)
texts = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=5), st.text(st.characters(codec="utf-8")), max_size=3
)
versions = st.none() | st.integers(0, 2**63 - 1)
ttls = st.none() | st.floats(1e-6, messages.MAX_TTL)
lengths = st.none() | st.integers(0, 2**40)
constraints = st.builds(
    dict,
    min=st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False),
    max=st.none() | st.integers() | st.floats(allow_nan=False),
    min_length=lengths,
    max_length=lengths,
    pattern=st.text(st.characters(codec="utf-8"), max_size=5),
    choices=st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=3).map(tuple),
    dimensions=lengths,
    shape=st.none() | st.lists(st.integers(-1, 2**40), min_size=1, max_size=3).map(tuple),
)


def close(a: float | None, b: float | None) -> bool:
    """The same time span, to the nanosecond."""
    return a is b or (a is not None and b is not None and abs(a - b) <= 1e-6)


# Requests


@FEW
@given(names, values, versions, texts, ttls)
def test_a_write_is_what_the_host_reads(
    name: str, value: Any, version: int | None, metadata: dict[str, str], ttl: float | None
) -> None:
    data = messages.pack_set(name, value, expected_version=version, metadata=metadata, ttl=ttl)
    write = read_write(host_pb2.SetVariableRequest.FromString(data))
    assert (write.name, write.expected_version, dict(write.metadata)) == (name, version, metadata)
    assert same(write.value, value)
    assert close(write.ttl, ttl)


@FEW
@given(st.dictionaries(names, values, max_size=3), st.booleans(), texts, ttls, st.integers(0, 2**63 - 1))
def test_writes_are_what_the_host_reads(
    updates: dict[str, Any], atomic: bool, metadata: dict[str, str], ttl: float | None, version: int
) -> None:
    expected = dict.fromkeys(list(updates)[:1], version)
    data, refused = messages.pack_set_many(
        updates, atomic=atomic, expected_versions=expected, metadata=metadata, ttl=ttl
    )
    request = host_pb2.SetVariablesRequest.FromString(data)
    writes, bad = read_writes(request)
    assert (request.atomic, refused, bad) == (atomic, {}, {})
    assert {write.name: write.expected_version for write in writes} == {name: expected.get(name) for name in updates}
    assert all(same(write.value, updates[write.name]) for write in writes)
    assert all(dict(write.metadata) == metadata and close(write.ttl, ttl) for write in writes)


@FEW
@given(names, st.sampled_from(["integer", "json", "no such type"]), values, constraints, texts, ttls)
def test_a_declaration_is_what_the_host_reads(
    name: str, kind: str, value: Any, limits: dict[str, Any], metadata: dict[str, str], ttl: float | None
) -> None:
    data = messages.pack_register(name, kind, value, constraints=Constraints(**limits), metadata=metadata, ttl=ttl)
    declaration = read_declaration(host_pb2.RegisterVariableRequest.FromString(data))
    assert (declaration.name, declaration.type, dict(declaration.metadata)) == (name, kind, metadata)
    assert same(declaration.value, value)
    assert declaration.constraints == FullConstraints(**limits)
    assert close(declaration.ttl, ttl)


@FEW
@given(names, versions)
def test_a_deletion_is_what_the_host_reads(name: str, version: int | None) -> None:
    request = host_pb2.DeleteVariableRequest.FromString(messages.pack_delete(name, expected_version=version))
    assert (request.name, read_expected(request)) == (name, version)


def test_reads_and_listings_are_what_the_host_reads() -> None:
    assert list(host_pb2.GetVariablesRequest.FromString(messages.pack_get(["a", "b", "a"])).names) == ["a", "b", "a"]
    assert host_pb2.ListVariablesRequest.FromString(messages.pack_list("a*")).pattern == "a*"
    assert messages.pack_list() == b""


def test_a_time_to_live_is_exact() -> None:
    request = host_pb2.SetVariableRequest.FromString(messages.pack_set("a", 1, ttl=4.1))
    assert read_ttl(request, request.ttl) == 4.1
    request = host_pb2.SetVariableRequest.FromString(messages.pack_set("a", 1))
    assert read_ttl(request, request.ttl) is None


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 257, "a\n", None, 5, "secret value"])
def test_what_is_no_name_is_refused_in_the_words_of_the_bridge(name: Any) -> None:
    with pytest.raises(FullError) as full:
        check_name(name)
    for ask in (
        lambda: messages.pack_get(["a", name]),
        lambda: messages.pack_set(name, 1),
        lambda: messages.pack_set_many({name: 1}),
        lambda: messages.pack_register(name, "integer", 1),
        lambda: messages.pack_delete(name),
    ):
        with pytest.raises(BridgeError) as caught:
            ask()
        assert (str(caught.value), caught.value.reason) == (str(full.value), full.value.reason)


@pytest.mark.parametrize("version", [-1, 2**63, True, 1.0, "1"])
def test_what_is_no_version_is_refused_in_the_words_of_the_bridge(version: Any) -> None:
    with pytest.raises(FullError) as full:
        check_version(version)
    for ask in (
        lambda: messages.pack_set("a", 1, expected_version=version),
        lambda: messages.pack_set_many({"a": 1}, expected_versions={"a": version}),
        lambda: messages.pack_delete("a", expected_version=version),
    ):
        with pytest.raises(BridgeError) as caught:
            ask()
        assert (str(caught.value), caught.value.reason) == (str(full.value), full.value.reason)


@pytest.mark.parametrize(
    ("ask", "field", "reason"),
    [
        (lambda: messages.pack_set("a", [object()]), "a[0]", "UNSUPPORTED_VALUE"),
        (lambda: messages.pack_set("a", 1, ttl=0), "ttl", "INVALID_ARGUMENT"),
        (lambda: messages.pack_set("a", 1, ttl=True), "ttl", "INVALID_ARGUMENT"),
        (lambda: messages.pack_set("a", 1, ttl=float("nan")), "ttl", "INVALID_ARGUMENT"),
        (lambda: messages.pack_set("a", 1, ttl=1e12), "ttl", "INVALID_ARGUMENT"),
        (lambda: messages.pack_set("a", 1, metadata={"k": 1}), "metadata", "INVALID_ARGUMENT"),  # type: ignore[dict-item]
        (lambda: messages.pack_set_many({"a": 1}, expected_versions={"b": 1}), "expected_versions", "INVALID_ARGUMENT"),
        (lambda: messages.pack_set_many({"a": object()}), "a", "UNSUPPORTED_VALUE"),
        (lambda: messages.pack_register("a", 5, 1), "type", "TYPE_REFUSED"),  # type: ignore[arg-type]
        (
            lambda: messages.pack_register("a", "integer", 1, constraints=Constraints(min=object())),  # type: ignore[arg-type]
            "constraints.min",
            "UNSUPPORTED_VALUE",
        ),
        (
            lambda: messages.pack_register("a", "string", "", constraints=Constraints(choices=(1,))),  # type: ignore[arg-type]
            "constraints",
            "CONSTRAINTS_REFUSED",
        ),
        (
            lambda: messages.pack_register("a", "string", "", constraints=Constraints(max_length="x")),  # type: ignore[arg-type]
            "constraints",
            "CONSTRAINTS_REFUSED",
        ),
        (
            lambda: messages.pack_register("a", "string", "", constraints=Constraints(pattern="\ud800")),
            "constraints",
            "CONSTRAINTS_REFUSED",
        ),
        (lambda: messages.pack_list("a b"), "pattern", "PATTERN_REFUSED"),
        (lambda: messages.pack_list(None), "pattern", "PATTERN_REFUSED"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_asked_is_refused(ask: Any, field: str, reason: str) -> None:
    with pytest.raises(BridgeError) as caught:
        ask()
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, reason)
    assert caught.value.violations[0].field == field


def test_writes_that_cannot_be_asked_leave_the_others_alone() -> None:
    data, refused = messages.pack_set_many(
        {"a": 1, "b": object(), "c d": 2}, atomic=False, expected_versions={"a": 3, "b": 4}
    )
    request = host_pb2.SetVariablesRequest.FromString(data)
    assert list(request.updates) == ["a"]
    assert dict(request.expected_versions) == {"a": 3}
    assert {name: error.reason for name, error in refused.items()} == {"b": "UNSUPPORTED_VALUE", "c d": "NAME_REFUSED"}


# Answers


def plain(variable: FullVariable) -> Variable:
    fields = {name: getattr(variable, name) for name in Variable._fields}
    limits = {name: getattr(variable.constraints, name) for name in Constraints._fields}
    return Variable(**{**fields, "constraints": Constraints(**limits)})


def equal(a: Variable, b: Variable) -> bool:
    return same(a.value, b.value) and a._replace(value=None) == b._replace(value=None)


variables = st.builds(
    FullVariable,
    name=names,
    type=st.sampled_from(["integer", "json"]),
    value=values,
    version=st.integers(1, 2**63 - 1),
    constraints=constraints.map(lambda limits: FullConstraints(**limits)),
    metadata=texts,
    changed_by=st.sampled_from(["client", "host", "tool:x"]),
    updated_at=st.integers(0, 2**32).map(float),
    expires_at=st.none() | st.integers(0, 2**32).map(float),
)


@FEW
@given(variables)
def test_a_variable_is_read_with_all_it_has(variable: FullVariable) -> None:
    message = host_pb2.Variable()
    fill_variable(message, variable)
    listing = host_pb2.ListVariablesResponse(variables=[message, message]).SerializeToString()
    found = host_pb2.GetVariablesResponse(variables={"x": message}, missing=["y"]).SerializeToString()
    registered = host_pb2.RegisterVariableResponse(variable=message).SerializeToString()
    read = [*messages.read_list(listing), messages.read_variables(found)["x"], messages.read_registered(registered)]
    assert all(equal(one, plain(variable)) for one in read)
    assert len(read) == 4


def test_a_variable_without_anything_is_read() -> None:
    (variable,) = messages.read_list(host_pb2.ListVariablesResponse(variables=[{"name": "a"}]).SerializeToString())
    assert variable == Variable("a", "", None, 0, changed_by="")
    message = host_pb2.Constraints()
    fill_constraints(message, FullConstraints())
    assert message.ByteSize() == 0


def test_what_became_of_writes_is_read() -> None:
    response = host_pb2.SetVariablesResponse(versions={"a": 7})
    details = {"name": "b", "current_version": "3"}
    error = messages.ErrorDetails(metadata=details)
    fill_failure(response.failures["b"], BridgeError(Code.ABORTED, "again", reason="VERSION_MISMATCH", details=error))  # type: ignore[arg-type]
    response.failures["c"].code = 99
    results = messages.read_write_results(response.SerializeToString())
    assert results["a"] == 7
    failure, unknown = results["b"], results["c"]
    assert isinstance(failure, BridgeError)
    assert (failure.code, failure.message, failure.reason) == (Code.ABORTED, "again", "VERSION_MISMATCH")
    assert failure.details.metadata == details
    assert isinstance(unknown, BridgeError)
    assert unknown.code is Code.UNKNOWN
    assert messages.read_version(host_pb2.SetVariableResponse(version=5).SerializeToString()) == 5


READERS = [
    messages.read_variables,
    messages.read_version,
    messages.read_write_results,
    messages.read_registered,
    messages.read_list,
    messages.read_result,
    messages.read_chunk,
]


@QUICK
@given(st.sampled_from(READERS), st.binary(max_size=60))
@example(messages.read_registered, b"")
@example(messages.read_list, b"\n\x07\x12\x01a\x22\x02\n\x00")
def test_any_answer_is_read_or_refused(reader: Any, data: bytes) -> None:
    try:
        reader(data)
        refusal = None
    except BridgeError as error:
        refusal = error
    if refusal is not None:
        assert refusal.reason in {"BAD_RESPONSE", "VALUE_MALFORMED", "VALUE_REFUSED", "VALUE_TYPE_UNKNOWN"}


# With a host


class Tools:
    """Tools of a host."""

    async def run(self, call: ToolCall) -> Any:
        if call.tool == "count":
            for number in range(call.arguments["n"]):
                await call.emit(Chunk(number))
            return NO_VALUE
        return [call.tool, call.arguments]


class Asker:
    """Asks a host as a worker does."""

    def __init__(self, host: InMemoryHost, scope: CallScope) -> None:
        self._host, self._scope = host, scope

    async def __call__(self, path: str, request: bytes) -> bytes:
        return await answer(self._host, self._scope, path, request)

    def stream(self, path: str, request: bytes) -> AsyncGenerator[bytes, None]:
        return answer_stream(self._host, self._scope, path, request)


@pytest.fixture
async def ask() -> AsyncIterator[Asker]:
    host = InMemoryHost(tools=Tools())
    session = await host.open_session(CallScope())
    yield Asker(host, CallScope(session.session_id, changed_by="tool:x"))
    await host.aclose()


async def test_a_host_does_what_is_asked(ask: Asker) -> None:
    version = messages.read_version(await ask(messages.SET_VARIABLE, messages.pack_set("a", {"n": 1}, ttl=60)))
    found = messages.read_variables(await ask(messages.GET_VARIABLES, messages.pack_get(["a", "none"])))
    assert list(found) == ["a"]
    assert (found["a"].value, found["a"].version, found["a"].changed_by) == ({"n": 1}, version, "tool:x")
    assert found["a"].expires_at is not None
    limits = Constraints(min=1, max=9)
    registered = messages.read_registered(
        await ask(messages.REGISTER_VARIABLE, messages.pack_register("r", "integer", 5, constraints=limits))
    )
    assert (registered.value, registered.type, registered.constraints) == (5, "integer", limits)
    request, refused = messages.pack_set_many(
        {"r": 50, "b": 2, "a": 3}, atomic=False, expected_versions={"a": 99}, metadata={"k": "v"}
    )
    assert refused == {}
    results = messages.read_write_results(await ask(messages.SET_VARIABLES, request))
    assert results["b"] == 1
    assert [getattr(results[name], "reason", None) for name in ("r", "a")] == [
        "CONSTRAINT_VIOLATED",
        "VERSION_MISMATCH",
    ]
    assert await ask(messages.DELETE_VARIABLE, messages.pack_delete("a", expected_version=version)) == b""
    listed = messages.read_list(await ask(messages.LIST_VARIABLES, messages.pack_list("*")))
    assert [variable.name for variable in listed] == ["b", "r"]
    assert listed[0].metadata == {"k": "v"}


async def test_a_host_runs_its_tools(ask: Asker) -> None:
    data = await ask(messages.EXECUTE_TOOL, messages.pack_request("echo", {"a": 1, "b": b"x"}))
    assert messages.read_result(data) == ["echo", {"a": 1, "b": b"x"}]
    reader = messages.StreamReader()
    chunks = [
        reader.feed(data)
        async for data in ask.stream(messages.EXECUTE_STREAMING_TOOL, messages.pack_request("count", {"n": 3}))
    ]
    reader.end()
    assert [chunk and chunk.value for chunk in chunks] == [0, 1, 2, None]


def test_a_variable_that_is_not_there_is_named() -> None:
    error = messages.variable_not_found("counter")
    assert (error.code, error.reason) == (Code.NOT_FOUND, "VARIABLE_NOT_FOUND")
    assert "counter" in error.message
