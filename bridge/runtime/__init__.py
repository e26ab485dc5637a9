"""The worker of plugins: standard library only, any Python >= 3.9. In a worker this package is named ``bridge``.

The names for writing adapters are those of the full bridge, so that an adapter need not know where it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapter import Adapter
    from .context import SessionContext
    from .errors import BridgeError, Code, NoHostError, NoSessionError, ToolError
    from .host_messages import Constraints, Variable
    from .tools import tool

__all__ = [
    "Adapter",
    "BridgeError",
    "Code",
    "Constraints",
    "NoHostError",
    "NoSessionError",
    "SessionContext",
    "ToolError",
    "Variable",
    "tool",
]

_HOMES = {
    "Adapter": "adapter",
    "BridgeError": "errors",
    "Code": "errors",
    "Constraints": "host_messages",
    "NoHostError": "errors",
    "NoSessionError": "errors",
    "SessionContext": "context",
    "ToolError": "errors",
    "Variable": "host_messages",
    "tool": "tools",
}
_NOT_HERE = frozenset({"Update", "UpdateKind", "Watch"})


def __getattr__(name: str) -> Any:
    """Names come when they are asked for: who needs the codec only should not wait for the rest."""
    home = _HOMES.get(name)
    if home is not None:
        import importlib

        value = globals()[name] = getattr(importlib.import_module(f".{home}", __name__), name)
        return value
    if name in _NOT_HERE:
        # `from bridge import Watch` would make an AttributeError a message that says nothing.
        raise ImportError(f"{name} is not there in plugins: variables can be read and written, not watched")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
