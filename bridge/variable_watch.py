"""A watch: the changes of some variables as they are committed, to iterate over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from bridge.errors import BridgeError, Code
from bridge.host import CallScope, Host
from bridge.variables import Update, UpdateKind

__all__ = ["Watch", "open_watch"]

Updates = AsyncGenerator[Update, None]
Begun = tuple[Updates, Mapping[str, int]]
"""What comes, and the versions after which it does."""


async def open_watch(
    host: Host, scope: CallScope, names: Sequence[str], initial: bool, resume_after: Mapping[str, int]
) -> Begun:
    """Begins a watch; returns when the host has said that it has begun."""
    updates = host.watch_variables(scope, names, initial=initial, resume_after=resume_after)
    try:
        first = await anext(updates, None)
        if first is None or first.kind is not UpdateKind.STARTED:
            message = "the host did not say that the watch has begun: it does not follow the protocol"
            raise BridgeError(Code.DATA_LOSS, message, reason="BAD_RESPONSE")
    except BaseException:
        await updates.aclose()
        raise
    return updates, first.positions


class Watch:
    """Every committed change of some variables, in order::

        async with ctx.watch("temperature", initial=True) as watch:
            async for update in watch:
                print(update.kind.name, update.variable.value)

    Entering it returns when the host has begun to watch, so nothing that is committed afterwards is missed; leaving it
    ends the watch. Iterated without ``async with`` it begins at the first step. A step that is cancelled, say by
    ``asyncio.timeout``, loses nothing: the next step gets what that one waited for.

    It has no end of its own. Iterating raises ``BridgeError``: NOT_FOUND, reason ``SESSION_CLOSED`` or
    ``SESSION_EXPIRED``, when the session ends; OUT_OF_RANGE, reason ``WATCH_BEHIND``, if changes that were not read are
    not kept any more; UNAVAILABLE if the host is gone; and what ends a call, in a tool.

    Args:
        begin: begins it.
        positions: where it resumes.
        on_update: told the name of what has changed.
    """

    def __init__(
        self, begin: Callable[[], Awaitable[Begun]], positions: Mapping[str, int], on_update: Callable[[str], object]
    ) -> None:
        self.positions: dict[str, int] = dict(positions)
        """By name, the last version that came, or after which the watch began: ``resume_after`` for going on later. A
        name whose initial value has not come yet is not there."""
        self._begin = begin
        self._on_update = on_update
        self._updates: Updates | None = None
        self._step: asyncio.Task[Update | None] | None = None
        self._iterating = False
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "new" if self._updates is None else "open"
        return f"<Watch {state}>"

    async def __aenter__(self) -> Self:
        if self._updates is not None or self._closed:
            raise RuntimeError("a watch is entered once: make another one, with resume_after=watch.positions")
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _start(self) -> None:
        updates, positions = await self._begin()
        if self._closed:
            await updates.aclose()
        else:
            self._updates = updates
            self.positions.update(positions)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        update = await self.next_update()
        if update is None:
            raise StopAsyncIteration
        return update

    async def next_update(self) -> Update | None:
        """The next change; ``None`` if the watch was closed."""
        if self._iterating:
            raise RuntimeError("two tasks iterate over one watch: let each have its own")
        self._iterating = True
        try:
            update = await self._next()
        finally:
            self._iterating = False
        if update is not None and update.variable is not None:
            self.positions[update.variable.name] = update.variable.version
            self._on_update(update.variable.name)
        return update

    async def _next(self) -> Update | None:
        if self._updates is None and not self._closed:
            await self._start()
        if self._updates is None:
            return None
        # A task of its own: a cancel of the iterating one would otherwise go into the generator and end it.
        step = self._step = self._step or asyncio.create_task(_step(self._updates))
        await asyncio.wait((step,))
        self._step = None
        return None if step.cancelled() else step.result()

    async def aclose(self) -> None:
        """Ends the watch and the iteration, from any task. Repeating it is harmless."""
        self._closed = True
        step, updates = self._step, self._updates
        self._updates = None
        if step is not None:
            step.cancel()
            await asyncio.wait((step,))
            if not step.cancelled():
                step.exception()  # nobody is left to be told
        if updates is not None:
            await updates.aclose()

    def __del__(self) -> None:
        step = self._step
        if step is not None and not step.done() and not step.get_loop().is_closed():
            step.get_loop().call_soon_threadsafe(step.cancel)


async def _step(updates: Updates) -> Update | None:
    return await anext(updates, None)
