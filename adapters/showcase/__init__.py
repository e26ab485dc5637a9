"""Small adapters, one idea per file, that `bridge demo` runs.

The installed package carries this folder under another name, so nothing in here spells its own name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import ErrorTools
from .host import HostTools
from .streaming import StreamingTools
from .table import TableTools
from .text import TextTools
from .variables import VariableTools

if TYPE_CHECKING:
    from .arrays import ArrayTools

__all__ = [
    "ArrayTools",
    "ErrorTools",
    "HostTools",
    "StreamingTools",
    "TableTools",
    "TextTools",
    "VariableTools",
]


def __getattr__(name: str) -> Any:
    """Imports `ArrayTools` when it is asked for, because NumPy is optional and the other adapters do without it."""
    if name == "ArrayTools":
        return import_module(f"{__name__}.arrays").ArrayTools
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
