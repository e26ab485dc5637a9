"""``python owner.py FORM``: a server as far as death goes. Says which processes it has, then waits to be killed.

FORM is what its worker does then: ``idle``, ``stuck`` (a C function holds the GIL), ``chatter`` (it prints). Or else
``session``: a child of the worker has left its group;
``thread``: the thread that started the nursery has ended, so that only the end of the socket tells of the server's; or
``forked``: a child of the server, which lives as long as stdin, has all its descriptors, so the socket does not end; or
``exits``: it ends by itself, without a word, when something comes by stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading

from bridge.worker.nursery import Nursery
from tests.worker.conftest import recipe
from tests.worker.talking import Talk


async def start(nursery: Nursery) -> None:
    await nursery.start()


async def populate(nursery: Nursery, form: str) -> tuple[list[int], list[object]]:
    """A worker with a child; the ids of all processes, and what keeps the worker."""
    newborn = await nursery.fork()
    talk = await Talk.open(newborn)
    child = await talk.ask("spawn", form == "session")
    if form == "stuck":
        await talk.ask("hold_gil_soon")
        talk.tell("hold")
    if form == "chatter":
        os.set_blocking(newborn.output, True)
        await talk.ask("chatter")
        os.read(newborn.output, 1)
    assert nursery.pid is not None
    return [nursery.pid, newborn.pid, child], [newborn, talk]


def main(form: str) -> None:
    nursery = Nursery(recipe())
    loop = asyncio.new_event_loop()
    if form == "thread":
        thread = threading.Thread(target=lambda: loop.run_until_complete(start(nursery)))
        thread.start()
        thread.join()
    else:
        loop.run_until_complete(start(nursery))
    pids, kept = loop.run_until_complete(populate(nursery, form))
    if form == "forked" and os.fork() == 0:
        os.read(0, 1)
        os._exit(0)
    print(json.dumps(pids), flush=True)
    if form == "exits":
        os.read(0, 1)
        os._exit(3)
    signal.pause()
    del kept


if __name__ == "__main__":
    main(sys.argv[1])
