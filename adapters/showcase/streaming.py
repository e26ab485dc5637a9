"""Tools that yield: the caller has the first value while the last one is not made yet."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import msgspec

from bridge import Adapter, SessionContext, tool

from .library import Source, read_lines

__all__ = ["StreamingTools"]

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=60)]


class StreamingTools(Adapter):
    """Tools over streams."""

    @tool(read_only=True)
    async def stream_lines(self, source: Source = "shakespeare", contains: str = "") -> AsyncIterator[str]:
        """Lines of a text that ships with the showcase, one by one.

        Args:
            source: which text.
            contains: only lines with this in them, in any case.
        """
        for line in read_lines(source):
            if contains.casefold() in line.casefold():
                yield line

    # A caller that wants all values at once may call this one without streaming: `collect` makes them a list.
    @tool(read_only=True, collect=True)
    def split_text(self, text: str, size: Positive = 80) -> Iterator[str]:
        """Pieces of a text, `size` characters each; the last one may be shorter.

        Args:
            text: what to cut up.
            size: characters of a piece.
        """
        for start in range(0, len(text), size):
            yield text[start : start + size]

    @tool
    async def count_slowly(self, n: Positive, ctx: SessionContext, delay: Seconds = 0.1) -> AsyncIterator[int]:
        """Counts from 1 to `n` and says how far it is: a stand-in for a long job.

        A caller that goes away, or whose deadline passes, ends it at the `sleep` or the `yield`.

        Args:
            n: how far to count.
            delay: seconds between two numbers.
        """
        for number in range(1, n + 1):
            await asyncio.sleep(delay)
            ctx.progress(number / n, f"{number} of {n}")
            yield number
