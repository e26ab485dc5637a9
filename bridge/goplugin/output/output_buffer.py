"""What a process has printed and nobody has taken yet.

Filled by threads that read pipes, emptied by the event loop. ``HELD_BYTES`` of each channel are held, which is enough
for those who print a lot while they block the event loop. What happens to more depends on who takes it:

- Nobody has asked for it: it is dropped at once.
- Somebody takes it: whoever prints waits, and nothing is lost, as long as something is taken every ``PATIENCE``
  seconds. After that the rest is dropped until something is taken again.
- The process is ending: it is dropped, as nobody is to wait any more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["HELD_BYTES", "PATIENCE", "STDERR", "STDOUT", "OutputBuffer"]

STDOUT, STDERR = 1, 2
"""Channels: their numbers are those of the descriptors, and those of ``plugin.StdioData.Channel``."""
HELD_BYTES = 16 * 1024 * 1024
PATIENCE = 3.0
RUNS = 4096
"""Changes of channel that are remembered at most. Beyond them the bytes of each channel are still in order, but no
longer those of one among those of the other."""

UNCLAIMED = "nobody asked for them (plugin.GRPCStdio/StreamStdio)"
STUCK = "the host takes none, or the plugin's event loop is blocked"
LATE = "the plugin was ending"


class OutputBuffer:
    """Bytes of both channels, in order.

    Args:
        size: bytes of a channel that are held at most.
        patience: seconds that ``put`` waits at most for something to be taken.
    """

    def __init__(self, *, size: int = HELD_BYTES, patience: float = PATIENCE) -> None:
        self.notify: Callable[[], object] = lambda: None
        """Called from any thread, under a lock, when there is something to take, or something was lost."""
        self._size, self._patience = size, patience
        self._changed = threading.Condition()
        self._held = {STDOUT: bytearray(), STDERR: bytearray()}
        self._runs: deque[list[int]] = deque()
        """Channel and number of bytes, in the order in which they came."""
        self._is_claimed = self._is_ending = self._is_stuck = False
        self._taken = 0
        self._lost: dict[tuple[int, str], int] = {}

    def __bool__(self) -> bool:
        """Whether there is something to take."""
        return any(self._held.values())

    def put(self, channel: int, data: bytes) -> None:
        """Adds what was printed, or what of it there is room for; waits as this module says."""
        rest = memoryview(data)
        with self._changed:
            while rest:
                room = self._size - len(self._held[channel])
                if room > 0:
                    self._append(channel, rest[:room])
                    rest = rest[room:]
                elif not self._waits_for_room():
                    self._lose(channel, len(rest))
                    break

    def front(self, limit: int) -> tuple[int, bytes] | None:
        """The channel and the bytes, at most so many, that were printed first; they stay until ``discard``."""
        with self._changed:
            if not self._runs:
                self._runs.extend([channel, len(held)] for channel, held in self._held.items() if held)
            if not self._runs:
                return None
            channel, size = self._runs[0]
            return channel, bytes(self._held[channel][: min(size, limit)])

    def discard(self, channel: int, size: int) -> None:
        """Takes away as many bytes as ``front`` gave."""
        with self._changed:
            del self._held[channel][:size]
            if self._runs:  # or all was dropped meanwhile
                self._runs[0][1] -= size
                if not self._runs[0][1]:
                    self._runs.popleft()
            self._taken += size
            self._is_stuck = False
            self._changed.notify_all()

    def claim(self, is_claimed: bool) -> None:
        """Says whether there is somebody who takes what is printed."""
        with self._changed:
            self._is_claimed, self._is_stuck = is_claimed, False
            self._changed.notify_all()

    def hurry(self) -> None:
        """Says that the process is ending."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()

    def take_lost(self) -> dict[tuple[int, str], int]:
        """How many bytes were dropped since the last time, by channel and by why."""
        with self._changed:
            lost, self._lost = self._lost, {}
        return lost

    def drop_all(self) -> None:
        """Drops what is left, as the process is ending."""
        with self._changed:
            for channel, held in self._held.items():
                if held:
                    self._lost[channel, LATE] = self._lost.get((channel, LATE), 0) + len(held)
                held.clear()
            self._runs.clear()

    def _append(self, channel: int, data: memoryview) -> None:
        was_empty = not self
        self._held[channel] += data
        if self._runs and self._runs[-1][0] == channel:
            self._runs[-1][1] += len(data)
        elif len(self._runs) < RUNS:
            self._runs.append([channel, len(data)])
        if was_empty:
            self.notify()

    def _waits_for_room(self) -> bool:
        """Waits for something to change; False if that is no use."""
        if not self._is_claimed or self._is_ending or self._is_stuck:
            return False
        taken = self._taken
        changed = self._changed.wait_for(
            lambda: self._taken != taken or not self._is_claimed or self._is_ending, self._patience
        )
        self._is_stuck = not changed
        return changed

    def _lose(self, channel: int, size: int) -> None:
        why = UNCLAIMED if not self._is_claimed else LATE if self._is_ending else STUCK
        was_none = not self._lost
        self._lost[channel, why] = self._lost.get((channel, why), 0) + size
        if was_none:
            self.notify()
