"""``python beam_process.py ADAPTER FOLDER [TOOL] [FLAG ...]``: a BEAM that can be killed.

It launches a worker, has it start children, calls the tool, if one is named, which does not return, and prints one
line: the process ids of the worker, its worker process and all that these have started.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from bridge.worker.memory import tree
from tests.snakepit.beam import FakeBeam


async def main(adapter: str, folder: str, tool: str = "", *flags: str) -> None:
    async with FakeBeam(Path(folder), adapter, flags, heartbeat={"enabled": False}) as beam:
        worker = await beam.start_worker()
        children: list[int] = []
        children += await worker.execute("start_children")
        children += await worker.execute("start_children_plainly")
        if tool:
            await worker.begin(tool, Path(folder) / "sign")
        print(json.dumps(sorted({*tree(worker.pid), *children})), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
