"""Writers and watchers of some variables, and a check that each watcher saw what the writers did."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from contextlib import aclosing
from typing import Literal

import msgspec

from bridge.errors import BridgeError, Code
from bridge.host import CallScope, Host
from bridge.variables import UpdateKind, Variable, Write
from tests.consistency.histories import Outage

__all__ = ["LAST", "NAMES", "Gap", "Journal", "Watcher", "check", "write_all"]

NAMES = ("a", "b", "c", "d")
LAST = -1
"""The value that is written when everybody has finished."""

_WRITERS = 8
_TURNS = 12
"""Of each writer: a write, a batch or a deletion."""


class Gap(msgspec.Struct, frozen=True):
    """Versions that a watcher was told it cannot have."""

    after: int
    until: int
    """The last of them."""


class Journal:
    """What the writers did."""

    def __init__(self) -> None:
        self.written: dict[tuple[str, int], int] = {}
        """Values by name and version, of writes that were acknowledged."""
        self.deleted = dict.fromkeys(NAMES, 0)
        """Deletions that were acknowledged."""
        self.unknown: set[int] = set()
        """Values of writes whose outcome nobody knows."""
        self.unknown_deletions = dict.fromkeys(NAMES, 0)
        self.turns = 0
        self._values = itertools.count(1)
        self._finished = False
        self._progress = asyncio.Condition()

    async def turn(self, rng: random.Random, host: Host, scope: CallScope) -> bool:
        """Does something at random, and writes down what came of it; whether that is known."""
        names = rng.sample(NAMES, rng.choice([1, 1, 2]))
        known = await (
            self._delete(names[0], host, scope)
            if rng.random() < 0.25
            else self.write({name: next(self._values) for name in names}, host, scope)
        )
        async with self._progress:
            self.turns += 1
            self._progress.notify_all()
        return known

    async def write(self, values: dict[str, int], host: Host, scope: CallScope) -> bool:
        """Writes values, all or nothing, and writes down what came of it; whether that is known."""
        try:
            versions = await host.set_variables(scope, [Write(name=name, value=values[name]) for name in values])
        except BridgeError as error:
            if error.code is not Code.UNAVAILABLE:
                raise
            self.unknown.update(values.values())
            return False
        for name, version in versions.items():
            assert isinstance(version, int)
            assert (name, version) not in self.written, "a version was given twice"
            self.written[name, version] = values[name]
        return True

    async def _delete(self, name: str, host: Host, scope: CallScope) -> bool:
        try:
            await host.delete_variable(scope, name)
        except BridgeError as error:
            if error.code is Code.UNAVAILABLE:
                self.unknown_deletions[name] += 1
                return False
            if error.reason != "VARIABLE_NOT_FOUND":
                raise
            return True
        self.deleted[name] += 1
        return True

    async def finish(self, host: Host, scope: CallScope) -> None:
        """Writes the last value of every variable, by which watchers know that there is no more to come."""
        assert await self.write(dict.fromkeys(NAMES, LAST), host, scope), "nobody answered"
        async with self._progress:
            self._finished = True
            self._progress.notify_all()

    async def reached(self, turns: int) -> None:
        """Returns when the writers have done so many turns; never, if they do not."""
        async with self._progress:
            await self._progress.wait_for(lambda: self.turns >= turns)

    async def reached_or_finished(self, turns: int) -> None:
        """Returns when the writers have done so many turns, or everything."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._finished or self.turns >= turns)


async def write_all(
    journal: Journal, hosts: Sequence[Host], scope: CallScope, seed: object, outage: Outage | None = None
) -> None:
    """Lets all writers do all their turns at the same time, and finishes the journal."""
    outage = outage or Outage()

    async def write(writer: int) -> None:
        rng = random.Random(f"{seed}/writer {writer}")
        for _ in range(_TURNS):
            if not await journal.turn(rng, hosts[writer % len(hosts)], scope):
                await outage.over()
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for writer in range(_WRITERS):
            group.create_task(write(writer))
    await journal.finish(hosts[0], scope)


class Watcher:
    """Watches all variables, leaves at random moments, and comes back to where it was.

    Args:
        journal: of the writers; by its progress the watcher counts time.
        hosts: ways to the session; each connection takes one of them.
        scope: the session.
        seed: decides when it leaves.
        begin: with the ``"first"`` version, with the ``"initial"`` values, or with what happens from ``"now"`` on; that
            must be before anything has happened.
        absence: turns of the writers it misses between two connections.
        outage: what it waits for when nobody answers.
    """

    def __init__(
        self,
        journal: Journal,
        hosts: Sequence[Host],
        scope: CallScope,
        seed: object,
        *,
        begin: Literal["first", "now", "initial"] = "first",
        absence: int = 0,
        outage: Outage | None = None,
    ) -> None:
        self.seen: dict[str, list[Variable | Gap]] = {name: [] for name in NAMES}
        self.kinds: dict[tuple[str, int], UpdateKind] = {}
        self.connections = 0
        self.failures = 0
        self.started = asyncio.Event()
        self.begin = begin
        self._positions: dict[str, int] = dict.fromkeys(NAMES, 0) if begin == "first" else {}
        self._finished: set[str] = set()
        self._journal = journal
        self._hosts = hosts
        self._scope = scope
        self._rng = random.Random(f"{seed}/watcher")
        self._absence = absence
        self._outage = outage or Outage()

    async def run(self) -> None:
        """Watches until every variable has its last value."""
        while len(self._finished) < len(NAMES):
            self.connections += 1
            try:
                if self._rng.random() < 0.5:
                    await self._watch(self._rng.randint(1, 12))
                else:
                    await self._watch_until(self._journal.turns + self._rng.randint(1, 12))
            except BridgeError as error:
                if error.reason == "WATCH_BEHIND":
                    self._note_gap(error)
                elif error.code is Code.UNAVAILABLE:
                    self.failures += 1
                    await self._outage.over()
                else:
                    raise
            if self._absence:
                await self._journal.reached_or_finished(self._journal.turns + self._absence)

    async def _watch_until(self, turns: int) -> None:
        """Watches until the writers have done so many turns, and is then cut off wherever it is.

        If they do not do so many it stays to the end, so that the last updates come by the watch and by nothing else.
        """
        watch = asyncio.create_task(self._watch(0))
        enough = asyncio.create_task(self._journal.reached(turns))
        try:
            await asyncio.wait({watch, enough}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            enough.cancel()
            results = await asyncio.gather(watch, enough, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _watch(self, patience: int) -> None:
        """Watches until so many updates have come (0: any number), or the last."""
        host = self._rng.choice(self._hosts)
        initial = self.begin == "initial"
        updates = host.watch_variables(self._scope, NAMES, initial=initial, resume_after=dict(self._positions))
        async with aclosing(updates):
            async for update in updates:
                if update.variable is None:
                    self._note_start()
                    continue
                self._note(update.kind, update.variable)
                patience -= 1
                if patience == 0 or len(self._finished) == len(NAMES):
                    return

    def _note_start(self) -> None:
        if self.begin == "now" and not self._positions:
            self._positions = dict.fromkeys(NAMES, 0)
        self.started.set()

    def _note(self, kind: UpdateKind, variable: Variable) -> None:
        name = variable.name
        self.seen[name].append(variable)
        self.kinds[name, variable.version] = kind
        self._positions[name] = variable.version
        if variable.value == LAST:
            self._finished.add(name)

    def _note_gap(self, error: BridgeError) -> None:
        name, until = error.details.metadata["name"], int(error.details.metadata["resume_after"])
        self.seen[name].append(Gap(self._positions[name], until))
        self._positions[name] = until


def check(watcher: Watcher, journal: Journal) -> None:
    """Fails unless the watcher saw every version exactly once, in order, as it was written, up to the last one."""
    for name in NAMES:
        seen = watcher.seen[name]
        first = seen[0]
        position = first.version - 1 if watcher.begin == "initial" and isinstance(first, Variable) else 0
        complete = position == 0
        for one in seen:
            if isinstance(one, Gap):
                assert one.after == position, (name, one, position)
                assert one.until > position, (name, one)
                position, complete = one.until, False
            else:
                position += 1
                assert one.version == position, f"{name}: version {one.version} came instead of {position}"
                _check_version(name, one, watcher, journal)
        assert position == max(version for written, version in journal.written if written == name)
        if complete:
            deletions = sum(watcher.kinds[name, version] is UpdateKind.DELETED for version in range(1, position + 1))
            least = journal.deleted[name]
            assert least <= deletions <= least + journal.unknown_deletions[name]


def _check_version(name: str, seen: Variable, watcher: Watcher, journal: Journal) -> None:
    kind = watcher.kinds[name, seen.version]
    written = journal.written.get((name, seen.version))
    if kind is UpdateKind.DELETED:
        assert (seen.value, written) == (None, None)
    elif kind is UpdateKind.INITIAL:
        assert watcher.begin == "initial"
        assert seen is watcher.seen[name][0]
        assert seen.value == written or seen.value in journal.unknown
    else:
        assert kind is UpdateKind.CHANGED
        assert seen.value == written or (written is None and seen.value in journal.unknown)
