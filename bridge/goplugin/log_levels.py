"""hclog's levels in Python's logging."""

from __future__ import annotations

import logging

from bridge.errors import invalid_argument

__all__ = ["LEVELS", "TRACE", "level_name", "level_number"]

TRACE = 5
"""Finer than DEBUG."""

LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
"""Numbers by hclog's names."""

if logging.getLevelName(TRACE) == f"Level {TRACE}":  # nobody else has named it
    logging.addLevelName(TRACE, "TRACE")


def level_name(number: int) -> str:
    """The highest of hclog's levels that is no higher; ``trace`` for what is finer."""
    return next((name for name, least in reversed(LEVELS.items()) if number >= least), "trace")


def level_number(level: int | str) -> int:
    """Python's number of a level by hclog's name, in any case; numbers stay as they are.

    Raises ``BridgeError`` INVALID_ARGUMENT for an unknown name.
    """
    if isinstance(level, int):
        return level
    try:
        return LEVELS[level.lower()]
    except KeyError:
        raise invalid_argument("level", f"is one of {', '.join(LEVELS)}") from None
