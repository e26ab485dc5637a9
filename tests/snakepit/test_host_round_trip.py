"""Variables of a worker over the RPCs of Snakepit v0.4.2, kept by a host of ours, and by one of that time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from bridge import Adapter, SessionContext, engines, tool
from bridge.config import ServerConfig
from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.hosts.grpc import GrpcHost
from bridge.hosts.sessions import SessionHost
from bridge.hosts.snakepit import SnakepitHost
from bridge.hosts.snakepit_messages import fill_update, read_update
from bridge.server import run_server
from bridge.snakepit import messages
from bridge.stores.base import Change, Quota, Snapshot, StoredVariable
from bridge.testing import serving
from bridge.tool_messages import pack_call, read_result
from bridge.variables import NO_CONSTRAINTS, Constraints, Declaration, Update, UpdateKind, Variable, Write

pytestmark = pytest.mark.timeout(30)

SCOPE = CallScope("session_1_2")


@pytest.fixture
async def server() -> AsyncIterator[Any]:
    async with serving(role="host", snakepit=True) as server:
        yield server


@pytest.fixture
async def host(server: Any) -> AsyncIterator[SnakepitHost]:
    host = SnakepitHost(engines.connect(server.addresses[0]))
    async with asyncio.timeout(20):
        yield host
    await host.aclose()


async def _refusal(awaitable: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await awaitable
    return caught.value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.shape == other.shape and np.array_equal(one, other, equal_nan=True)
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and bool(one == other)


DECLARED: list[tuple[str, Any, Constraints]] = [
    ("float", 1.5, Constraints(min=0.0, max=2.5)),
    ("float", math.nan, NO_CONSTRAINTS),
    ("float", math.inf, Constraints(min=0.0)),
    ("float", -math.inf, NO_CONSTRAINTS),
    ("integer", 5, Constraints(min=-(2**70), max=10)),
    ("integer", 10**30, NO_CONSTRAINTS),
    ("string", "grüße\n", Constraints(min_length=1, max_length=10)),
    ("string", "abc", Constraints(pattern="[a-c]+", choices=("abc", "abd"))),
    ("boolean", False, NO_CONSTRAINTS),
    ("choice", "a", Constraints(choices=("a", "b"))),
    ("embedding", [1.0, 2.5], Constraints(dimensions=2)),
    ("tensor", np.array([[1.5, np.nan], [2, np.inf]]), Constraints(shape=(2, -1))),
    ("tensor", np.array([1, 2]), NO_CONSTRAINTS),
    ("tensor", np.array([True, False]), NO_CONSTRAINTS),
    ("json", {"a": [1, 2.5, None, {"b": "x"}]}, NO_CONSTRAINTS),
    ("json", [1, [2]], NO_CONSTRAINTS),
]


@pytest.mark.parametrize(("type_", "value", "constraints"), DECLARED)
async def test_declaration_comes_back_as_it_was(
    host: SnakepitHost, type_: str, value: Any, constraints: Constraints
) -> None:
    declaration = Declaration(name="x", type=type_, value=value, constraints=constraints, metadata={"unit": "mm"})
    registered = await host.register_variable(SCOPE, declaration)
    (listed,) = await host.list_variables(SCOPE)
    (read,) = (await host.get_variables(SCOPE, ["x", "none"])).values()
    for variable in (registered, listed, read):
        assert (variable.name, variable.type, variable.version) == ("x", type_, 1)
        assert (variable.constraints, variable.metadata) == (constraints, {"unit": "mm"})
        assert _same(value, variable.value)
        assert variable.updated_at > 1e9


WRITTEN = [1, 2.5, math.nan, "x", True, [1, "a"], {"a": None}, np.array([[1.5]]), np.int64(3)]


@pytest.mark.parametrize("value", WRITTEN)
async def test_name_that_is_not_there_is_registered_by_a_write(host: SnakepitHost, value: Any) -> None:
    assert await host.set_variables(SCOPE, [Write(name="x", value=value, metadata={"a": "1"})]) == {"x": 1}
    assert await host.set_variables(SCOPE, [Write(name="x", value=value)]) == {"x": 2}
    found = (await host.get_variables(SCOPE, ["x"]))["x"]
    assert _same(value.item() if isinstance(value, np.integer) else value, found.value)
    assert found.metadata == {"a": "1"}


NOT_CARRIED = [b"bytes", {1: 2}, (1, 2), [math.nan], {"a": b""}, np.array([1j]), object(), "\ud800", 10**5000]


@pytest.mark.parametrize("value", NOT_CARRIED, ids=lambda value: type(value).__name__)
async def test_value_that_json_cannot_carry_exactly_is_refused(host: SnakepitHost, value: Any) -> None:
    error = await _refusal(host.set_variables(SCOPE, [Write(name="x", value=value)]))
    assert (error.code, error.violations[0].field) == (Code.INVALID_ARGUMENT, "x")
    assert await host.list_variables(SCOPE) == []


async def test_name_is_made_by_one_of_many_writers_only(host: SnakepitHost) -> None:
    writes = [[Write(name="x", value=number, expected_version=0)] for number in range(10)]
    results = await asyncio.gather(*(host.set_variables(SCOPE, write) for write in writes), return_exceptions=True)
    assert sum(isinstance(result, dict) for result in results) == 1
    reasons = {result.reason for result in results if isinstance(result, BridgeError)}
    assert reasons == {"VERSION_MISMATCH"}


async def test_write_of_a_name_that_others_make_at_the_same_time_is_done(host: SnakepitHost) -> None:
    results = await asyncio.gather(*(host.set_variables(SCOPE, [Write(name="x", value=n)]) for n in range(10)))
    assert sorted(result["x"] for result in results if isinstance(result["x"], int)) == list(range(1, 11))


async def test_compare_and_set_works(host: SnakepitHost) -> None:
    await host.set_variables(SCOPE, [Write(name="x", value=1, expected_version=0)])
    assert await host.set_variables(SCOPE, [Write(name="x", value=2, expected_version=1)]) == {"x": 2}
    for expected in (0, 1, 7):
        error = await _refusal(host.set_variables(SCOPE, [Write(name="x", value=3, expected_version=expected)]))
        assert (error.code, error.reason) == (Code.ABORTED, "VERSION_MISMATCH")
        assert error.details.metadata == {"name": "x", "current_version": "2"}
    error = await _refusal(host.set_variables(SCOPE, [Write(name="none", value=3, expected_version=1)]))
    assert (error.code, error.details.metadata["current_version"]) == (Code.ABORTED, "0")
    error = await _refusal(host.set_variables(SCOPE, [Write(name="x", value=3, expected_version=2**31)]))
    assert error.code is Code.INVALID_ARGUMENT


async def test_constraints_hold(host: SnakepitHost) -> None:
    limits = Constraints(max=5)
    await host.register_variable(SCOPE, Declaration(name="x", type="integer", value=1, constraints=limits))
    error = await _refusal(host.set_variables(SCOPE, [Write(name="x", value=6)]))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "CONSTRAINT_VIOLATED")


async def test_several_writes_are_all_or_nothing(host: SnakepitHost) -> None:
    limits = Constraints(max=5)
    await host.register_variable(SCOPE, Declaration(name="x", type="integer", value=1, constraints=limits))
    await host.set_variables(SCOPE, [Write(name="y", value="a")])
    writes = [Write(name="x", value=2), Write(name="y", value="b")]
    assert await host.set_variables(SCOPE, writes) == {"x": 2, "y": 2}
    error = await _refusal(host.set_variables(SCOPE, [Write(name="x", value=6), Write(name="y", value="c")]))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "HOST_REFUSED")
    assert "max 5" in error.message
    assert (await host.get_variables(SCOPE, ["y"]))["y"].value == "b"


async def test_several_writes_one_by_one_tell_of_each(host: SnakepitHost) -> None:
    limits = Constraints(max=5)
    await host.register_variable(SCOPE, Declaration(name="x", type="integer", value=1, constraints=limits))
    writes = [Write(name="x", value=6), Write(name="new", value=1), Write(name="y", value=1, expected_version=0)]
    results = await host.set_variables(SCOPE, writes, atomic=False)
    assert (results["new"], results["y"]) == (1, 1)
    assert isinstance(results["x"], BridgeError)


UNSAYABLE: list[tuple[str, Callable[[SnakepitHost], Any]]] = [
    ("ttl", lambda host: host.set_variables(SCOPE, [Write(name="x", value=1, ttl=5.0)])),
    ("ttl", lambda host: host.register_variable(SCOPE, Declaration(name="x", type="integer", value=1, ttl=5.0))),
    ("expected_version", lambda host: host.delete_variable(SCOPE, "x", expected_version=1)),
    ("expected_version", lambda host: host.rollback_variable(SCOPE, "x", 1, expected_version=1)),
    ("resume_after", lambda host: anext(host.watch_variables(SCOPE, ["x"], resume_after={"x": 1}))),
    ("writes", lambda host: host.set_variables(SCOPE, [Write(name="x", value=1), Write(name="x", value=2)])),
    (
        "writes",
        lambda host: host.set_variables(
            SCOPE, [Write(name="x", value=1, expected_version=1), Write(name="y", value=2)]
        ),
    ),
    ("limit", lambda host: host.get_history(SCOPE, "x", limit=-1)),
    ("target_version", lambda host: host.rollback_variable(SCOPE, "x", -1)),
    ("pattern", lambda host: host.list_variables(SCOPE, "(a+)+")),
    ("name", lambda host: host.get_variables(SCOPE, ["a b"])),
]


@pytest.mark.parametrize(("field", "ask"), UNSAYABLE)
async def test_what_the_wire_cannot_say_is_refused(host: SnakepitHost, field: str, ask: Any) -> None:
    error = await _refusal(ask(host))
    assert error.code is Code.INVALID_ARGUMENT
    assert error.violations[0].field == field


async def test_list_is_by_the_same_patterns_as_elsewhere(host: SnakepitHost) -> None:
    for name in ("b1", "a1", "a22"):
        await host.set_variables(SCOPE, [Write(name=name, value=1)])
    assert [variable.name for variable in await host.list_variables(SCOPE, "a?")] == ["a1"]
    assert [variable.name for variable in await host.list_variables(SCOPE, "*1")] == ["a1", "b1"]


async def test_history_and_rollback(host: SnakepitHost) -> None:
    await host.set_variables(SCOPE, [Write(name="x", value=1)])
    await host.set_variables(SCOPE, [Write(name="x", value=2)])
    assert (await host.rollback_variable(SCOPE, "x", 1)).value == 1
    await host.delete_variable(SCOPE, "x")
    found = await host.get_history(SCOPE, "x")
    assert [(one.kind.name, one.variable.value, one.variable.version) for one in found if one.variable] == [
        ("DELETED", None, 4),
        ("CHANGED", 1, 3),
        ("CHANGED", 2, 2),
        ("CHANGED", 1, 1),
    ]
    assert [one.variable.type for one in found[1:] if one.variable] == ["integer"] * 3
    assert len(await host.get_history(SCOPE, "x", limit=1)) == 1
    for ask in (host.delete_variable(SCOPE, "x"), host.get_history(SCOPE, "none")):
        error = await _refusal(ask)
        assert (error.code, error.reason) == (Code.NOT_FOUND, "VARIABLE_NOT_FOUND")
    assert (await _refusal(host.rollback_variable(SCOPE, "x", 9))).code is Code.OUT_OF_RANGE


async def test_watch_says_where_it_begins_and_then_what_happens(host: SnakepitHost) -> None:
    await host.set_variables(SCOPE, [Write(name="x", value=1)])
    watch = host.watch_variables(SCOPE, ["x", "y"], initial=True)
    began, initial = await anext(watch), await anext(watch)
    assert (began.kind, began.positions) == (UpdateKind.STARTED, {"y": 0})
    assert (initial.kind, initial.variable and initial.variable.value) == (UpdateKind.INITIAL, 1)
    await host.set_variables(CallScope("session_1_2", changed_by="tool:t"), [Write(name="x", value=2)])
    await host.register_variable(SCOPE, Declaration(name="y", type="string", value="a"))
    await host.delete_variable(SCOPE, "x")
    seen = [await anext(watch) for _ in range(3)]
    assert [(one.kind.name, one.variable and one.variable.value) for one in seen] == [
        ("CHANGED", 2),
        ("REGISTERED", "a"),
        ("DELETED", None),
    ]
    assert seen[0].variable is not None
    assert seen[0].variable.changed_by == "tool:t"
    await host.cleanup_session("session_1_2")
    error = await _refusal(anext(watch))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "SESSION_CLOSED")


async def test_watch_may_be_the_first_thing_that_is_asked(host: SnakepitHost) -> None:
    watch = host.watch_variables(SCOPE, ["x"])
    assert (await anext(watch)).kind is UpdateKind.STARTED
    await watch.aclose()


async def test_variable_whose_time_is_over_is_deleted_to_who_does_not_know_more() -> None:
    variable = Variable(name="x", type="integer", value=None, version=3, changed_by="host")
    message = messages.VariableUpdate()
    fill_update(message, Update(UpdateKind.EXPIRED, variable))
    assert (message.update_type, message.update_source, message.variable.HasField("value")) == (
        "deleted",
        "host",
        False,
    )
    assert read_update(message).kind is UpdateKind.EXPIRED
    message.update_metadata.clear()
    assert read_update(message).kind is UpdateKind.DELETED


class Counter(Adapter):
    """Tools that use variables and tools of their host."""

    @tool
    async def count(self, ctx: SessionContext, by: int) -> int:
        """Adds to a variable."""
        total: int = await ctx.update("total", lambda total: total + by, default=0)
        return total

    @tool(reads=["total"])
    def total(self, ctx: SessionContext) -> int:
        """Reads it, blocking."""
        return int(ctx.sync.get("total", 0))


async def test_tools_of_a_worker_share_variables_over_the_old_wire(server: Any) -> None:
    host = SnakepitHost(engines.connect(server.addresses[0]))
    config = ServerConfig(listen=("127.0.0.1:0",), log_level="error")
    async with run_server(config, [Counter], host=host) as worker:
        channel = engines.connect(worker.addresses[0])

        async def call(name: str, **arguments: Any) -> Any:
            request = pack_call(name, arguments, SCOPE.session_id)
            return read_result(await channel.unary("/bridge.v1.BridgeService/ExecuteTool", request))

        assert sorted(await asyncio.gather(*(call("count", by=1) for _ in range(5)))) == [1, 2, 3, 4, 5]
        assert await call("total") == 5
        await channel.aclose()


async def test_variables_of_a_pools_sessions_are_kept_by_an_auto_opening_host() -> None:
    async with serving(role="host", snakepit=True, sessions="auto-open") as server:
        host = SnakepitHost(engines.connect("127.0.0.1:1"), GrpcHost(engines.connect(server.addresses[0])))
        assert await host.set_variables(SCOPE, [Write(name="x", value=1)]) == {"x": 1}
        await host.aclose()


# -- versions that the wire has no room for ----------------------------------------------------------------------------


async def _at_version(host: SessionHost, version: int) -> None:
    """Puts a variable there that has been written very often."""
    await host.set_variables(SCOPE, [Write(name="template", value=5)])
    stored = (await host.read_stored(SCOPE, ["template"]))["template"]
    record = StoredVariable(name="x", type="integer", payload=stored.payload, version=version)

    def decide(snapshot: Snapshot) -> list[Change]:
        return [Change("x", 0, (record,))]

    await host._store.transact(SCOPE.session_id, ["x"], decide, Quota(10, 10_000, 10, 10_000), stored.updated_at)


async def test_version_beyond_32_bits_is_refused_and_nothing_written(server: Any, host: SnakepitHost) -> None:
    await host.initialize_session(SCOPE.session_id)
    await _at_version(server.host, 2**31 - 1)
    assert (await host.get_variables(SCOPE, ["x"]))["x"].version == 2**31 - 1
    error = await _refusal(host.set_variables(SCOPE, [Write(name="x", value=6)]))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "NOT_ON_THIS_WIRE")
    assert f"version {2**31}" in error.message
    assert (await server.host.get_variables(SCOPE, ["x"]))["x"].value == 5
    await server.host.set_variables(SCOPE, [Write(name="x", value=6)])
    assert (await _refusal(host.get_variables(SCOPE, ["x"]))).reason == "NOT_ON_THIS_WIRE"


# -- a host of July 2025 -----------------------------------------------------------------------------------------------


class OldHost:
    """Knows one variable, speaks by status messages alone, and sends large arrays as Erlang terms."""

    def __init__(self) -> None:
        self.registered: list[Any] = []

    async def answer(self, method: str, data: bytes, context: Any) -> bytes:
        if method == "InitializeSession":
            return bytes(messages.InitializeSessionResponse(success=True).SerializeToString())
        if method == "RegisterVariable":
            self.registered.append(messages.RegisterVariableRequest.FromString(data))
            return bytes(messages.RegisterVariableResponse(success=True, variable_id="var_x_17").SerializeToString())
        if method == "GetVariable" and self.registered:
            given = self.registered[-1]
            answer = messages.GetVariableResponse()
            answer.variable.MergeFrom(messages.Variable(id="var_x_17", name="x", type=given.type, version=0))
            answer.variable.value.MergeFrom(given.initial_value)
            answer.variable.constraints_json = '{"invented": 1}'
            return bytes(answer.SerializeToString())
        if method == "GetVariables":
            found = messages.BatchGetVariablesResponse()
            variable = found.variables["big"]
            variable.name, variable.type, variable.binary_value = "big", "embedding", b"\x83l"
            variable.value.type_url = "type.googleapis.com/snakepit.embedding.binary"
            return bytes(found.SerializeToString())
        if method == "DeleteVariable":
            return bytes(messages.DeleteVariableResponse(error_message="variable_locked").SerializeToString())
        await context.abort(grpc.StatusCode.NOT_FOUND, "Variable not found: x")
        raise AssertionError

    async def watch(self, data: bytes, context: Any) -> AsyncIterator[bytes]:
        for update_type in ("initial", "heartbeat", "value_change"):
            update = messages.VariableUpdate(update_type=update_type)
            if update_type != "heartbeat":
                update.variable.MergeFrom(messages.Variable(name="x", type="integer", version=4))
                update.variable.value.value = b"5"
            yield update.SerializeToString()


@pytest.fixture
async def old() -> AsyncIterator[tuple[SnakepitHost, OldHost]]:
    old_host, server = OldHost(), grpc.aio.server()

    def handler(method: str) -> Any:
        async def handle(data: bytes, context: Any) -> bytes:
            return await old_host.answer(method, data, context)

        return grpc.unary_unary_rpc_method_handler(handle)

    names = ["InitializeSession", "RegisterVariable", "GetVariable", "GetVariables", "SetVariable", "DeleteVariable"]
    handlers = {name: handler(name) for name in names}
    handlers["WatchVariables"] = grpc.unary_stream_rpc_method_handler(old_host.watch)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("snakepit.bridge.BridgeService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    host = SnakepitHost(engines.connect(f"127.0.0.1:{port}"))
    yield host, old_host
    await host.aclose()
    await server.stop(0)


async def test_name_unknown_to_an_old_host_is_registered_with_a_type_it_knows(
    old: tuple[SnakepitHost, OldHost],
) -> None:
    host, old_host = old
    assert await host.set_variables(SCOPE, [Write(name="x", value=2.5)]) == {"x": 0}
    (request,) = old_host.registered
    assert (request.name, request.type, request.initial_value.value) == ("x", "float", b"2.5")
    assert request.initial_value.type_url == "type.googleapis.com/snakepit.float"


async def test_constraints_an_old_host_has_invented_do_not_matter(old: tuple[SnakepitHost, OldHost]) -> None:
    host, _ = old
    variable = await host.register_variable(SCOPE, Declaration(name="x", type="integer", value=1))
    assert (variable.constraints, variable.version) == (NO_CONSTRAINTS, 0)


async def test_erlang_terms_of_an_old_host_are_not_decoded(old: tuple[SnakepitHost, OldHost]) -> None:
    error = await _refusal(old[0].get_variables(SCOPE, ["big"]))
    assert "never decoded" in error.message


async def test_watch_of_an_old_host_begins_with_what_comes_first(old: tuple[SnakepitHost, OldHost]) -> None:
    watch = old[0].watch_variables(SCOPE, ["x"], initial=True)
    updates = [await anext(watch) for _ in range(3)]
    assert [one.kind.name for one in updates] == ["STARTED", "INITIAL", "CHANGED"]
    assert [one.variable and one.variable.value for one in updates] == [None, 5, 5]
    error = await _refusal(anext(watch))
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "WATCH_ENDED")


async def test_refusal_of_an_old_host_is_told_in_its_words(old: tuple[SnakepitHost, OldHost]) -> None:
    error = await _refusal(old[0].delete_variable(SCOPE, "x"))
    assert (error.code, error.reason, "variable_locked" in error.message) == (
        Code.INVALID_ARGUMENT,
        "HOST_REFUSED",
        True,
    )
