"""A short way to declare variables."""

from __future__ import annotations

from typing import Any

from bridge.variables import Constraints, Declaration

__all__ = ["declare"]


def declare(name: str, type: str, value: Any, *, constraints: Constraints | None = None, **options: Any) -> Declaration:
    """A declaration, without constraints unless given."""
    return Declaration(name=name, type=type, value=value, constraints=constraints or Constraints(), **options)
