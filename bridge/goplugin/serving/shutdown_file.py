"""A file that ends a plugin when it appears, for operators who have no other way to reach it."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

__all__ = ["LOOK_INTERVAL", "wait_for_file"]

LOOK_INTERVAL = 1.0
"""Seconds between two looks."""

log = logging.getLogger("bridge.goplugin")


async def wait_for_file(path: Path, interval: float = LOOK_INTERVAL) -> None:
    """Returns when the file is there, whatever it is, and removes it. While nobody can tell, it is not.

    Args:
        path: of the file. Its folder may come later.
        interval: seconds between two looks.
    """
    # Not Path.exists: it raises where the file system fails, and takes a broken link for nothing.
    while not os.path.lexists(path):  # noqa: ASYNC110, ASYNC240 - nothing tells, and looking takes no time
        await asyncio.sleep(interval)
    try:
        path.unlink()  # noqa: ASYNC240
    except OSError as error:
        log.warning("the shutdown file cannot be removed (%s): remove it before the plugin is started again", error)
