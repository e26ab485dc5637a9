"""An adapter that can be imported."""

from bridge import Adapter, tool


class Sample(Adapter):
    """Adds."""

    @tool
    def add(self, a: int, b: int) -> int:
        """Adds."""
        return a + b
