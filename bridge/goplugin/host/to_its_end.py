"""What must not be left half done, because it frees processes, sockets and directories."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["to_its_end"]

T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T], hurry: Callable[[], object] = lambda: None) -> T:
    """Runs a coroutine, which has to have an end, also if the caller is cancelled meanwhile, however often.

    Args:
        work: what to run, in a task of its own.
        hurry: called at each cancel.

    Raises what ``work`` does; ``CancelledError`` at its end after a cancel.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
            hurry()
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # looked at: whoever cancels does not wait for it
    raise cancelled
