"""Several connections as one channel: each call takes the one with the fewest calls in flight."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from bridge.engines.base import Channel

__all__ = ["ChannelPool"]


class ChannelPool:
    """A ``Channel`` over channels. Ties go to the first, so that a connection is made only when it is needed.

    Args:
        channels: at least one; each with a connection of its own.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = tuple(channels)
        self._in_flight = [0] * len(self._channels)

    def __repr__(self) -> str:
        return f"<ChannelPool in_flight={self._in_flight}>"

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Calls that run on each channel."""
        return tuple(self._in_flight)

    def _least(self) -> int:
        counts = self._in_flight
        return counts.index(min(counts))

    async def unary(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> bytes:
        index = self._least()
        self._in_flight[index] += 1
        try:
            return await self._channels[index].unary(path, request, headers=headers, timeout=timeout)
        finally:
            self._in_flight[index] -= 1

    async def stream(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        index = self._least()
        self._in_flight[index] += 1
        messages = self._channels[index].stream(path, request, headers=headers, timeout=timeout)
        try:
            async for message in messages:
                yield message
        finally:
            self._in_flight[index] -= 1
            await messages.aclose()

    async def ready(self) -> None:
        """Returns when the first connection is made; the others follow with the load."""
        await self._channels[0].ready()

    async def aclose(self) -> None:
        for channel in self._channels:
            await channel.aclose()
