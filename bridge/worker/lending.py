"""Messages and the memory that goes with them, without holding up the event loop: many bytes are copied in a thread."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from bridge.errors import BridgeError, Code
from bridge.runtime.shared import THRESHOLD, Memory, borrowing, lending

__all__ = ["pack", "read", "viewed"]

T = TypeVar("T")

_SCALARS = frozenset({type(None), bool, int, float, str})

OFF_LOOP = 4 * 1024 * 1024
"""Bytes that are more than a millisecond's work."""


async def pack(make: Callable[[], bytes], values: Iterable[Any], limit: int, what: str) -> tuple[bytes, int, int]:
    """A message, and the descriptor and size of the memory with its large values; -1 and 0 if it has none.

    Args:
        make: makes the message; called again if there can be no memory.
        values: what it makes it of.
        limit: most bytes of the memory; 0: all values are in the message.
        what: the message, in an error.

    Raises ``BridgeError``: what ``make`` raises; RESOURCE_EXHAUSTED beyond the limit.
    """
    if all(map(_is_small, values)):
        return make(), -1, 0
    with lending(limit) as lent:
        message = make()
    size = lent.size
    if not size:
        return message, -1, 0
    if size > limit:
        raise BridgeError(
            Code.RESOURCE_EXHAUSTED,
            f"{what} has values of {size} bytes in shared memory, and {limit} are allowed (max_shared_bytes): send "
            "less at once, or stream it in parts",
            reason="MESSAGE_TOO_LARGE",
        )
    try:
        return message, await _copied(lent.write, size, os.close), size
    except OSError:  # no descriptor is left, or the process may not have so much memory
        return make(), -1, 0


def _is_small(value: object) -> bool:
    """Whether it plainly needs no memory, as most values do."""
    kind = type(value)
    return kind in _SCALARS or (kind is bytes and len(value) < THRESHOLD)  # type: ignore[arg-type]  # it is bytes


async def read(memory: Memory | None, reader: Callable[[], T]) -> T:
    """What ``reader`` makes of a message, with the memory that came with it, which is closed."""
    if memory is None:
        return reader()

    def take() -> T:
        with memory, borrowing(memory):
            return reader()

    return await _copied(take, memory.size, lambda _: None)


@functools.lru_cache(maxsize=1024)
def viewed(arguments: type[msgspec.Struct]) -> frozenset[str]:
    """The fields that take a ``memoryview``: they get large values without a copy."""
    kinds = {field.name: _alternatives(field.type) for field in msgspec.structs.fields(arguments)}
    return frozenset(name for name, kind in kinds.items() if memoryview in kind and Any not in kind)


def _alternatives(hint: Any) -> set[Any]:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(_alternatives, typing.get_args(hint)))
    return {hint}


async def _copied(function: Callable[[], T], size: int, discard: Callable[[T], Any]) -> T:
    """Calls a function that handles so many bytes: in a thread of its own if they are many.

    In none of a pool: tools may have taken all of them, and wait for this.

    Args:
        function: what to call.
        size: bytes it copies.
        discard: what is done with its result if nobody waits for it any more.
    """
    if size < OFF_LOOP:
        return function()
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    results: list[T] = []  # not in the future or the thread: they may live on for a while, and large values with them

    def tell(error: BaseException | None) -> None:
        if future.cancelled():
            drop()
        elif error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def drop() -> None:
        while results:
            discard(results.pop())

    def run() -> None:
        failure: BaseException | None = None
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            failure = error
        try:
            loop.call_soon_threadsafe(tell, failure)
        except RuntimeError:  # the loop is closed
            drop()

    threading.Thread(target=run, name="bridge-copy", daemon=True).start()
    try:
        await future
    except BaseException:
        drop()  # a cancel may come when the result is there and was not taken
        raise
    return results.pop()
