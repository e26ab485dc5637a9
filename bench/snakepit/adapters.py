"""What workers of ours serve."""

from __future__ import annotations

from typing import Any

from bridge import Adapter, tool

__all__ = ["Async", "Plain"]


class Async(Adapter):
    """Runs in the process that the pool has launched."""

    @tool
    async def echo(self, text: str, top: int) -> dict[str, Any]:
        """Returns its arguments."""
        return {"text": text, "top": top}


class Plain(Adapter):
    """Runs in a worker process of that."""

    @tool
    def echo(self, text: str, top: int) -> dict[str, Any]:
        """Returns its arguments."""
        return {"text": text, "top": top}
