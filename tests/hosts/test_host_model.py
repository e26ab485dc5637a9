"""Any history of calls gives what a plain dict would give."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.hosts.limits import HostLimits
from bridge.hosts.memory import InMemoryHost
from bridge.variables import Write
from tests.support.declare import declare

NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.one_of(st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=3), st.booleans(), st.none())
VERSIONS = st.one_of(st.none(), st.integers(0, 4))
TTLS = st.one_of(st.none(), st.integers(1, 40))
MAX_VARIABLES = 3
SESSION_TTL = 100
KINDS = {bool: "boolean", int: "integer", float: "float", str: "string", type(None): "json"}


@dataclass
class Entry:
    type: str
    value: Any
    version: int
    ends: float | None


Model = dict[str, Entry]


class Refused(Exception):
    """What the host must answer instead of writing; the argument is the reason."""


def fit(type_: str, value: Any) -> Any:
    """The value in a variable of the type."""
    kind = KINDS[type(value)]
    if kind == type_ or (type_ == "json" and not (kind == "float" and math.isinf(value))):
        return value
    if type_ == "float" and kind == "integer":
        return float(value)
    raise Refused("VALUE_REFUSED")


def outcome(decide: Callable[[], Any]) -> Any:
    """What is decided, or the reason why it is refused."""
    try:
        return decide()
    except Refused as refused:
        return refused.args[0]


def reason_of(answer: Any) -> str:
    """The reason of a refusal."""
    assert isinstance(answer, BridgeError)
    return answer.reason


class HostMachine(RuleBasedStateMachine):
    """A host and a dict side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.loop = asyncio.new_event_loop()
        limits = HostLimits(max_variables=MAX_VARIABLES, default_ttl=SESSION_TTL)
        self.host = InMemoryHost(limits=limits, clock=lambda: self.now)
        self.model: Model = {}
        self.session_ends = 0.0
        self.scope = CallScope()

    def teardown(self) -> None:
        self.loop.close()

    @initialize()
    def begin(self) -> None:
        self.open()

    @precondition(lambda self: self.session_ends <= self.now)
    @rule()
    def open(self) -> None:
        self.scope = CallScope(self.run(self.host.open_session(CallScope())).session_id)
        self.session_ends = self.now + SESSION_TTL
        self.model = {}

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(call)

    def ask(self, call: Coroutine[Any, Any, Any]) -> Any:
        """The answer of the host, or the reason of its refusal."""
        alive = self.now < self.session_ends
        try:
            answer = self.run(call)
        except BridgeError as error:
            answer = error
        if not alive:
            assert reason_of(answer) == "SESSION_NOT_FOUND"
            return None
        self.session_ends = self.now + SESSION_TTL
        self.forget()
        return answer

    def forget(self) -> None:
        self.model = {name: e for name, e in self.model.items() if e.ends is None or e.ends > self.now}

    def expect(self, answer: Any, writes: list[Write]) -> None:
        """Checks the answer to a batch, and moves the model on."""
        after = outcome(lambda: self.after(writes))
        if isinstance(after, str):
            assert reason_of(answer) == after
        else:
            assert answer == {write.name: after[write.name].version for write in writes}
            self.model = after

    def after(self, writes: list[Write]) -> Model:
        after = dict(self.model)
        for write in writes:
            after[write.name] = self.written(after.get(write.name), write)
        if len(after) > MAX_VARIABLES:
            raise Refused("LIMIT_EXCEEDED")
        return after

    def written(self, current: Entry | None, write: Write) -> Entry:
        version = current.version if current else 0
        if write.expected_version is not None and write.expected_version != version:
            raise Refused("VERSION_MISMATCH")
        type_ = current.type if current else KINDS[type(write.value)]
        ends = current.ends if current else None
        if write.ttl is not None:
            ends = self.now + write.ttl
        return Entry(type_, fit(type_, write.value), version + 1, ends)

    @rule(name=NAMES, value=VALUES, version=VERSIONS, ttl=TTLS)
    def set(self, name: str, value: Any, version: int | None, ttl: int | None) -> None:
        writes = [Write(name=name, value=value, expected_version=version, ttl=ttl)]
        answer = self.ask(self.host.set_variables(self.scope, writes))
        if answer is not None:
            self.expect(answer, writes)

    @rule(batch=st.lists(st.tuples(NAMES, VALUES, VERSIONS), max_size=4, unique_by=lambda one: one[0]))
    def set_together(self, batch: list[tuple[str, Any, int | None]]) -> None:
        writes = [Write(name=name, value=value, expected_version=version) for name, value, version in batch]
        answer = self.ask(self.host.set_variables(self.scope, writes))
        if answer is not None:
            self.expect(answer, writes)

    @rule(batch=st.lists(st.tuples(NAMES, VALUES, VERSIONS), max_size=4, unique_by=lambda one: one[0]))
    def set_each(self, batch: list[tuple[str, Any, int | None]]) -> None:
        writes = [Write(name=name, value=value, expected_version=version) for name, value, version in batch]
        answer = self.ask(self.host.set_variables(self.scope, writes, atomic=False))
        if answer is not None:
            assert set(answer) == {write.name for write in writes}
            for write in writes:
                result = answer[write.name]
                one = result if isinstance(result, BridgeError) else {write.name: result}
                self.expect(one, [write])

    @rule(name=NAMES, value=VALUES, type_=st.sampled_from(sorted(KINDS.values())), ttl=TTLS)
    def register(self, name: str, value: Any, type_: str, ttl: int | None) -> None:
        answer = self.ask(self.host.register_variable(self.scope, declare(name, type_, value, ttl=ttl)))
        if answer is None:
            return
        entry = outcome(lambda: self.declared(name, type_, value, ttl))
        if isinstance(entry, str):
            assert reason_of(answer) == entry
        else:
            assert (answer.type, answer.value, answer.version) == (type_, entry.value, entry.version)
            self.model[name] = entry

    def declared(self, name: str, type_: str, value: Any, ttl: int | None) -> Entry:
        held = fit(type_, value)
        if name not in self.model and len(self.model) >= MAX_VARIABLES:
            raise Refused("LIMIT_EXCEEDED")
        version = self.model[name].version + 1 if name in self.model else 1
        return Entry(type_, held, version, None if ttl is None else self.now + ttl)

    @rule(name=NAMES, version=VERSIONS)
    def delete(self, name: str, version: int | None) -> None:
        answer = self.ask(self.host.delete_variable(self.scope, name, expected_version=version))
        if name in self.model and version in (None, self.model[name].version):
            assert answer is None
            del self.model[name]
        elif answer is not None:
            assert isinstance(answer, BridgeError)
            assert answer.code is (Code.ABORTED if name in self.model else Code.NOT_FOUND)
        else:
            assert self.session_ends <= self.now

    @rule(seconds=st.one_of(st.integers(1, 60), st.just(SESSION_TTL)))  # also to the very end of the session
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.forget()

    @rule()
    def sweep(self) -> None:
        self.run(self.host.sweep())

    @precondition(lambda self: self.now < self.session_ends)
    @invariant()
    def same(self) -> None:
        found = self.ask(self.host.list_variables(self.scope))
        assert [(one.name, one.type, one.value, one.version, one.expires_at) for one in found] == [
            (name, entry.type, entry.value, entry.version, entry.ends) for name, entry in sorted(self.model.items())
        ]
        # 1 and 1.0 and True are equal, and not the same value of a variable.
        assert [type(one.value) for one in found] == [type(self.model[one.name].value) for one in found]
        assert self.ask(self.host.get_variables(self.scope, list("abcd"))) == {one.name: one for one in found}


HostMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHostBehavesLikeADict = HostMachine.TestCase
