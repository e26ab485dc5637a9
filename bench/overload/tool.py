"""The tool that is called: ``bridge serve bench.overload.tool:Work``."""

from __future__ import annotations

from bridge import Adapter, tool

__all__ = ["Work"]


class Work(Adapter):
    """Computes."""

    @tool
    def work(self, rounds: int) -> int:
        """Takes some milliseconds of CPU, always the same work."""
        total = 0
        for number in range(rounds):
            total += number
        return total
