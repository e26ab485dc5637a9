"""What the tools in a worker ask their host, answered on the server's side of the pipe."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from bridge.errors import BridgeError, Code
from bridge.host import CallScope, Host
from bridge.status import to_status
from bridge.worker.frames import CREDIT, Answer, AnswerEnd, Ask

if TYPE_CHECKING:
    from bridge.worker.connection import Connection

__all__ = ["Questions"]

log = logging.getLogger("bridge.worker")


class Questions:
    """The questions of one worker that have no answer yet.

    Args:
        connection: where the answers go.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: dict[int, tuple[asyncio.Task[None], asyncio.Semaphore]] = {}

    def ask(self, ask: Ask, host: Host, scope: CallScope) -> None:
        """Begins to answer a question."""
        room = asyncio.Semaphore(CREDIT)
        task = asyncio.get_running_loop().create_task(self._answer(ask, host, scope, room))
        self._open[ask.id] = (task, room)
        task.add_done_callback(lambda _: self._open.pop(ask.id, None))

    def refuse(self, ask: Ask, error: BridgeError) -> None:
        """Answers a question by an error."""
        self._connection.send(AnswerEnd(ask.id, to_status(error)))

    def cancel(self, number: int) -> None:
        """Nobody waits for this answer any more; without meaning if it was given."""
        if number in self._open:
            self._open[number][0].cancel()

    def credit(self, number: int, answers: int) -> None:
        """So many more messages of a stream may be sent."""
        if number in self._open:
            for _ in range(min(answers, CREDIT)):  # nobody can have taken more
                self._open[number][1].release()

    def cancel_all(self) -> None:
        """The worker is gone."""
        for task, _ in self._open.values():
            task.cancel()

    async def _answer(self, ask: Ask, host: Host, scope: CallScope, room: asyncio.Semaphore) -> None:
        from bridge.hosts.relay import answer, answer_stream  # most tools ask for nothing

        send = self._connection.send
        try:
            if ask.streaming:
                async with aclosing(answer_stream(host, scope, ask.path, ask.request)) as answers:
                    async for response in answers:
                        await room.acquire()
                        send(Answer(ask.id, response))
                send(AnswerEnd(ask.id, b""))
            else:
                send(Answer(ask.id, await answer(host, scope, ask.path, ask.request)))
            await self._connection.drain()
        except BridgeError as error:
            self.refuse(ask, error)
        except Exception:  # a bug of ours or of a host: the tool must not wait for ever
            log.exception("a question of a worker failed")
            self.refuse(ask, BridgeError(Code.INTERNAL, "the host failed; its log says how", reason="INTERNAL"))
