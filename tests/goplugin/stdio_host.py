"""A host that does nothing: ``stdio_host.py SOCKET JSON``. It starts ``stdio_child.py``, takes what that prints, and
waits to be killed."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from bridge import engines
from tests.goplugin.stdio_processes import Stream, started


async def main(path: Path, options: str) -> None:
    async with started(path, **json.loads(options)) as child:
        channel = engines.connect(f"unix:{path}")
        await Stream.begin(channel)
        print("pid", child.pid, file=sys.stderr, flush=True)
        await asyncio.Event().wait()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
