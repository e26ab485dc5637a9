"""Session variables and host tools: what a tool asks of the program that owns the session."""

from bridge import Adapter, BridgeError, Code, SessionContext, ToolError, tool

__all__ = ["VariableTools"]

ATTEMPTS = 8
"""Times that a write is tried again when somebody else was faster."""


async def read_total(ctx: SessionContext) -> tuple[float, int]:
    """The variable `total` and its version; one that is not there yet counts as 0 at version 0."""
    try:
        variable = await ctx.get_variable("total")
    except BridgeError as error:
        if error.reason != "VARIABLE_NOT_FOUND":
            raise
        return 0.0, 0
    return variable.value, variable.version


class VariableTools(Adapter):
    """Tools that remember. The adapter is made for one call; what must last is a variable of the session."""

    @tool
    async def add_to_total(self, amount: float, ctx: SessionContext) -> float:
        """Adds to the variable `total` and returns the sum; two calls at once lose nothing.

        The write names the version that was read. If another call wrote in between the host answers ABORTED, and the
        sum is made again from what is there now.
        """
        for _ in range(ATTEMPTS):
            total, version = await read_total(ctx)
            try:
                await ctx.set("total", total + amount, expected_version=version)
            except BridgeError as error:
                if error.code is not Code.ABORTED:
                    raise
            else:
                return total + amount
        raise ToolError(Code.ABORTED, f"others wrote 'total' {ATTEMPTS} times in between; call again", reason="BUSY")

    @tool
    async def adjust_temperature(self, by: float, ctx: SessionContext) -> list[float]:
        """Changes the variable `temperature` and returns every setting so far, oldest first.

        The setting and its history are written together or not at all.
        """
        before = await ctx.get("temperature", default=20.0)
        history = [*await ctx.get("temperature_history", default=[before]), before + by]
        await ctx.set_many({"temperature": before + by, "temperature_history": history}, atomic=True)
        return history

    @tool
    async def quote(self, item: str, quantity: int, ctx: SessionContext) -> int:
        """Price of a purchase in cents. The price is the host's: it is asked by its tool `lookup_price`."""
        cents = int(await ctx.call("lookup_price", item=item)) * quantity
        await ctx.call("audit", event=f"quoted {quantity} x {item}")
        return cents

    @tool
    def list_variables(self, ctx: SessionContext, pattern: str = "*") -> dict[str, str]:
        """Names and types of the variables that match a pattern. In an ordinary function the calls go by `ctx.sync`."""
        return {variable.name: variable.type for variable in ctx.sync.list(pattern)}
