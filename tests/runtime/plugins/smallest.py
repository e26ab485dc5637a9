"""The smallest adapter, which shows what a worker needs for it."""

import sys

from bridge import Adapter, tool


class Smallest(Adapter):
    @tool
    def modules(self) -> "list[str]":
        return sorted(sys.modules)
