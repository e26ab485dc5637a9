"""Which calls want the main thread: libraries that keep state by thread, in Snakepit's words "thread-sensitive"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ThreadSensitive"]

_TRUE = frozenset({"1", "true", "yes", "on"})
_MODULES = ("module_path", "python_module", "library")
_FUNCTIONS = ("function", "method")


class ThreadSensitive:
    """Tells by what a call says of itself, and by a list.

    Args:
        names: comma-separated ``module`` or ``module.function``, as in ``SNAKEPIT_THREAD_SENSITIVE``. They are compared
            with the arguments by which tools of SnakeBridge name what they call.
    """

    def __init__(self, names: str = "") -> None:
        self._names = frozenset(name.strip() for name in names.split(",") if name.strip())

    def wants(self, metadata: Mapping[str, str], arguments: Mapping[str, Any]) -> bool:
        """Whether a call wants the main thread."""
        if metadata and metadata.get("thread_sensitive", "").lower() in _TRUE:
            return True
        return bool(self._names) and self._is_listed(arguments)

    def _is_listed(self, arguments: Mapping[str, Any]) -> bool:
        functions = [text for key in _FUNCTIONS if isinstance(text := arguments.get(key), str)]
        modules = [text for key in _MODULES if isinstance(text := arguments.get(key), str)]
        named = (f"{module}.{function}" for module in modules for function in functions)
        return any(name in self._names for name in (*modules, *named))
