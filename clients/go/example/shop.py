"""The tools that the example's host calls."""

from collections.abc import AsyncIterator

from bridge import Adapter, SessionContext, tool

__all__ = ["Shop"]


class Shop(Adapter):
    """A basket in the variables of a session, prices from the host."""

    @tool(read_only=True)
    async def total(self, cents: list[int]) -> int:
        """Sum of prices."""
        return sum(cents)

    @tool
    async def count_down(self, start: int, ctx: SessionContext) -> AsyncIterator[int]:
        """Counts down to zero."""
        for number in range(start, -1, -1):
            ctx.progress((start - number) / start if start else 1.0, f"at {number}")
            yield number

    @tool
    async def put(self, item: str, ctx: SessionContext) -> int:
        """Puts an item into the basket, which is a variable of the session, and returns how many are in it."""
        basket = [*await ctx.get("basket", default=[]), item]
        await ctx.set("basket", basket)
        return len(basket)

    @tool
    async def pay(self, ctx: SessionContext) -> int:
        """Price of the basket in cents. Prices are the host's: they are asked by its tool `price`."""
        prices = [await ctx.call("price", item=item) for item in await ctx.get("basket", default=[])]
        return sum(prices)
