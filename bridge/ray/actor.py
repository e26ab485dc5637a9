"""A worker's process on a node of the cluster: an agent, and the other end of its pipe.

The code here runs on the cluster, where tool-bridge and the adapters have to be installed. What goes in and out are
numbers and frames, which hold the serialized messages of ``bridge.v1``: nothing of a tool or a caller is ever pickled.
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import sys
from collections.abc import Sequence

from bridge._version import __version__
from bridge.errors import BridgeError
from bridge.loader import load_adapters
from bridge.ray.pipe import FramePipe
from bridge.registry import Registry
from bridge.status import to_status
from bridge.worker.agent import Agent
from bridge.worker.frames import Failed, encode

__all__ = ["RemoteWorker"]


class RemoteWorker:
    """Made an actor by the server, which calls its methods: several at the same time, all on one event loop."""

    def __init__(self) -> None:
        ours, self._agents = socket.socketpair()
        self._pipe = FramePipe(ours)
        self._turn = 0
        self._moved = asyncio.Condition()

    async def begin(self) -> tuple[str, str, int]:
        """Version of tool-bridge, name of the node and process id; the first sign of life."""
        return __version__, platform.node(), os.getpid()

    async def serve(self, specs: Sequence[str], path: Sequence[str]) -> None:
        """Runs calls until the server says that no more will come.

        Args:
            specs: adapters, as ``bridge.loader.load_adapters`` takes them.
            path: where the server finds modules; what of it is here as well is added to ``sys.path``.
        """
        sys.path.extend(folder for folder in path if folder not in sys.path and os.path.exists(folder))  # noqa: ASYNC240, PTH110 - nobody waits yet
        try:
            registry = Registry(cls for spec in specs for cls in load_adapters(spec))
        except BridgeError as error:
            self._agents.sendall(encode(Failed(to_status(error))))
            self._agents.close()
        else:
            # When the server is gone Ray ends the process; the agent need not.
            await Agent(registry, lambda _: None).serve(self._agents)

    async def talk(self, turn: int, data: bytes) -> bytes:
        """Takes frames to the agent and returns the next ones that it has; empty when it has ended.

        Args:
            turn: number of the message: they are taken in order.
            data: whole frames, or nothing.
        """
        await self.hear(turn, data)
        return await self._pipe.read()

    async def hear(self, turn: int, data: bytes) -> None:
        """Takes frames to the agent. Arguments as for ``talk``."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._turn == turn)
            try:
                await self._pipe.write(data)
            except OSError:
                pass  # the agent has ended; what it has said last is still to be taken
            self._turn += 1
            self._moved.notify_all()
