"""An adapter that loads numpy, and its old generator."""

import numpy.random

from bridge import Adapter, tool


class UsesNumpy(Adapter):
    """Draws."""

    @tool
    def draw(self) -> float:
        """A number."""
        return float(numpy.random.random())
