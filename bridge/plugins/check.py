"""Whether a plugin works: it is really started in its interpreter, asked for its tools, and ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from bridge.manifest import Manifest, manifest_recipe
from bridge.tool_specs import read_tools
from bridge.worker import frames
from bridge.worker.memory import tree_rss
from bridge.worker.nursery import Nursery
from bridge.worker.process import Worker

if TYPE_CHECKING:
    from bridge.tool import Tool

__all__ = ["Report", "check"]


class Report(msgspec.Struct, frozen=True, eq=False):
    """What was found out about a plugin that works. Durations are seconds."""

    manifest: Manifest
    python_version: str
    start: float
    """Until everything was imported."""
    worker_start: float
    """From there until a worker took calls; further ones take as long."""
    rss: int
    """Bytes of resident memory of a worker; a part of it is shared with all others."""
    tools: list[Tool]
    output: list[str]
    """Last lines that were printed by what it imports."""


async def check(manifest: Manifest) -> Report:
    """Starts a plugin and ends it again; nothing of it is left.

    Raises:
        BridgeError: what ``manifest_recipe``, ``Nursery.start``, ``Nursery.fork`` and ``Worker.start`` do;
            FAILED_PRECONDITION, reason ``BAD_TOOL``, if its tools cannot be offered.
    """
    nursery = Nursery(manifest_recipe(manifest))
    began = time.monotonic()
    try:
        await nursery.start()
        imported = time.monotonic()
        settings = frames.Settings(debug=True)
        worker = await Worker.start(await nursery.fork(), nursery.kill, settings, timeout=manifest.limits.start_timeout)
        ready = time.monotonic()
        report = Report(
            manifest,
            nursery.version,
            imported - began,
            ready - imported,
            tree_rss(worker.pid),
            read_tools(worker.tools, manifest.isolation),
            nursery.output,
        )
        await worker.shut_down()
        return report
    finally:
        await nursery.aclose()
