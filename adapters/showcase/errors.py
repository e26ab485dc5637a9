"""What can go wrong, and what the caller sees of it."""

import asyncio
from typing import Annotated, Any

import msgspec

from bridge import Adapter, Code, ToolError, tool

__all__ = ["ErrorTools"]


class ErrorTools(Adapter):
    """Tools that fail."""

    @tool
    async def withdraw(self, amount: int, balance: int = 100) -> int:
        """Takes money from an account and returns what is left. Too much is an error that the author chose.

        The caller gets the code, the reason and the facts; a program can act on them without reading the message.
        """
        if amount > balance:
            raise ToolError(
                Code.FAILED_PRECONDITION,
                f"the account has {balance} and {amount} was asked for; withdraw less",
                reason="INSUFFICIENT_FUNDS",
                metadata={"missing": str(amount - balance)},
            )
        return balance - amount

    @tool
    async def divide(self, a: float, b: float) -> float:
        """Divides. By zero it raises an exception that nobody planned for: UNKNOWN, with the exception's name."""
        return a / b

    @tool
    async def sleep(self, seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)]) -> float:
        """Sleeps, and returns how long. A caller with less time gets DEADLINE_EXCEEDED, and the sleep is cancelled."""
        await asyncio.sleep(seconds)
        return seconds

    @tool
    async def return_uncarriable(self) -> Any:
        """Returns a value that no wire can carry. The error names the place, `$.rows[1]`; no repr is sent instead."""
        return {"rows": [1, object()]}
