"""Arrays as lists, if they are not too large for that."""

from __future__ import annotations

import math
from typing import Any

from bridge.snakepit.markers import whole_number

__all__ = ["list_of"]

MAX_ELEMENTS = "SNAKEPIT_TOLIST_MAX_ELEMENTS"
"""Elements of an array that becomes a list; a larger one becomes a marker."""
_DEFAULT_ELEMENTS = 1_000_000


def list_of(value: Any) -> Any:
    """``value.tolist()``. Raises ``ValueError`` if it has more elements than the environment allows."""
    allowed = whole_number(MAX_ELEMENTS, _DEFAULT_ELEMENTS)
    shape = getattr(value, "shape", None)
    if shape is not None and math.prod(map(int, shape)) > allowed:  # before memory is taken for it
        raise ValueError(f"more than {allowed} elements")
    made: Any = value.tolist()
    if shape is None and isinstance(made, list) and _holds_more(made, allowed):
        raise ValueError(f"more than {allowed} elements")
    return made


def _holds_more(made: list[Any], allowed: int) -> bool:
    """Whether a list of lists holds more than so many elements."""
    waiting, count = [made], 0
    while waiting and count <= allowed:
        for item in waiting.pop():
            if isinstance(item, list):
                waiting.append(item)
            else:
                count += 1
    return count > allowed
