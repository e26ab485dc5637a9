"""The checker itself: histories whose verdict is known, and verdicts that trying every order gives too."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.consistency.linearizability import ABSENT, Mismatch, Operation, State, Undecided, linearize, show, step


def did(kind: str, *args: int, gives: Any = None, at: tuple[float, float | None]) -> Operation:
    """An operation from one instant to another."""
    return Operation(0, kind, args, gives, at[0], at[1])


WRITE_7 = did("write", 7, gives=1, at=(1, 2))

LINEARIZABLE = {
    "nothing": [],
    "one after another": [
        did("read", gives=(None, 0), at=(0, 1)),
        did("cas", 0, 7, gives=1, at=(2, 3)),
        did("read", gives=(7, 1), at=(4, 5)),
        did("cas", 0, 8, gives=Mismatch(1), at=(6, 7)),
        did("write", 9, gives=2, at=(8, 9)),
    ],
    "a deletion takes a version": [
        WRITE_7,
        did("delete", gives=True, at=(3, 4)),
        did("read", gives=(None, 0), at=(5, 6)),
        did("delete", gives=False, at=(7, 8)),
        did("cas", 0, 9, gives=3, at=(9, 10)),
    ],
    "a read beside a write sees the old value": [WRITE_7, did("read", gives=(None, 0), at=(1.1, 5))],
    "a read beside a write sees its value": [
        did("write", 7, gives=1, at=(1, 9)),
        did("read", gives=(7, 1), at=(2, 3)),
    ],
    "the write that began last is the first": [
        did("write", 7, gives=2, at=(1, 5)),
        did("write", 8, gives=1, at=(2, 4)),
        did("read", gives=(7, 2), at=(6, 7)),
    ],
    "an unknown write that happened": [did("write", 7, at=(1, None)), did("read", gives=(7, 1), at=(2, 3))],
    "an unknown write that never happened": [did("write", 7, at=(1, None)), did("read", gives=(None, 0), at=(2, 3))],
    "an unknown write that happened late": [
        did("write", 7, at=(1, None)),
        did("read", gives=(None, 0), at=(2, 3)),
        did("read", gives=(7, 1), at=(4, 5)),
    ],
    "an unknown compare-and-set that was refused": [
        WRITE_7,
        did("cas", 5, 8, at=(3, None)),
        did("read", gives=(7, 1), at=(4, 5)),
    ],
    "an unknown deletion that explains a version": [
        WRITE_7,
        did("delete", at=(3, None)),
        did("write", 8, gives=3, at=(4, 5)),
    ],
}

NOT_LINEARIZABLE = {
    "a stale read": [WRITE_7, did("read", gives=(None, 0), at=(3, 4))],
    "a read of what was never written": [WRITE_7, did("read", gives=(8, 1), at=(3, 4))],
    "a value with the version of another": [WRITE_7, did("read", gives=(7, 2), at=(3, 4))],
    "a lost update": [
        WRITE_7,
        did("cas", 1, 8, gives=2, at=(3, 6)),
        did("cas", 1, 9, gives=2, at=(4, 5)),
    ],
    "an acknowledged write that is gone": [
        WRITE_7,
        did("write", 8, gives=2, at=(3, 4)),
        did("read", gives=(7, 1), at=(5, 6)),
    ],
    "a compare-and-set that did not compare": [WRITE_7, did("cas", 0, 8, gives=2, at=(3, 4))],
    "a refusal with the wrong version": [WRITE_7, did("cas", 0, 8, gives=Mismatch(2), at=(3, 4))],
    "a version used twice": [
        WRITE_7,
        did("delete", gives=True, at=(3, 4)),
        did("write", 8, gives=1, at=(5, 6)),
    ],
    "two reads in the wrong order": [
        did("write", 7, gives=1, at=(1, 9)),
        did("read", gives=(7, 1), at=(2, 3)),
        did("read", gives=(None, 0), at=(4, 5)),
    ],
    "an unknown write seen before it began": [
        did("read", gives=(7, 1), at=(1, 2)),
        did("write", 7, at=(3, None)),
    ],
    "an unknown write that happened and then did not": [
        did("write", 7, at=(1, None)),
        did("read", gives=(7, 1), at=(2, 3)),
        did("read", gives=(None, 0), at=(4, 5)),
    ],
    "an unknown write that happened twice": [
        did("write", 7, at=(1, None)),
        did("read", gives=(7, 1), at=(2, 3)),
        did("write", 8, gives=2, at=(4, 5)),
        did("read", gives=(7, 3), at=(6, 7)),
    ],
}


@pytest.mark.parametrize("name", LINEARIZABLE)
def test_history_that_has_an_order_is_accepted(name: str) -> None:
    assert linearize(LINEARIZABLE[name]) is not None


@pytest.mark.parametrize("name", NOT_LINEARIZABLE)
def test_history_that_has_no_order_is_refused(name: str) -> None:
    assert linearize(NOT_LINEARIZABLE[name]) is None


def test_order_found_explains_every_result() -> None:
    history = LINEARIZABLE["the write that began last is the first"]
    order = linearize(history)
    assert order is not None
    assert [operation.args for operation in order] == [(8,), (7,), ()]
    assert _replay(order)


def test_unknown_operation_is_in_the_order_only_if_it_happened() -> None:
    happened = linearize(LINEARIZABLE["an unknown write that happened late"])
    never = linearize(LINEARIZABLE["an unknown write that never happened"])
    assert (len(happened or ()), len(never or ())) == (3, 1)


def test_hopeless_search_gives_up() -> None:
    history = [did("write", value, at=(value, None)) for value in range(30)]
    with pytest.raises(Undecided):
        linearize([*history, did("read", gives=(99, 1), at=(40, 41))], budget=1000)


def test_history_is_shown_in_the_order_it_began() -> None:
    text = show([did("read", gives=(7, 1), at=(4, 5)), did("write", 7, at=(1, None))])
    assert [line.split()[0] for line in text.splitlines()] == ["1", "4"]
    assert "write(7) -> unknown" in text


def test_operation_that_the_model_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="increment"):
        step(ABSENT, did("increment", gives=1, at=(0, 1)))


# Histories at random. Operation k takes effect at instant 10 k, and is stretched in both directions.

_KINDS = st.one_of(
    st.just(("read",)),
    st.tuples(st.just("write"), st.integers(0, 3)),
    st.tuples(st.just("cas"), st.integers(0, 4), st.integers(0, 3)),
    st.just(("delete",)),
)
_STRETCH = st.tuples(st.integers(0, 45), st.one_of(st.integers(1, 45), st.none()))
_PLAN = st.tuples(_KINDS, _STRETCH, st.booleans())


def _execute(plan: Sequence[tuple[Any, tuple[int, int | None], bool]]) -> list[Operation]:
    """What is seen of a sequential execution by clients who know only when they asked and were answered."""
    state, history = ABSENT, []
    for number, ((kind, *args), (before, after), happens) in enumerate(plan):
        moment = 10 * number
        operation = did(kind, *args, at=(moment - before, None if after is None else moment + after))
        if after is not None or happens:
            result, state = _perform(state, operation)
            operation = msgspec.structs.replace(operation, result=None if after is None else result)
        history.append(operation)
    return history


def _perform(state: State, operation: Operation) -> tuple[Any, State]:
    """The result the model wants, found by asking it."""
    version, value = state
    candidates = [version + 1, (value, 0 if value is None else version), Mismatch(version), Mismatch(0), True, False]
    for candidate in candidates:
        asked = msgspec.structs.replace(operation, result=candidate, returned=operation.invoked)
        fits, after = step(state, asked)
        if fits:
            return candidate, after
    raise AssertionError(operation)


def _replay(order: Sequence[Operation]) -> bool:
    state = ABSENT
    for operation in order:
        fits, state = step(state, operation)
        if not fits:
            return False
    return True


def _in_real_time(order: Sequence[Operation]) -> bool:
    """No operation comes after one that began when it had ended."""
    pairs = itertools.combinations(order, 2)
    return all(late.returned is None or late.returned >= early.invoked for early, late in pairs)


def _brute_force(history: Sequence[Operation]) -> bool:
    """Every order of all that is known and any of what is not."""
    known = [operation for operation in history if operation.returned is not None]
    unknown = [operation for operation in history if operation.returned is None]
    for count in range(len(unknown) + 1):
        for happened in itertools.combinations(unknown, count):
            orders = itertools.permutations([*known, *happened])
            if any(_in_real_time(order) and _replay(order) for order in orders):
                return True
    return False


@given(st.lists(_PLAN, max_size=40))
@settings(deadline=None, max_examples=150)
def test_what_a_sequential_variable_did_is_accepted(plan: list[Any]) -> None:
    history = _execute(plan)
    order = linearize(random.Random(len(plan)).sample(history, len(history)))
    assert order is not None
    assert _replay(order)
    assert _in_real_time(order)
    assert {id(one) for one in history if one.returned is not None} <= {id(one) for one in order}


_RESULTS = st.one_of(
    st.integers(1, 5),
    st.tuples(st.integers(0, 3), st.integers(1, 5)),
    st.just((None, 0)),
    st.builds(Mismatch, st.integers(0, 5)),
    st.booleans(),
)


@given(st.lists(_PLAN, min_size=1, max_size=5), st.integers(0, 4), _RESULTS)
@settings(deadline=None, max_examples=400)
def test_verdict_is_that_of_trying_every_order(plan: list[Any], index: int, result: Any) -> None:
    history = _execute(plan)
    index %= len(history)
    history[index] = msgspec.structs.replace(history[index], result=result)
    assert (linearize(history) is not None) == _brute_force(history)


def test_most_changed_reads_are_noticed() -> None:
    noticed = 0
    for seed in range(200):
        rng = random.Random(seed)
        plan: list[Any] = []
        for value in range(20):
            kind = rng.choice([("read",), ("write", value), ("cas", value // 2, value)])
            plan.append((kind, (rng.randint(0, 30), rng.randint(1, 30)), True))
        history = _execute([*plan, (("read",), (0, 1), True)])
        index = rng.choice([number for number, one in enumerate(history) if one.kind == "read"])
        value, version = history[index].result
        changed = (rng.randint(0, 19), version + rng.randint(-1, 1))
        history[index] = msgspec.structs.replace(history[index], result=changed)
        noticed += linearize(history) is None
    assert noticed > 180
