"""Bounds of integers of any size are kept exactly, as the integers are."""

from __future__ import annotations

import pytest

from bridge.stores.base import Store
from bridge.variables import Constraints
from tests.support.records import NOW, commit, create, value


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(min=0, max=2**64 - 1),
        Constraints(min=0, max=2**64),
        Constraints(min=-(2**63) - 1, max=0.5),
        Constraints(min=-(2**1024) + 1, max=2**1024 - 1),
        Constraints(max=2**64, choices=("a",), shape=(-1, 2), pattern="0x10"),
    ],
    ids=["unsigned", "above", "below", "longest", "among others"],
)
async def test_bounds_of_more_than_64_bits_are_exact(store: Store, constraints: Constraints) -> None:
    await create(store)
    await commit(store, value("a", constraints=constraints))
    snapshot = await store.read("s", None, NOW)
    assert snapshot is not None
    assert repr(snapshot.variables["a"].constraints) == repr(constraints)
