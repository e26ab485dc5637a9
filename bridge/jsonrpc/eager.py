"""Tasks that begin at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import TypeVar

__all__ = ["begin_task"]

T = TypeVar("T")


def begin_task(coroutine: Coroutine[object, object, T], loop: asyncio.AbstractEventLoop) -> asyncio.Task[T]:
    """A task of the running loop. Since Python 3.12 it has made its first step, or ended, when this returns: what does
    not wait needs no turn of the loop."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)
