"""What a class has that was written for Snakepit's own Python server."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from bridge.adapter import Adapter

__all__ = ["METADATA", "declared_tools", "executes", "is_async", "is_stock"]

METADATA = "_tool_metadata"
"""Attribute of a method that Snakepit's ``@tool`` has marked."""


def is_stock(cls: object) -> bool:
    """Whether it is an adapter class by the rules of Snakepit and not by ours: it has ``execute_tool``, or methods that
    Snakepit's ``@tool`` has marked."""
    if not isinstance(cls, type) or issubclass(cls, Adapter):
        return False
    return executes(cls) or bool(declared_tools(cls))


def executes(cls: type) -> bool:
    """Whether it has ``execute_tool``, and so decides itself which tools there are."""
    return callable(getattr(cls, "execute_tool", None))


def declared_tools(cls: type) -> dict[str, Callable[..., Any]]:
    """Its methods that are marked as tools, unbound, by name."""
    found = {name: getattr(cls, name, None) for name in sorted(dir(cls))}
    return {name: method for name, method in found.items() if callable(method) and hasattr(method, METADATA)}


def is_async(function: object) -> bool:
    """Whether a method has to be called on an event loop."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
