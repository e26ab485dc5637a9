"""Carries frames between a worker's pipe and its process on the cluster.

What the server says goes to the cluster as arguments of the process's methods, and what is answered comes back as
their results: a small call is one round trip.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from bridge.ray.pipe import FramePipe, answers_due

__all__ = ["Carrier", "answer_of", "cause_of"]

INLINE_BYTES = 64 * 1024
"""Larger messages go through Ray's object store, which may make a sender wait: so not on the event loop."""
LAST_WORDS = 1.0
"""Seconds that the last frames of a worker that has ended have to arrive."""
SHOWN = 500
"""Characters of what Ray says about a failure."""

_COLOR = re.compile(r"\x1b\[[0-9;]*m")


class Carrier:
    """The wire to one process of the cluster.

    Args:
        actor: the handle of its ``RemoteWorker``.
        pipe: the end of the pipe to the server.
    """

    def __init__(self, actor: Any, pipe: FramePipe) -> None:
        self._actor, self._pipe = actor, pipe
        self._turn = 0
        """Number of the next message to the process: they may overtake each other on the way."""
        self._due = 1  # it will say that it is ready, or that it is not
        self._listening: asyncio.Task[None] | None = None
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def carry(self, serving: Any) -> None:
        """Returns when the server has closed the pipe, or the process has nothing more to do.

        Args:
            serving: the reference of the method that returns then.

        Raises what Ray does when the process or the cluster is lost.
        """
        sending = asyncio.ensure_future(self._send())
        served = asyncio.ensure_future(answer_of(serving))
        await asyncio.wait((sending, served, self._failed), return_when=asyncio.FIRST_COMPLETED)
        for ended in (served, sending, self._failed):
            if ended.done():
                ended.result()
        if served.done() and self._listening is not None:
            await asyncio.wait((self._listening,), timeout=LAST_WORDS)

    async def _send(self) -> None:
        """Takes the server's frames to the process."""
        while data := await self._pipe.read():
            self._due += answers_due(data)
            if self._due > 0 and self._listening is None:
                self._listening = asyncio.ensure_future(self._listen(data))
            else:
                await self._tell(self._actor.hear, data)

    async def _listen(self, data: bytes) -> None:
        """Takes the frames of the process to the server, as long as some are due."""
        try:
            while answer := await self._tell(self._actor.talk, data):
                self._due += answers_due(answer)
                await self._pipe.write(answer)
                if self._due <= 0:
                    break
                data = b""
        except Exception as error:  # noqa: BLE001 - Ray's, of many kinds
            if not self._failed.done():
                self._failed.set_exception(error)
        finally:
            self._listening = None

    async def _tell(self, method: Any, data: bytes) -> Any:
        turn, self._turn = self._turn, self._turn + 1
        if len(data) > INLINE_BYTES:
            return await answer_of(await asyncio.to_thread(method.remote, turn, data))
        return await answer_of(method.remote(turn, data))


async def answer_of(reference: Any) -> Any:
    """What a remote method has returned. Raises what Ray does."""
    # Ray cannot be told that nobody waits any more: it would set the result of a future that was cancelled.
    return await asyncio.shield(asyncio.wrap_future(reference.future()))


def cause_of(error: BaseException) -> str:
    """What an error of Ray's says, in a line: without ids, and without advice for whoever runs the cluster."""
    lines = [line for line in str(error).splitlines() if line and not line.startswith("\t")]
    text = _COLOR.sub("", " ".join(lines)).partition(" Some common causes")[0]
    text = text.partition("The actor is dead because ")[2] or text
    return text if len(text) <= SHOWN else "..." + text[-SHOWN:]  # the end of a traceback tells more than its beginning
