"""What one session object and its host say to each other about variables, and in which order.

Reads asked for in the same turn of the event loop go out as one request. Writes go out one after the other, in the
order they were asked for, and a read of a name that is being written waits for that write. What was read may be kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Self

import msgspec

from bridge.errors import BridgeError, Code
from bridge.hosts.limits import HostLimits
from bridge.variables import Variable, check_name

__all__ = ["MAX_NAMES", "Exchange", "Fetch", "Found", "Turn"]

MAX_NAMES = HostLimits().max_names_per_call
"""Names that readers put into one request together."""

Found = dict[str, Variable | None]
"""What a read found, by name; ``None``: there is no such variable."""
Fetch = Callable[[Sequence[str]], Awaitable[dict[str, Variable]]]
"""Asks the host; names of which there is no variable are absent."""

_inside: ContextVar[tuple[Turn, ...]] = ContextVar("bridge_turns", default=())
"""The turns that code runs in which was called in the middle of a write."""


class _Batch(msgspec.Struct, eq=False):
    """Reads that go out together. Whoever asked first sends them; the others wait."""

    names: dict[str, None]
    waiters: list[asyncio.Future[Found | BridgeError | None]]


class Exchange:
    """The conversation of one session object. It belongs to one event loop; only ``known`` may be read elsewhere.

    Args:
        remember: keep what was read.
    """

    __slots__ = ("_batch", "_lock", "_remember", "_stamp", "_stamps", "_writing", "known")

    def __init__(self, *, remember: bool) -> None:
        self.known: Found = {}
        """What was read last, if it is kept, without what was written since."""
        self._remember = remember
        self._batch: _Batch | None = None
        self._lock = asyncio.Lock()  # first come, first served
        self._writing: dict[str, int] = {}
        """How many writes of a name have been asked for and are not over."""
        # A number for each request and each write. An answer to what was asked before something else happened to the
        # name must not be kept, however late it comes.
        self._stamp = 0
        self._stamps: dict[str, int] = {}

    # -- reads ---------------------------------------------------------------------------------------------------

    async def read(self, names: Collection[str], fetch: Fetch, *, fresh: bool = False, at_once: bool = False) -> Found:
        """Reads variables; those that are not known, or all if ``fresh``, at one instant in one request.

        Args:
            at_once: nobody else can ask for something in this turn, so do not wait for its end.
        """
        found = {} if fresh else {name: self.known[name] for name in names if name in self.known}
        wanted = [name for name in names if name not in found]
        if wanted:
            for name in wanted:
                check_name(name)  # a wrong one must not spoil the request of the others
            if self._writing:
                await self.settle(wanted)
            asked = self.fetch if at_once and self._batch is None else self._join
            found.update(await asked(wanted, fetch))
        return found

    async def fetch(self, names: Sequence[str], fetch: Fetch) -> Found:
        """Reads variables by a request of their own, at once."""
        self._stamp += 1
        stamp = self._stamp
        answer = await fetch(names)
        found = {name: answer.get(name) for name in names}
        if self._remember:
            for name, variable in found.items():
                if self._stamps.get(name, 0) < stamp:
                    self._stamps[name] = stamp
                    self.known[name] = variable
        return found

    async def _join(self, names: list[str], fetch: Fetch) -> Found:
        while (batch := self._batch) is not None and len(batch.names.keys() | names) <= MAX_NAMES:
            batch.names.update(dict.fromkeys(names))
            # One for each, because the cancel of a task cancels the future that it waits for.
            waiter: asyncio.Future[Found | BridgeError | None] = asyncio.get_running_loop().create_future()
            batch.waiters.append(waiter)
            outcome = await waiter
            if outcome is not None:
                return await self._part(names, outcome, fetch, shared=True)
            # Whoever was to send them has been cancelled.
        return await self._lead(names, fetch)

    async def _lead(self, names: list[str], fetch: Fetch) -> Found:
        batch = self._batch = _Batch(dict.fromkeys(names), [])
        outcome: Found | BridgeError | None = None
        try:
            await asyncio.sleep(0)  # the turn in which others join
            self._leave(batch)
            outcome = await self.fetch([*batch.names], fetch)
        except BridgeError as error:
            outcome = error
        finally:
            self._leave(batch)
            for waiter in batch.waiters:
                if not waiter.done():
                    waiter.set_result(outcome)
        return await self._part(names, outcome, fetch, shared=bool(batch.waiters))

    def _leave(self, batch: _Batch) -> None:
        if self._batch is batch:
            self._batch = None

    async def _part(self, names: list[str], outcome: Found | BridgeError, fetch: Fetch, *, shared: bool) -> Found:
        """What one reader gets of the answer to all."""
        if not isinstance(outcome, BridgeError):
            return {name: outcome[name] for name in names}
        if shared and outcome.code is Code.RESOURCE_EXHAUSTED and outcome.retry_after is None:
            return await self.fetch(names, fetch)  # too large for one message together, and maybe not alone
        raise outcome

    def forget(self, names: Collection[str]) -> None:
        """Something happened to these variables: what is known of them, or being asked, is old."""
        self._stamp += 1
        for name in names:
            self.known.pop(name, None)
            self._stamps[name] = self._stamp

    # -- writes --------------------------------------------------------------------------------------------------

    def turn(self, names: Collection[str]) -> Turn:
        """A place among the writes, for a write of these names."""
        return Turn(self, names)

    async def settle(self, names: Collection[str] | None = None) -> None:
        """Returns when the writes of these names (``None``: of any) that were asked for before are over."""
        if self._writing and (names is None or not self._writing.keys().isdisjoint(names)):
            around = self._around()
            if around is None:
                async with self._lock:
                    pass
            elif names is None or not around.names.isdisjoint(names):
                raise _waits_for_itself()
            # Otherwise these writes come after the update that asks.

    def _around(self) -> Turn | None:
        """The turn in which the code at hand was called, if it is not over."""
        return next((turn for turn in _inside.get() if turn.held and turn.exchange is self), None)

    async def _begin(self, names: Collection[str]) -> None:
        if self._around() is not None:
            raise _waits_for_itself()
        for name in names:
            self._writing[name] = self._writing.get(name, 0) + 1
        self.forget(names)
        try:
            await self._lock.acquire()
        except BaseException:
            self._settled(names)
            raise

    def _end(self, names: Collection[str]) -> None:
        self.forget(names)
        self._settled(names)
        self._lock.release()

    def _settled(self, names: Collection[str]) -> None:
        for name in names:
            self._writing[name] -= 1
            if not self._writing[name]:
                del self._writing[name]


def _waits_for_itself() -> RuntimeError:
    return RuntimeError(
        "the function given to update() must not write variables of its session or read the one it updates: "
        "it would wait for itself"
    )


class Turn:
    """A write's place in the order: entered when it is its turn, left when the host has answered."""

    __slots__ = ("exchange", "held", "names")

    def __init__(self, exchange: Exchange, names: Collection[str]) -> None:
        self.exchange = exchange
        self.names = frozenset(names)
        """What it writes."""
        self.held = False
        """Whether it is this write's turn."""

    async def __aenter__(self) -> Self:
        await self.exchange._begin(self.names)
        self.held = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Lets the next write go. Repeating it is harmless."""
        if self.held:
            self.held = False
            self.exchange._end(self.names)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Around code that is called during the turn: its own writes are refused, as they would wait for ever."""
        token = _inside.set((*_inside.get(), self))
        try:
            yield
        finally:
            _inside.reset(token)
