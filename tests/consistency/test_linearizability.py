"""What clients see of a variable at the same time is what one variable, used by one client after another, would show.

A history that is refused is printed with its seed. The seed decides what the clients do; the operating system decides
when, so a seed is where to begin to look, not a promise that it happens again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import pytest

from bridge.host import CallScope
from bridge.hosts.sessions import SessionHost
from bridge.stores.base import Change, Decide, Quota, Snapshot
from tests.consistency.conftest import Deploy, InterleavedStore
from tests.consistency.histories import assert_linearizable, record
from tests.consistency.linearizability import linearize

HISTORIES = 20


async def test_histories_are_linearizable(deploy: Deploy) -> None:
    hosts = await deploy()
    for seed in range(HISTORIES):
        async with asyncio.timeout(10):
            session = await hosts[0].open_session(CallScope())
            assert_linearizable(await record(hosts, session.session_id, seed), seed)
            await hosts[0].close_session(CallScope(session.session_id))


async def test_histories_of_clients_who_give_up_are_linearizable(deploy: Deploy) -> None:
    hosts = await deploy()
    unknown = 0
    for seed in range(HISTORIES):
        async with asyncio.timeout(10):
            session = await hosts[0].open_session(CallScope())
            history = await record(hosts, session.session_id, seed, impatience=0.15)
        assert_linearizable(history, seed)
        unknown += sum(operation.returned is None for operation in history)
    assert unknown > 0


async def test_clients_meet_and_compare_and_sets_win_and_lose(deploy: Deploy) -> None:
    """Otherwise the test above would show little."""
    hosts = await deploy()
    async with asyncio.timeout(10):
        session = await hosts[0].open_session(CallScope())
        history = await record(hosts, session.session_id, "meet")
    answered = [one for one in history if one.returned is not None]
    assert any(one.invoked < other.invoked < (one.returned or 0) for one in answered for other in answered)
    outcomes = {type(one.result) for one in answered if one.kind == "cas"}
    assert len(outcomes) == 2


class ForgetfulStore(InterleavedStore):
    """Acknowledges before it commits, and sometimes does not commit."""

    rng = random.Random(0)

    async def transact(
        self, session_id: str, names: Collection[str], decide: Decide, quota: Quota, now: float, **options: Any
    ) -> Sequence[Change]:
        if self.rng.random() < 0.05:
            snapshot = await super().read(session_id, names, now)
            return [] if snapshot is None else decide(snapshot)
        return await super().transact(session_id, names, decide, quota, now, **options)


class StaleStore(InterleavedStore):
    """Sometimes reads what it has read before."""

    rng = random.Random(0)
    cached: Snapshot | None = None

    async def read(self, session_id: str, names: Collection[str] | None, now: float) -> Snapshot | None:
        cached = self.cached
        if not names:
            return await super().read(session_id, names, now)
        if cached is None or cached.session.session_id != session_id or self.rng.random() < 0.8:
            self.cached = await super().read(session_id, names, now)
        return self.cached


class CarelessStore(InterleavedStore):
    """Commits what was decided, whether or not that is what is there by now."""

    async def transact(
        self, session_id: str, names: Collection[str], decide: Decide, quota: Quota, now: float, **options: Any
    ) -> Sequence[Change]:
        snapshot = await super().read(session_id, names, now)
        assert snapshot is not None
        changes = decide(snapshot)
        return await super().transact(session_id, names, lambda _: changes, quota, now, **options)


class RebasingStore(InterleavedStore):
    """Gives every change the next version, without looking at the version it was decided on."""

    async def transact(
        self, session_id: str, names: Collection[str], decide: Decide, quota: Quota, now: float, **options: Any
    ) -> Sequence[Change]:
        decided_on = await super().read(session_id, names, now)
        assert decided_on is not None

        def rebase(snapshot: Snapshot) -> Sequence[Change]:
            return [_rebased(change, snapshot) for change in decide(decided_on)]

        return await super().transact(session_id, names, rebase, quota, now, **options)


def _rebased(change: Change, snapshot: Snapshot) -> Change:
    there = snapshot.variables.get(change.name)
    version = 0 if there is None else there.version
    (committed,) = change.records
    return Change(change.name, version, (msgspec.structs.replace(committed, version=version + 1),))


@pytest.mark.parametrize("store", [ForgetfulStore, StaleStore, CarelessStore, RebasingStore])
async def test_broken_store_is_caught(store: Callable[[], InterleavedStore]) -> None:
    host = SessionHost(store())
    async with asyncio.timeout(20):
        for seed in range(HISTORIES):
            session = await host.open_session(CallScope())
            if linearize(await record([host], session.session_id, seed)) is None:
                return
    pytest.fail(f"{HISTORIES} histories of it look right")
