"""Any history of calls gives what plain lists of values would give, whichever store the host has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bridge.errors import BridgeError
from bridge.host import CallScope
from bridge.hosts.limits import HostLimits
from bridge.hosts.sessions import SessionHost
from bridge.variables import Write
from tests.support.declare import declare
from tests.support.host_model import HISTORY_ENTRIES, KINDS, MAX_VARIABLES, HostModel, Refused, fit
from tests.support.storage import MakeStorage

NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.one_of(st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=3), st.booleans(), st.none())
VERSIONS = st.one_of(st.none(), st.none(), st.integers(0, 4))
TYPES = st.sampled_from(["json", "float", "integer", "string", "boolean"])
TTLS = st.one_of(st.none(), st.integers(1, 40))
BATCHES = st.lists(st.tuples(NAMES, VALUES, VERSIONS), max_size=4, unique_by=lambda one: one[0])
SESSION_TTL = 100


class HostMachine(RuleBasedStateMachine):
    """A host and a model side by side."""

    make_storage: MakeStorage

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.loop = asyncio.new_event_loop()
        self.storage = type(self).make_storage()
        self.model = HostModel()
        self.session_ends = 0.0
        self.scope = CallScope()

    def teardown(self) -> None:
        self.run(self.storage.aclose())
        self.loop.close()

    @initialize()
    def begin(self) -> None:
        self.connect()
        self.open()

    def connect(self) -> None:
        limits = HostLimits(max_variables=MAX_VARIABLES, history_entries=HISTORY_ENTRIES, default_ttl=SESSION_TTL)
        self.host = SessionHost(self.run(self.storage.reopen()), limits=limits, clock=lambda: self.now)

    def open(self) -> None:
        self.scope = CallScope(self.run(self.host.open_session(CallScope())).session_id)
        self.session_ends = self.now + SESSION_TTL
        self.model = HostModel()

    @rule(is_swept=st.booleans())
    def outlive_the_session(self, is_swept: bool) -> None:
        self.now = self.session_ends - 1
        self.run(self.host.sweep())  # no use of a session
        self.now = self.session_ends
        if is_swept:
            self.run(self.host.sweep())
        calls = [
            self.host.list_variables(self.scope),
            self.host.set_variables(self.scope, [Write(name="a", value=1)]),
            self.host.delete_variable(self.scope, "a"),
            self.host.get_history(self.scope, "a"),
            self.host.rollback_variable(self.scope, "a", 1),
        ]
        assert [self.ask(call) for call in calls] == ["SESSION_NOT_FOUND"] * len(calls)
        self.open()

    @precondition(lambda self: self.storage.kind != "memory")
    @rule()
    def start_again(self) -> None:
        self.connect()

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(call, 10))

    def ask(self, call: Coroutine[Any, Any, Any]) -> Any:
        """The answer of the host; of a refusal the reason. Both renew the session."""
        if self.now < self.session_ends:
            self.session_ends = self.now + SESSION_TTL
        try:
            return self.run(call)
        except BridgeError as error:
            return error.reason

    def expect(self, call: Coroutine[Any, Any, Any], decide: Callable[[], Any]) -> Any:
        """Asks, compares with what the model does, and says what both did; nothing if both refused."""
        answer = self.ask(call)
        self.model.now = self.now
        try:
            expected = decide()
        except Refused as refused:
            expected = refused.args[0]
            assert answer == expected
            return None
        return answer, expected

    def write(self, writes: list[Write]) -> None:
        done = self.expect(self.host.set_variables(self.scope, writes), lambda: self.model.set_together(writes))
        assert done is None or done[0] == done[1]

    @rule(name=NAMES, value=VALUES, version=VERSIONS, ttl=TTLS)
    def set(self, name: str, value: Any, version: int | None, ttl: int | None) -> None:
        self.write([Write(name=name, value=value, expected_version=version, ttl=ttl)])

    @rule(name=NAMES, values=st.lists(VALUES, min_size=1, max_size=4))
    def set_again_and_again(self, name: str, values: list[Any]) -> None:
        for value in values:
            self.write([Write(name=name, value=value)])

    @rule(batch=BATCHES)
    def set_together(self, batch: list[tuple[str, Any, int | None]]) -> None:
        self.write([Write(name=name, value=value, expected_version=version) for name, value, version in batch])

    @rule(batch=BATCHES)
    def set_each(self, batch: list[tuple[str, Any, int | None]]) -> None:
        writes = [Write(name=name, value=value, expected_version=version) for name, value, version in batch]
        call = self.host.set_variables(self.scope, writes, atomic=False)
        if done := self.expect(call, lambda: self.model.set_each(writes)):
            answer, expected = done
            reasons = {name: one.reason if isinstance(one, BridgeError) else one for name, one in answer.items()}
            assert reasons == expected

    @rule(name=NAMES, value=VALUES, other_type=st.one_of(st.none(), TYPES), ttl=TTLS)
    def register(self, name: str, value: Any, other_type: str | None, ttl: int | None) -> None:
        type_ = other_type or KINDS[type(value)]
        call = self.host.register_variable(self.scope, declare(name, type_, value, ttl=ttl))
        if done := self.expect(call, lambda: self.model.register(name, type_, value, ttl)):
            answer, version = done
            assert (answer.type, answer.value, answer.version) == (type_, fit(type_, value), version)

    @rule(name=NAMES, version=VERSIONS)
    def delete(self, name: str, version: int | None) -> None:
        call = self.host.delete_variable(self.scope, name, expected_version=version)
        assert self.expect(call, lambda: self.model.delete(name, version)) in (None, (None, None))

    @rule(name=NAMES, number=st.integers(-3, 3))
    def change_the_type_and_go_back(self, name: str, number: int) -> None:
        self.write([Write(name=name, value=number)])
        self.register(name, number, "float", None)
        self.roll_back(name, 1, None)

    @rule(name=NAMES)
    def delete_and_go_back(self, name: str) -> None:
        self.delete(name, None)
        self.roll_back(name, 1, None)

    @rule(name=NAMES, back=st.integers(-1, 5), expected=VERSIONS)
    def roll_back(self, name: str, back: int, expected: int | None) -> None:
        newest = self.model.kept[name][-1].version if name in self.model.kept else 0
        version = max(0, newest - back)
        call = self.host.rollback_variable(self.scope, name, version, expected_version=expected)
        if done := self.expect(call, lambda: self.model.roll_back(name, version, expected)):
            answer, new_version = done
            assert answer.version == new_version

    @rule(name=NAMES, limit=st.integers(0, 3))
    def look_back(self, name: str, limit: int) -> None:
        history = self.ask(self.host.get_history(self.scope, name, limit=limit))
        if name not in self.model.kept:
            assert history == "VARIABLE_NOT_FOUND"
            return
        kept = self.model.kept[name][::-1][: limit or None]
        assert [update.kind for update in history] == [one.kind for one in kept]
        found = [update.variable for update in history]
        assert [described(one) for one in found] == [
            (name, one.type, type(one.value), one.value, one.version, one.ends) for one in kept
        ]

    @rule(seconds=st.integers(1, 45))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def wait_for_what_ends_next(self) -> None:
        newest = [own[-1] for own in self.model.kept.values()]
        self.now = min((one.ends for one in newest if one.ends is not None and one.ends > self.now), default=self.now)

    @rule()
    def sweep(self) -> None:
        self.run(self.host.sweep())
        self.model.now = self.now
        self.model.sweep()

    @invariant()
    def same(self) -> None:
        self.model.now = self.now
        live = {name: self.model.live(name) for name in sorted(self.model.kept)}
        found = self.ask(self.host.list_variables(self.scope))
        # 1 and 1.0 and True are equal, and not the same value of a variable.
        assert [described(one) for one in found] == [
            (name, one.type, type(one.value), one.value, one.version, one.ends) for name, one in live.items() if one
        ]
        assert self.ask(self.host.get_variables(self.scope, list("abcd"))) == {one.name: one for one in found}
        for name in self.model.kept:
            self.look_back(name, 0)


def described(variable: Any) -> tuple[Any, ...]:
    """What a model can say of a variable."""
    value = variable.value
    return (variable.name, variable.type, type(value), value, variable.version, variable.expires_at)


@pytest.mark.timeout(300)  # for the search of a small example once it fails
def test_host_behaves_like_lists_of_values(make_storage: MakeStorage) -> None:
    examples = 60 if make_storage().kind == "memory" else 25
    wanted = settings(max_examples=examples, stateful_step_count=40, deadline=None, report_multiple_bugs=False)
    machine = type("Machine", (HostMachine,), {"make_storage": staticmethod(make_storage)})
    run_state_machine_as_test(machine, settings=wanted)
