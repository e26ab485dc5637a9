"""Adapters as Snakepit's own server takes them, the lightest there can be. Needs neither that nor tool-bridge."""

from __future__ import annotations

from typing import Any

__all__ = ["LightAsync", "LightSync"]


class LightAsync:
    """Its tool is a coroutine."""

    session_context: Any = None

    def set_session_context(self, session_context: Any) -> None:
        """Told before each call."""
        self.session_context = session_context

    async def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
        """Returns its arguments."""
        return arguments


class LightSync:
    """Its tool is plain code."""

    session_context: Any = None

    def set_session_context(self, session_context: Any) -> None:
        """Told before each call."""
        self.session_context = session_context

    def execute_tool(self, tool_name: str, arguments: dict[str, Any], context: Any) -> Any:
        """Returns its arguments."""
        return arguments
