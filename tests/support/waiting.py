"""Waiting for what tells nobody: files, processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object]) -> None:
    """Returns when a condition is true; looks often, and has to be bounded by the caller."""
    while not condition():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.005)
