"""The executor seam: where a tool runs."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from bridge.invocation import Invocation

__all__ = ["Executor"]


class Executor(Protocol):
    """Runs invocations."""

    def run(self, invocation: Invocation) -> Awaitable[Any]:
        """Runs an invocation and returns its result. Ends only when its code has really stopped running, also after a
        cancel. Raises ``BridgeError`` RESOURCE_EXHAUSTED, with a time to retry, if there is no room."""

    async def aclose(self) -> None:
        """Lets go of what is left; work that cannot be stopped is abandoned."""
