"""Tools of my own."""

import asyncio
from collections.abc import AsyncIterator

from bridge import Adapter, SessionContext, tool

__all__ = ["MyAdapter"]


class MyAdapter(Adapter):
    """A class with tools. One object is made for each call, so `self` may hold whatever the call needs.

    What is expensive and shared (a model, a pool of connections) belongs in `lifespan`; see the guide.
    """

    # The name, the types and the text of a method are what callers see: arguments are checked against the types
    # before the method runs, and a caller that sends something else gets INVALID_ARGUMENT with the name of the field.
    @tool(idempotent=True)
    async def greet(self, name: str, times: int = 1) -> str:
        """Greets somebody.

        Args:
            name: who.
            times: how often.
        """
        return " ".join([f"Hello, {name}!"] * times)

    # A method with `yield` streams. A parameter of type `SessionContext` is filled by the server, not by the caller:
    # it has the variables of the session, the deadline, progress and a logger.
    @tool
    async def countdown(self, start: int, ctx: SessionContext) -> AsyncIterator[int]:
        """Counts down to zero.

        Args:
            start: the first number.
        """
        for number in range(start, -1, -1):
            ctx.progress((start - number) / start if start else 1.0, f"at {number}")
            yield number
            await asyncio.sleep(0.01)  # stands for real work
