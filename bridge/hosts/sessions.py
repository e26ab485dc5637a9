"""The host of ours: sessions and variables in a store, tools by whoever runs them.

What a write does is decided here and committed by the store as if nobody else were there. So a store needs one atomic
operation, and a refused write has changed nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from bridge.errors import BridgeError, Code, invalid_argument
from bridge.host import CallScope
from bridge.hosts.changes import (
    Commit,
    decide_delete,
    decide_register,
    decide_rollback,
    decide_write,
    is_live,
    unpack,
)
from bridge.hosts.glob import Glob
from bridge.hosts.limits import limit_exceeded
from bridge.hosts.session_keeper import SessionKeeper, store_is_full
from bridge.hosts.tools import NoTools, ToolRunner, run_tool, stream_tool
from bridge.hosts.watching import StoredUpdate, Watch, check_watched, session_not_found
from bridge.stores.base import (
    Change,
    Contention,
    Quota,
    QuotaExceeded,
    SessionGone,
    Snapshot,
    Store,
    StoredVariable,
)
from bridge.variables import (
    Declaration,
    Update,
    Variable,
    Write,
    WriteResult,
    check_name,
    check_version,
    variable_not_found,
)

__all__ = ["SessionHost"]

MAX_HISTORY_BYTES = 8 * 1024 * 1024
"""Bytes of values in one answer about history: it has to fit into a message."""

_HISTORY_PAGE = 100

Decide = Callable[[Mapping[str, StoredVariable], Commit], Sequence[Change]]
"""Makes the changes to commit of what is stored and the circumstances. Pure, see ``bridge.stores.base.Decide``."""


class _TooManyVariables(QuotaExceeded):
    """There would be too many even if all that is gone were forgotten."""


class SessionHost(SessionKeeper):
    """Owns sessions and variables. A ``Host``; what it has beyond that is for whoever opens sessions.

    Args:
        store: where they are kept; ``open`` opens it, ``aclose`` closes it.
        tools: runs the host's own tools; ``None``: it has none.
        options: as ``SessionKeeper``'s.
    """

    def __init__(self, store: Store, *, tools: ToolRunner | None = None, **options: Any) -> None:
        super().__init__(store, **options)
        self._tools = NoTools() if tools is None else tools
        self._watches: dict[Watch, str] = {}
        self._watching: Counter[str] = Counter()

    # Variables

    async def read_stored(self, scope: CallScope, names: Collection[str]) -> dict[str, StoredVariable]:
        """``get_variables`` with the values still packed, for who passes them on."""
        self._check_count(len(names))
        for name in names:
            check_name(name)
        snapshot = await self._read(scope, names)
        now = self._clock()
        return {name: stored for name, stored in snapshot.variables.items() if is_live(stored, now)}

    async def list_stored(self, scope: CallScope, pattern: str = "") -> list[StoredVariable]:
        """``list_variables`` with the values still packed, for who passes them on."""
        glob = Glob(pattern)
        await self._read(scope, ())
        snapshot = await self._read(scope, None)
        now = self._clock()
        found = [name for name, stored in snapshot.variables.items() if is_live(stored, now) and glob.matches(name)]
        return [snapshot.variables[name] for name in sorted(found)]

    async def get_variables(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        """Reads variables at one instant; those that do not exist are absent."""
        return {name: unpack(stored) for name, stored in (await self.read_stored(scope, names)).items()}

    async def list_variables(self, scope: CallScope, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted; all without a pattern."""
        return [unpack(stored) for stored in await self.list_stored(scope, pattern)]

    async def set_variable(self, scope: CallScope, write: Write) -> int:
        """``set_variables`` of one write, which is what hosts are asked most; its new version, or the refusal."""
        check_name(write.name)

        def decide(stored: Mapping[str, StoredVariable], commit: Commit) -> Sequence[Change]:
            return (decide_write(write, stored.get(write.name), commit),)

        (change,) = await self._commit(scope, (write.name,), decide)
        return change.records[-1].version

    async def set_variables(
        self, scope: CallScope, writes: Sequence[Write], *, atomic: bool = True
    ) -> dict[str, WriteResult]:
        """Writes variables. Atomic: all or nothing, and the first refusal is raised. Otherwise each name has the new
        version or the error; only what concerns the whole call (the session, the number of writes) is raised."""
        self._check_count(len(writes))
        if len(writes) > 1 and len({write.name for write in writes}) < len(writes):
            raise invalid_argument("writes", "a name must not be there twice")
        if not atomic:
            return await self._set_named(scope, writes)
        for write in writes:
            check_name(write.name)

        def decide(stored: Mapping[str, StoredVariable], commit: Commit) -> list[Change]:
            return [decide_write(write, stored.get(write.name), commit) for write in writes]

        return _versions(await self._commit(scope, [write.name for write in writes], decide))

    async def _set_named(self, scope: CallScope, writes: Sequence[Write]) -> dict[str, WriteResult]:
        """Writes what has a name that may be stored; what has none is refused."""
        named: list[Write] = []
        refused: dict[str, WriteResult] = {}
        for write in writes:
            try:
                check_name(write.name)
                named.append(write)
            except BridgeError as error:
                refused[write.name] = error
        return await self._set_each(scope, named) | refused

    async def _set_each(self, scope: CallScope, writes: Sequence[Write]) -> dict[str, WriteResult]:
        """Writes what can be written, all of it in one commit if there is room."""
        refused: dict[str, WriteResult] = {}

        def decide(stored: Mapping[str, StoredVariable], commit: Commit) -> list[Change]:
            refused.clear()
            changes: list[Change] = []
            for write in writes:
                try:
                    changes.append(decide_write(write, stored.get(write.name), commit))
                except BridgeError as error:
                    refused[write.name] = error
            return changes

        try:
            return _versions(await self._commit(scope, [write.name for write in writes], decide)) | refused
        except BridgeError as error:
            if error.code is not Code.RESOURCE_EXHAUSTED:
                raise
            if len(writes) == 1:
                return {writes[0].name: error}
        half = len(writes) // 2
        return await self._set_each(scope, writes[:half]) | await self._set_each(scope, writes[half:])

    async def register_variable(self, scope: CallScope, declaration: Declaration) -> Variable:
        """Declares a variable. A name that exists gets the new declaration as its next version."""

        def decide(stored: Mapping[str, StoredVariable], commit: Commit) -> list[Change]:
            return [decide_register(declaration, stored.get(declaration.name), commit)]

        (change,) = await self._commit(scope, (declaration.name,), decide)
        return unpack(change.records[-1])

    async def delete_variable(self, scope: CallScope, name: str, *, expected_version: int | None = None) -> None:
        """Deletes a variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is none."""

        def decide(stored: Mapping[str, StoredVariable], commit: Commit) -> list[Change]:
            return [decide_delete(name, expected_version, stored.get(name), commit)]

        await self._commit(scope, (name,), decide, self._no_quota)

    async def _commit(
        self, scope: CallScope, names: Collection[str], decide: Decide, quota: Quota | None = None
    ) -> Sequence[Change]:
        session_id = self._session_id(scope)

        def decide_admitted(snapshot: Snapshot) -> Sequence[Change]:
            self._admitted(snapshot, scope)
            changes = decide(snapshot.variables, Commit(now, scope.changed_by, self.limits, snapshot.floor))
            if quota is not self._no_quota:
                self._check_variables(snapshot, changes)
            return changes

        quota = quota or self._quota
        has_swept = False
        while True:
            now = self._clock()  # each time: a session that is gone may be there again
            try:
                return await self._store.transact(session_id, names, decide_admitted, quota, now)
            except SessionGone:
                await self._read(scope, ())  # raises, or opens it
            except QuotaExceeded as exceeded:
                if quota is self._last_quota or (has_swept and isinstance(exceeded, _TooManyVariables)):
                    raise store_is_full(exceeded, "nothing was written") from None
                await self.sweep()
                has_swept = True
                if not isinstance(exceeded, _TooManyVariables):
                    # History goes before anything is refused.
                    await self._store.trim(session_id)
                    quota = self._last_quota
            except Contention:
                message = "other writers were faster again and again: try again"
                raise BridgeError(Code.ABORTED, message, reason="CONTENTION") from None

    def _check_variables(self, snapshot: Snapshot, changes: Sequence[Change]) -> None:
        """Refuses more variables than there may be; the store also counts names that are gone."""
        more = 0
        for change in changes:
            stored = snapshot.variables.get(change.name)
            if stored is None or stored.is_gone:
                more += 1
        if more and snapshot.variable_count + more > self.limits.max_variables:
            raise _TooManyVariables("max_variables", self.limits.max_variables)

    def _check_count(self, count: int) -> None:
        maximum = self.limits.max_names_per_call
        if count > maximum:
            raise limit_exceeded("max_names_per_call", maximum, f"{count} variables in one call", "use several calls")

    # What was

    async def read_history(self, scope: CallScope, name: str, *, limit: int = 0) -> list[StoredVariable]:
        """``get_history`` with the values still packed, for who passes them on."""
        check_name(name)
        if limit < 0:
            raise invalid_argument("limit", "must be 0 or more")
        snapshot = await self._read(scope, (name,))
        newest: deque[StoredVariable] = deque(maxlen=limit or None)
        position, is_complete = 0, False
        if limit and name in snapshot.variables:
            position = max(0, snapshot.variables[name].version - limit)
        while not is_complete:
            log = await self._store.read_log(
                scope.session_id, {name: position}, self._clock(), limit=_HISTORY_PAGE, max_bytes=MAX_HISTORY_BYTES
            )
            if log is None:
                raise session_not_found()
            newest.extend(log.records)
            position = log.records[-1].version if log.records else position
            is_complete = position >= log.newest.get(name, 0)
            while len(newest) > 1 and sum(len(record.payload) for record in newest) > MAX_HISTORY_BYTES:
                newest.popleft()
        if not newest:
            raise variable_not_found(name)
        return [*reversed(newest)]

    async def get_history(self, scope: CallScope, name: str, *, limit: int = 0) -> list[Update]:
        """The changes of a variable that are still kept, newest first, the current one included; at most ``limit``
        (0: all), and not more than fits into a message. NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if none is."""
        return [Update(stored.kind, unpack(stored)) for stored in await self.read_history(scope, name, limit=limit)]

    async def rollback_variable(
        self, scope: CallScope, name: str, version: int, *, expected_version: int | None = None
    ) -> Variable:
        """Writes the value of an earlier version again, as a new version; OUT_OF_RANGE, reason ``VERSION_GONE``, if it
        is not kept."""
        check_name(name)
        check_version(version, "target_version")
        await self._read(scope, ())
        log = await self._store.read_log(
            scope.session_id, {name: max(version - 1, 0)}, self._clock(), limit=1, max_bytes=MAX_HISTORY_BYTES
        )
        if log is None:
            raise session_not_found()
        if name not in log.newest:
            raise variable_not_found(name)
        target = log.records[0] if log.records else None
        if target is None or target.version != version or target.is_gone:
            raise _version_gone(name, version, target, log.newest[name])

        def decide(stored: Mapping[str, StoredVariable], commit: Commit) -> list[Change]:
            return [decide_rollback(target, expected_version, stored.get(name), commit)]

        (change,) = await self._commit(scope, (name,), decide)
        return unpack(change.records[-1])

    async def watch_stored(
        self, scope: CallScope, names: Collection[str], *, initial: bool, resume_after: Mapping[str, int]
    ) -> AsyncGenerator[StoredUpdate, None]:
        """``watch_variables`` with the values still packed, for who passes them on."""
        watched = check_watched(names, resume_after, self.limits)
        session_id = self._session_id(scope)
        # Before it listens: if this opens the session, those who listened to the one before are told that it expired.
        await self._read(scope, ())
        maximum = self.limits.max_watches
        if self._watching[session_id] >= maximum:
            raise limit_exceeded("max_watches", maximum, "the session", "end some, or watch more names in one")
        watch = Watch(self._store, session_id, watched, initial=initial, clock=self._clock)
        self._watches[watch] = session_id
        self._watching[session_id] += 1
        try:
            async with aclosing(watch.run(lambda: self._read(scope, watched))) as updates:
                async for update in updates:
                    yield update
        finally:
            del self._watches[watch]
            self._watching[session_id] -= 1
            if not self._watching[session_id]:
                del self._watching[session_id]

    async def watch_variables(
        self,
        scope: CallScope,
        names: Sequence[str],
        *,
        initial: bool = False,
        resume_after: Mapping[str, int] | None = None,
    ) -> AsyncGenerator[Update, None]:
        """Yields ``STARTED``, then the values there are if ``initial``, then every committed change in order; see
        ``bridge.host.Host.watch_variables``. RESOURCE_EXHAUSTED if the session is watched too often already."""
        updates = self.watch_stored(scope, names, initial=initial, resume_after=resume_after or {})
        async with aclosing(updates):
            async for update in updates:
                yield _update(update)

    def end_watches(self, error: BridgeError) -> None:
        """Lets all watches raise this; for a host that stops."""
        for watch in self._watches:
            watch.end(error)

    # Tools

    async def call_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Runs a tool of the host and returns its result."""
        return await run_tool(self._tools, self, scope, tool, arguments)

    def stream_tool(self, scope: CallScope, tool: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Runs a streaming tool of the host; an async generator of what it yields."""
        return stream_tool(self._tools, self, scope, tool, arguments)


def _versions(changes: Sequence[Change]) -> dict[str, WriteResult]:
    return {change.name: change.records[-1].version for change in changes}


def _update(update: StoredUpdate) -> Update:
    variable = None if update.variable is None else unpack(update.variable)
    return Update(update.kind, variable, update.positions)


def _version_gone(name: str, version: int, found: StoredVariable | None, newest: int) -> BridgeError:
    if found is None or version == 0:
        what = f"{name} is at version {newest} and has never been at {version}"
    elif found.version == version:
        what = f"version {version} of {name} is its end: there is no value to go back to"
    else:
        what = f"version {version} of {name} is not kept any more; the earliest is {found.version}"
    return BridgeError(Code.OUT_OF_RANGE, f"{what}. Its history says what is there", reason="VERSION_GONE")
