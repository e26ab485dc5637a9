"""What stock adapters stream: which results are streams, and what their chunks are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bridge.call import Chunk
from bridge.snakepit import FINAL
from bridge.snakepit.graceful import plain

__all__ = ["END", "as_chunk", "is_stream", "step", "step_async"]

END = object()
"""There are no more values; ``StopIteration`` cannot leave a coroutine."""

_VALUES = (str, bytes, bytearray, memoryview, Mapping)
_CONVERSIONS = ("model_dump", "to_dict", "_asdict", "tolist")
"""Methods of objects that are values, though some can be iterated over."""
_SIMPLE = frozenset({str, bytes, dict, list, int, float, bool, type(None)})


def is_stream(result: Any, *, wanted: bool) -> bool:
    """Whether a result is a stream.

    Args:
        result: what the tool has returned.
        wanted: the caller has asked for a stream: lists and the like are streams, then.
    """
    if type(result) in _SIMPLE and not (wanted and type(result) is list):
        return False
    if hasattr(result, "__aiter__") or hasattr(result, "__next__"):
        return True
    return (
        wanted
        and isinstance(result, Iterable)
        and not isinstance(result, _VALUES)
        and not any(hasattr(result, name) for name in _CONVERSIONS)
    )


def as_chunk(item: Any, carry: Callable[[Any], Any] = plain) -> Any:
    """What a stream has given, as JSON can carry it.

    An object with ``data``, and perhaps ``is_final`` and ``metadata``, is taken apart (Snakepit's ``StreamChunk`` is
    one); an array has ``data``, too, and is a value. ``carry`` is what makes values such that JSON can carry them.
    """
    if type(item) in _SIMPLE or not hasattr(item, "data") or hasattr(item, "tolist"):
        return carry(item)
    metadata = getattr(item, "metadata", None)
    marks = {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}
    if getattr(item, "is_final", False):
        marks[FINAL] = "true"
    return Chunk(carry(item.data), metadata=marks or None)


def step(values: Any) -> Any:
    """The next of an iterator's values, or ``END``."""
    return next(values, END)


async def step_async(values: Any) -> Any:
    """The next of an iterator's values, asynchronous or not, or ``END``."""
    return await anext(values, END) if hasattr(values, "__anext__") else next(values, END)
