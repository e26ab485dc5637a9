"""The adapter of pool.exs."""

from collections.abc import AsyncIterator

from bridge import Adapter, tool


class Words(Adapter):
    """Tools over words."""

    @tool
    def count(self, text: str) -> dict[str, int]:
        """Counts words."""
        counts: dict[str, int] = {}
        for word in text.split():
            counts[word] = counts.get(word, 0) + 1
        return counts

    @tool
    async def spell(self, word: str) -> AsyncIterator[dict[str, str]]:
        """Gives one letter after the other."""
        for letter in word:
            yield {"letter": letter}

    @tool
    def reverse(self, data: bytes) -> bytes:
        """Turns bytes round."""
        return data[::-1]
