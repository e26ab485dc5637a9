"""Watches: everything that happens to some variables, in order, for one listener.

A watch is a position in each variable's row of records. It reads what is after that, hands it on, and sleeps until its
store says that something was committed. So nothing is buffered here and a lost or doubled signal does no harm; how far
a watch may be behind is how much history is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping

import msgspec

from bridge.errors import BridgeError, Code, ErrorDetails, invalid_argument
from bridge.hosts.changes import live
from bridge.hosts.limits import HostLimits, limit_exceeded
from bridge.stores.base import Log, Signal, Snapshot, Store, StoredVariable
from bridge.variables import UpdateKind, check_name, check_version

__all__ = ["StoredUpdate", "Watch", "check_watched", "session_not_found"]

_PAGE = 64
"""Records read at once."""
_PAGE_BYTES = 4 * 1024 * 1024
LOOK_AGAIN = 10.0
"""Seconds after which a watch reads although it was told of nothing."""


class StoredUpdate(msgspec.Struct, frozen=True):
    """``bridge.variables.Update`` with the value still packed."""

    kind: UpdateKind
    variable: StoredVariable | None = None
    positions: Mapping[str, int] = msgspec.field(default_factory=dict)


def session_not_found(reason: str = "SESSION_NOT_FOUND") -> BridgeError:
    """There is no such session, or the caller may not know of it."""
    return BridgeError(Code.NOT_FOUND, _GONE[reason], reason=reason)


_GONE = {
    "SESSION_NOT_FOUND": "there is no such session: it was never opened here, has expired or is closed; "
    "open another one",
    "SESSION_CLOSED": "the session was closed while it was watched; open another one",
    "SESSION_EXPIRED": "the session expired while it was watched: its owner sent no heartbeat and did not use it; "
    "open another one, with a longer ttl if need be",
}


def check_watched(names: Iterable[str], resume_after: Mapping[str, int], limits: HostLimits) -> dict[str, int | None]:
    """What is to be watched: by name, the version to resume after.

    Raises:
        BridgeError: INVALID_ARGUMENT that names the field; RESOURCE_EXHAUSTED for too many names.
    """
    watched: dict[str, int | None] = dict.fromkeys(names)
    if not watched:
        raise invalid_argument("names", "a watch needs at least one name of a variable")
    if len(watched) > limits.max_names_per_call:
        subject = f"{len(watched)} variables in one watch"
        raise limit_exceeded("max_names_per_call", limits.max_names_per_call, subject, "use several watches")
    for name in watched:
        check_name(name)
    for name, version in resume_after.items():
        if name not in watched:
            raise invalid_argument("resume_after", "has a name that names has not")
        check_version(version, "resume_after")
        watched[name] = version
    return watched


class Watch:
    """One watch.

    Args:
        store: what is watched.
        session_id: in which session.
        watched: by name, the version to resume after; ``None``: what is there now.
        initial: whether to begin with the values that are there, of names without a version to resume after.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        session_id: str,
        watched: Mapping[str, int | None],
        *,
        initial: bool,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._session_id = session_id
        self._watched = watched
        self._initial = initial
        self._clock = clock
        self._woken = asyncio.Event()
        self._ended: BridgeError | None = None
        self._positions: dict[str, int] = {}

    def end(self, error: BridgeError) -> None:
        """Lets the watch raise this instead of sleeping."""
        self._ended = error
        self._woken.set()

    def _wake(self, signal: Signal) -> None:
        if signal is Signal.CLOSED:
            self.end(session_not_found("SESSION_CLOSED"))
        elif signal is Signal.EXPIRED:
            self.end(session_not_found("SESSION_EXPIRED"))
        else:
            self._woken.set()

    async def run(self, read: Callable[[], Awaitable[Snapshot]]) -> AsyncGenerator[StoredUpdate, None]:
        """Yields what happens, until it is closed or fails.

        Args:
            read: reads the watched variables if the caller may see them, else raises.
        """
        async with self._store.subscribe(self._session_id, self._wake):
            beginning = self._begin(await read())
            pending = {record.name for record in beginning}
            known = {name: version for name, version in self._positions.items() if name not in pending}
            yield StoredUpdate(UpdateKind.STARTED, positions=known)
            for record in beginning:
                yield StoredUpdate(UpdateKind.INITIAL, record)
            while True:
                self._woken.clear()
                log = await self._store.read_log(
                    self._session_id, self._positions, self._clock(), limit=_PAGE, max_bytes=_PAGE_BYTES
                )
                if log is None:
                    raise self._ended or session_not_found()
                for record in log.records:
                    self._advance(record)
                    yield StoredUpdate(record.kind, record)
                if self._is_complete(log):
                    if self._ended is not None:
                        raise self._ended
                    await self._sleep()

    async def _sleep(self) -> None:
        """Returns when something was committed, and now and then without: a store that was emptied tells nobody."""
        try:
            async with asyncio.timeout(LOOK_AGAIN):
                await self._woken.wait()
        except TimeoutError:
            pass

    def _begin(self, snapshot: Snapshot) -> list[StoredVariable]:
        """Takes the positions, and returns the variables to begin with."""
        beginning: list[StoredVariable] = []
        now = self._clock()
        for name, resume_after in self._watched.items():
            stored = snapshot.variables.get(name)
            version = snapshot.floor if stored is None else stored.version
            if resume_after is None:
                self._positions[name] = version
                if self._initial and (current := live(stored, now)) is not None:
                    beginning.append(current)
            elif resume_after > version:
                raise _ahead(name, resume_after, version)
            else:
                self._positions[name] = resume_after
        return beginning

    def _advance(self, record: StoredVariable) -> None:
        name, version = record.name, record.version
        if version != self._positions[name] + 1:
            raise _behind(name, self._positions[name], version - 1)
        self._positions[name] = version

    def _is_complete(self, log: Log) -> bool:
        """Whether nothing is left to read. Raises if something was forgotten that left no later record, and if the
        store has lost what was sent already: other changes will have these versions."""
        for name, position in self._positions.items():
            newest = log.newest.get(name, log.floor)
            if newest < position:
                raise _ahead(name, position, newest)
            if newest > position:
                if name in log.newest:
                    return False
                raise _behind(name, position, newest)
        return True


def _behind(name: str, position: int, resume_after: int) -> BridgeError:
    return _out_of_range(
        "WATCH_BEHIND",
        f"the watch is too far behind: what happened to {name} after version {position} is not kept any more up to "
        f"version {resume_after}; read it, and watch on with resume_after {resume_after}",
        name,
        resume_after,
    )


def _ahead(name: str, position: int, version: int) -> BridgeError:
    return _out_of_range(
        "WATCH_AHEAD",
        f"{name} is at version {version}, so there is no {position} to resume after: that version is of another "
        "session, or was lost with a host or its store; read it, and watch on from there",
        name,
        version,
    )


def _out_of_range(reason: str, message: str, name: str, resume_after: int) -> BridgeError:
    details = ErrorDetails(metadata={"name": name, "resume_after": str(resume_after)})
    return BridgeError(Code.OUT_OF_RANGE, message, reason=reason, details=details)
