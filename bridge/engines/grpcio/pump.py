"""Sends the requests of a grpc.aio call while its answers are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any

import grpc.aio

__all__ = ["RequestPump"]

# How a write ends when the call does; whoever reads the answers gets the status.
_OVER = (grpc.aio.AioRpcError, grpc.aio.InternalError)


class RequestPump:
    """A task that takes requests to a call until they end, or the call does.

    Args:
        call: a ``grpc.aio.StreamStreamCall``.
        requests: closed at the end, if they can be.
    """

    def __init__(self, call: Any, requests: AsyncIterable[bytes]) -> None:
        self._call, self._requests = call, requests
        self.failure: Exception | None = None
        """What the requests raised; the call is cancelled then."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends the task, wherever it is, and returns when the requests are closed."""
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        try:
            await self._send()
        except Exception as error:  # noqa: BLE001 - it is raised where the answers are read
            self.failure = error
            self._call.cancel()
        except asyncio.CancelledError:
            self._call.cancel()  # also one of the requests' own: nobody sends their end
            raise
        finally:
            if hasattr(self._requests, "aclose"):
                await self._requests.aclose()

    async def _send(self) -> None:
        # `StreamStreamCall.write` makes INTERNAL of the status when it fails before that has arrived, and a server that
        # refuses a call often is that fast. One level below it only fails.
        core = self._call._cython_call
        try:
            await self._call.wait_for_connection()
        except _OVER:
            return
        async for request in self._requests:
            try:
                await core.send_serialized_message(request)
            except _OVER:
                return
        try:
            await core.send_receive_close()
        except _OVER:
            return
