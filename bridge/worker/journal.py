"""The last of what all workers of a plugin have printed and logged."""

from __future__ import annotations

__all__ = ["Journal"]

KEPT_BYTES = 256 * 1024


class Journal:
    """Keeps the end and forgets the rest. It can be read from any thread."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Adds text as it was printed."""
        self._parts.append(data)
        self._size += len(data)
        if self._size > 2 * KEPT_BYTES:
            self._parts = [b"".join(self._parts)[-KEPT_BYTES:]]
            self._size = KEPT_BYTES

    def lines(self, count: int) -> list[str]:
        """The last lines, at most so many."""
        text = b"".join(tuple(self._parts))[-KEPT_BYTES:].decode("utf-8", "replace")
        return text.splitlines()[-count:] if count > 0 else []
