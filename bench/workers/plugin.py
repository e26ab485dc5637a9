"""The plugin of the bench. Runs in a plugin's interpreter: nothing but the standard library and numpy."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge import Adapter, tool


class Echo(Adapter):
    """Gives back what it gets."""

    @tool
    def echo(self, text: str, number: int) -> dict[str, Any]:
        """A small call."""
        return {"text": text, "number": number}

    @tool
    async def echo_async(self, text: str, number: int) -> dict[str, Any]:
        """The same, on an event loop."""
        return {"text": text, "number": number}

    @tool
    def numbers(self, count: int) -> Iterator[int]:
        """A stream."""
        yield from range(count)

    @tool
    def array(self, data: Any) -> Any:
        """An array there, and another one back."""
        return data + 1

    @tool
    def length(self, data: Any) -> int:
        """An array there, a number back."""
        return int(data.size)

    @tool
    def same(self, data: Any) -> Any:
        """An array there, and the same one back."""
        return data

    @tool
    def meet(self, folder: str, count: int) -> int:
        """Returns when so many workers are in it."""
        Path(folder, str(os.getpid())).touch()
        while len(list(Path(folder).iterdir())) < count:
            time.sleep(0.001)
        return count
