"""Any history of calls leaves in a store what it leaves in a plain list of records."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

import msgspec
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

from bridge.stores.base import Change, Quota, QuotaExceeded, SessionGone, Snapshot, Store
from tests.support.records import NOW, ROOMY, expiring, gone, session, value
from tests.support.storage import MakeStorage
from tests.support.store_model import Drafts, Kept, check_log, planned

NAMES = ("a", "b", "c", "d")
SESSIONS = ("s", "t", "u")
OWNERS = ("", "alice")
TTL = 40.0
MAX_SESSIONS = 2
EVERYTHING = dict.fromkeys(NAMES, 0)

one_draft = st.one_of(
    st.builds(
        lambda length, size, ttl: value("", bytes(length), size=size, expires_at=ttl),
        st.integers(0, 4),
        st.sampled_from([0, 10, 11, 25]),
        st.one_of(st.none(), st.integers(1, 30).map(float)),
    ),
    st.just(gone("", size=4)),
)
drafts = st.dictionaries(st.sampled_from(NAMES), one_draft, min_size=1, max_size=3)
quotas = st.sampled_from(
    [ROOMY, Quota(2, 9_999, 3, 9_999), Quota(3, 60, 2, 25), Quota(9, 9_999, 9, 25), Quota(9, 40, 0, 0)]
)
positions = st.one_of(st.just(EVERYTHING), st.dictionaries(st.sampled_from(NAMES), st.integers(0, 12)))
looks = st.tuples(
    positions, st.one_of(st.integers(1, 6), st.just(1_000)), st.one_of(st.integers(0, 12), st.just(1_000))
)
sessions = st.sampled_from(SESSIONS)


class Refused(Exception):
    """A decision says no."""


class StoreMachine(RuleBasedStateMachine):
    """A store and a list side by side."""

    make_storage: MakeStorage

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.opened = 0
        self.kept: dict[str, Kept] = {}
        self.loop = asyncio.new_event_loop()
        self.storage = type(self).make_storage()
        self.stores: list[Store] = []
        self.turn = 0

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(call, 10))

    @property
    def store(self) -> Store:
        """Every handle in turn."""
        self.turn += 1
        return self.stores[self.turn % len(self.stores)]

    def live(self, session_id: str) -> Kept | None:
        kept = self.kept.get(session_id)
        return kept if kept is not None and kept.expires_at > self.now else None

    def one_alive(self, wish: str) -> str:
        """This session or another that is there: what happens to none is soon told."""
        alive = [name for name in (wish, *self.kept) if self.live(name)]
        if alive:
            return alive[0]
        for name in tuple(self.kept):
            self.delete(name, only_expired=True)
        self.create(wish, "", 0.0)
        return wish

    def teardown(self) -> None:
        self.run(self.storage.aclose())
        self.loop.close()

    @initialize()
    def begin(self) -> None:
        handles = 2 if self.storage.kind == "redis" else 1
        self.stores = [self.run(self.storage.open()) for _ in range(handles)]
        self.create("s", "", 0.0)

    @rule(session_id=sessions, owner=st.sampled_from(OWNERS), more=st.sampled_from([0.0, 20.0]))
    def create(self, session_id: str, owner: str, more: float) -> None:
        made = session(session_id, owner=owner, created_at=self.now + self.opened / 1024, ttl=TTL)
        self.opened += 1  # so that no two are of the same moment, and the order of a list is certain
        ends = self.now + TTL + more
        is_there, is_full = session_id in self.kept, len(self.kept) >= MAX_SESSIONS
        try:
            answer = self.run(self.store.create_session(made, ends, max_sessions=MAX_SESSIONS))
        except QuotaExceeded as exceeded:
            answer = exceeded.limit
        # If both stand against it, either may be said.
        assert answer in ([False] * is_there + ["max_sessions"] * is_full or [True])
        if answer is True:
            self.kept[session_id] = Kept(made, ends)

    @rule(session_id=sessions, batches=st.lists(drafts, min_size=1, max_size=5), quota=quotas)
    def write(self, session_id: str, batches: list[Drafts], quota: Quota) -> None:
        for wanted in batches:
            self.transact(self.one_alive(session_id), wanted, quota)

    @rule(session_id=sessions, wanted=drafts, refuses=st.booleans())
    def write_perhaps_in_vain(self, session_id: str, wanted: Drafts, refuses: bool) -> None:
        self.transact(session_id, wanted, ROOMY, refuses=refuses)

    def transact(self, session_id: str, wanted: Drafts, quota: Quota, *, refuses: bool = False) -> None:
        now, kept, seen = self.now, self.live(session_id), list[Snapshot]()

        def decide(snapshot: Snapshot) -> list[Change]:
            seen.append(snapshot)
            if refuses:
                raise Refused
            return planned(snapshot, wanted, now)

        answer: Any
        try:
            answer = list(self.run(self.store.transact(session_id, list(wanted), decide, quota, now)))
        except SessionGone:
            assert kept is None
            return
        except (Refused, QuotaExceeded) as error:
            answer = error
        assert kept is not None
        expected = kept.snapshot(wanted)
        assert without_end(seen[-1]) == without_end(expected)
        if isinstance(answer, Refused):
            assert refuses
        else:
            changes = planned(expected, wanted, now)
            exceeded = kept.commit(changes, quota)
            if isinstance(answer, QuotaExceeded):
                assert answer.limit in exceeded
            else:
                assert (answer, exceeded) == (changes, set())
        kept.renew(now)

    @rule(session_id=sessions, names=st.one_of(st.none(), st.lists(st.sampled_from(NAMES), unique=True)))
    def read(self, session_id: str, names: list[str] | None) -> None:
        snapshot = self.run(self.store.read(session_id, names, self.now))
        kept = self.live(session_id)
        if kept is None:
            assert snapshot is None
            return
        kept.renew(self.now)
        assert snapshot == kept.snapshot(NAMES if names is None else names)

    @rule(session_id=sessions, looks=st.lists(looks, min_size=1, max_size=4))
    def read_some_log(self, session_id: str, looks: list[tuple[dict[str, int], int, int]]) -> None:
        for after, limit, max_bytes in looks:
            self.look(self.one_alive(session_id), after, limit, max_bytes)

    def look(self, session_id: str, after: dict[str, int], limit: int, max_bytes: int) -> None:
        log = self.run(self.store.read_log(session_id, after, self.now, limit=limit, max_bytes=max_bytes))
        kept = self.live(session_id)
        assert (log is None) == (kept is None)
        if kept is not None:
            check_log(log, kept, after, limit, max_bytes)

    @rule(wish=sessions)
    def trim(self, wish: str) -> None:
        session_id = self.one_alive(wish)
        self.run(self.store.trim(session_id))
        self.kept[session_id].trim()

    @rule(session_id=sessions, only_expired=st.booleans())
    def delete(self, session_id: str, *, only_expired: bool) -> None:
        done = self.run(self.store.delete_session(session_id, expired_by=self.now if only_expired else None))
        kept = self.kept.get(session_id)
        assert done == (kept is not None and (not only_expired or kept.expires_at <= self.now))
        if done:
            del self.kept[session_id]

    @rule(seconds=st.one_of(st.just(0.5), st.integers(1, 12), st.just(TTL)))  # also to the very end of a session
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def wait_for_what_ends_next(self) -> None:
        ends = [end for kept in self.kept.values() for end in kept.ends if end > self.now]
        self.now = min(ends, default=self.now)

    @rule(limit=st.integers(1, 3), looks=st.integers(1, 4))
    def sweep(self, limit: int, looks: int) -> None:
        for _ in range(looks):
            for session_id, names in as_sets(self.run(self.store.due(self.now, limit))).items():
                self.end(session_id, names)

    def end(self, session_id: str, names: set[str]) -> None:
        kept = self.kept[session_id]
        if not names:
            assert kept.expires_at <= self.now
            assert self.run(self.store.delete_session(session_id, expired_by=self.now))
            del self.kept[session_id]
            return
        assert names <= kept.due(self.now)
        decide = expiring(self.now)
        changes = list(self.run(self.store.transact(session_id, names, decide, ROOMY, self.now, renew=False)))
        assert sorted(changes, key=by_name) == sorted(decide(kept.snapshot(names)), key=by_name)
        kept.commit(changes, ROOMY)

    @precondition(lambda self: self.storage.kind != "memory")
    @rule()
    def open_again(self) -> None:
        self.stores = [self.run(self.storage.reopen())]

    @invariant()
    def same(self) -> None:
        for owner in OWNERS:
            listed = self.run(self.store.list_sessions(owner, self.now, 10))
            own = [kept for kept in map(self.live, self.kept) if kept is not None and kept.session.owner == owner]
            own.sort(key=lambda kept: kept.session.created_at, reverse=True)
            assert listed == [kept.snapshot(()) for kept in own]
        for session_id in SESSIONS:
            self.look(session_id, EVERYTHING, 1_000, 1_000_000)
        over = {name: kept.due(self.now) if self.live(name) else set() for name, kept in self.kept.items()}
        over = {name: names for name, names in over.items() if names or not self.live(name)}
        assert as_sets(self.run(self.store.due(self.now, 1_000))) == over


def by_name(change: Change) -> str:
    return change.name


def as_sets(found: Iterable[Any]) -> dict[str, set[str]]:
    """What is due, by session; each session is there once."""
    found = list(found)
    by_session = {due.session_id: set(due.names) for due in found}
    assert len(by_session) == len(found)
    return by_session


def without_end(snapshot: Snapshot) -> Snapshot:
    """Whether a decision already sees the renewed end is left open."""
    return msgspec.structs.replace(snapshot, expires_at=0.0)


@pytest.mark.timeout(300)  # for the search of a small example once it fails
def test_store_behaves_like_a_list(make_storage: MakeStorage) -> None:
    examples = 100 if make_storage().kind == "memory" else 30
    wanted = settings(max_examples=examples, stateful_step_count=30, deadline=None, report_multiple_bugs=False)
    machine = type("Machine", (StoreMachine,), {"make_storage": staticmethod(make_storage)})
    run_state_machine_as_test(machine, settings=wanted)
