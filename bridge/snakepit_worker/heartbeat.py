"""Heartbeats to the BEAM: by them a worker notices that it is lost, wherever it runs."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from bridge.errors import BridgeError
from bridge.snakepit_worker.heartbeat_options import HeartbeatOptions

__all__ = ["Heartbeats"]

MAX_SESSIONS = 8
"""Sessions that beats go out for; a pool has one for each of its workers."""

Beat = Callable[[str, float], Awaitable[bool]]
"""Sends one for a session, with a timeout in seconds; returns whether the session is there still."""

log = logging.getLogger("bridge.snakepit")


class Heartbeats:
    """The heartbeats of a worker, a loop for each session that the BEAM has begun on it.

    Args:
        beat: sends one.
        options: how often, and what missing some means.
        on_lost: called when too many are missed, if the worker depends on the BEAM.
    """

    def __init__(self, beat: Beat, options: HeartbeatOptions, on_lost: Callable[[], None]) -> None:
        self._beat = beat
        self._options = options
        self._on_lost = on_lost
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, session_id: str) -> None:
        """Sends them for a session, if they are wanted. Repeating it is harmless."""
        if self._options.enabled and session_id not in self._tasks and len(self._tasks) < MAX_SESSIONS:
            self._tasks[session_id] = asyncio.get_running_loop().create_task(self._run(session_id))

    def end(self, session_id: str) -> None:
        """Sends no more for a session."""
        if (task := self._tasks.pop(session_id, None)) is not None:
            task.cancel()

    async def aclose(self) -> None:
        """Sends no more."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, session_id: str) -> None:
        options = self._options
        await asyncio.sleep(options.initial_delay)
        missed = 0
        while True:
            missed = 0 if await self._is_answered(session_id) else missed + 1
            if missed == options.max_missed:
                if options.dependent:
                    log.error("the BEAM has not answered %d heartbeats: stopping", missed)
                    self._on_lost()
                    return
                log.error("the BEAM has not answered %d heartbeats; going on, as the pool has said", missed)
            await asyncio.sleep(options.interval + random.uniform(0, options.jitter))  # noqa: S311 - no secret

    async def _is_answered(self, session_id: str) -> bool:
        try:
            await self._beat(session_id, self._options.timeout)  # any answer: the BEAM need not know the session
        except BridgeError as error:
            log.warning("a heartbeat was not answered: %s", error.message)
            return False
        return True
