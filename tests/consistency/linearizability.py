"""Decides whether a history of concurrent operations could have been the work of one sequential variable.

The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993): take, again and again, an operation
that began before every other one that is left had ended, and see whether the model gives the result that was seen.
Lowe's memoisation ("Testing for Linearizability", 2017) cuts it: the same operations done and the same state reached
need no second look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

__all__ = ["ABSENT", "Mismatch", "Operation", "State", "Undecided", "linearize", "show", "step"]


class Mismatch(msgspec.Struct, frozen=True):
    """A compare-and-set was refused."""

    version: int
    """The version the variable had; 0: there was none."""


class Operation(msgspec.Struct, frozen=True):
    """What a client did and what came of it.

    ============================  =====================================================================
    kind and args                 result
    ============================  =====================================================================
    ``read``                      ``(value, version)``; ``(None, 0)``: there is none
    ``write``, value              the new version
    ``cas``, version, value       the new version, or ``Mismatch``; version 0: only if there is none
    ``delete``                    whether there was one
    ============================  =====================================================================
    """

    client: int
    kind: str
    args: tuple[int, ...]
    result: Any
    """Means nothing without ``returned``."""
    invoked: float
    """When it began, on a clock that all clients share."""
    returned: float | None
    """When it ended; ``None``: nobody knows, so it may have taken effect at any time since, or never."""


State = tuple[int, int | None]
"""Version of the newest record, and the value; ``None``: there is none, or it is gone."""

ABSENT: State = (0, None)
"""A variable that was never there."""

Step = Callable[[Any, Operation], tuple[bool, Any]]
"""Says whether an operation fits a state, and the state after it."""


class Undecided(Exception):
    """The history is too tangled to be searched."""


def step(state: State, operation: Operation) -> tuple[bool, State]:
    """A variable as it is meant to be: one value, a version that every change raises by one, compare-and-set."""
    version, value = state
    current = 0 if value is None else version
    expected: Any
    after = state
    match operation.kind, operation.args:
        case "read", ():
            expected = (value, current)
        case "write", (written,):
            expected, after = version + 1, (version + 1, written)
        case "cas", (base, written):
            if base == current:
                expected, after = version + 1, (version + 1, written)
            else:
                expected = Mismatch(current)
        case "delete", ():
            expected = value is not None
            after = (version + 1, None) if expected else state
        case _:
            raise ValueError(f"the model has no {operation.kind} of {len(operation.args)} arguments")
    # A boolean is an integer too, and True would pass for version 1.
    fits = type(operation.result) is type(expected) and operation.result == expected
    return operation.returned is None or fits, after


def linearize(
    history: Iterable[Operation], step: Step = step, initial: Any = ABSENT, *, budget: int = 200_000
) -> list[Operation] | None:
    """One order of the operations that explains every result; ``None`` if there is none.

    Operations of unknown outcome are in it if they changed something.

    Args:
        history: the operations, in any order.
        step: the model.
        initial: its state before the first operation, hashable.
        budget: configurations to look at before it gives up: about a second's worth.

    Raises:
        Undecided: the budget is used up.
    """
    operations = sorted(history, key=lambda operation: operation.invoked)
    needed = sum(1 << index for index, operation in enumerate(operations) if operation.returned is not None)
    seen = {(0, initial)}
    paths: list[tuple[int, Any, _Path]] = [(0, initial, None)]
    while paths:
        done, state, path = paths.pop()
        if done & needed == needed:
            return _unroll(path)
        for index in _next(operations, done):
            operation = operations[index]
            fits, after = step(state, operation)
            if not fits or (operation.returned is None and after == state):
                continue  # what is unknown and changes nothing may as well not have happened
            configuration = (done | 1 << index, after)
            if configuration not in seen:
                seen.add(configuration)
                paths.append((*configuration, (operation, path)))
        if len(seen) > budget:
            raise Undecided(f"{len(operations)} operations, more than {budget} configurations")
    return None


_Path = tuple[Operation, Any] | None
"""The last operation and those before it, linked, so that paths share what they have in common."""


def _next(operations: Sequence[Operation], done: int) -> Iterator[int]:
    """The operations that may be next: those that began before any other that is left had ended."""
    left = [index for index in range(len(operations)) if not done >> index & 1]
    ends = (operations[index].returned for index in left)
    horizon = min((end for end in ends if end is not None), default=math.inf)
    for index in left:
        if operations[index].invoked > horizon:
            return
        yield index


def _unroll(path: _Path) -> list[Operation]:
    order = []
    while path is not None:
        operation, path = path
        order.append(operation)
    return order[::-1]


def show(history: Iterable[Operation]) -> str:
    """A history for people, a line for each operation."""
    lines = []
    for one in sorted(history, key=lambda operation: operation.invoked):
        args = ", ".join(map(str, one.args))
        outcome = "unknown" if one.returned is None else f"{one.result} at {one.returned}"
        lines.append(f"{one.invoked:>6}  client {one.client}: {one.kind}({args}) -> {outcome}")
    return "\n".join(lines)
