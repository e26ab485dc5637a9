"""Arguments in, values out: what a tool is at its smallest."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import msgspec

from bridge import Adapter, tool

from .library import Source, read_lines

__all__ = ["Occurrence", "TextTools"]

WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
"""Letters, with apostrophes and hyphens inside: "summer's" is one word."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One place where a word stands."""

    line: int
    """Counted from 1, without empty lines."""
    text: str
    """The whole line."""


class TextTools(Adapter):
    """Tools over text."""

    @tool(idempotent=True, read_only=True)
    async def word_count(self, text: str, top: Annotated[int, msgspec.Meta(ge=1)] = 10) -> dict[str, int]:
        """Counts words, most frequent first. Upper and lower case are the same.

        Args:
            text: what to count in.
            top: how many words to return.
        """
        words = (match.group().casefold() for match in WORD.finditer(text))
        return dict(Counter(words).most_common(top))

    # An ordinary function is run in a thread, so that the server goes on answering while it reads the file.
    @tool(idempotent=True, read_only=True)
    def concordance(self, word: str, source: Source = "shakespeare", limit: int = 20) -> list[Occurrence]:
        """Finds a word in a text that ships with the showcase.

        Args:
            word: the word, in any case.
            source: where to look.
            limit: how many places to return at most.
        """
        wanted = word.casefold()
        found = (
            Occurrence(number, line)
            for number, line in enumerate(read_lines(source), start=1)
            if any(match.group().casefold() == wanted for match in WORD.finditer(line))
        )
        return [occurrence for occurrence, _ in zip(found, range(limit), strict=False)]
