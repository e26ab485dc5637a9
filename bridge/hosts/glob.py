"""Patterns over names of variables: ``*`` stands for any characters, ``?`` for one."""

from __future__ import annotations

import re

from bridge.errors import invalid_argument
from bridge.variables import MAX_NAME_LENGTH

__all__ = ["Glob", "check_pattern"]

_PATTERN = re.compile(rf"[A-Za-z0-9_.:/*?-]{{0,{MAX_NAME_LENGTH}}}")


def check_pattern(pattern: str) -> None:
    """Refuses a pattern by which no name could be meant: INVALID_ARGUMENT, reason ``PATTERN_REFUSED``."""
    if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
        rule = f"a pattern is at most {MAX_NAME_LENGTH} characters of names, '*' and '?'"
        raise invalid_argument("pattern", rule, reason="PATTERN_REFUSED")


class Glob:
    """A pattern, ready to match.

    The pattern is a machine with one state per character other than ``*``, run with all states at once as bits of an
    integer. So the time is the length of the name, whatever the pattern: nothing to backtrack, nothing to blow up.
    """

    __slots__ = ("_final", "_loops", "_masks", "_wild")

    def __init__(self, pattern: str) -> None:
        """Raises INVALID_ARGUMENT, see ``check_pattern``."""
        check_pattern(pattern)
        state = 1
        self._loops = 0
        """States that stay alive on every character: before them stands a ``*``."""
        self._wild = 0
        """States that move on with every character."""
        self._masks: dict[str, int] = {}
        """By character, the other states that move on with it."""
        for character in pattern or "*":
            if character == "*":
                self._loops |= state
                continue
            if character == "?":
                self._wild |= state
            else:
                self._masks[character] = self._masks.get(character, 0) | state
            state <<= 1
        self._final = state

    def matches(self, name: str) -> bool:
        """Whether the whole name fits."""
        states, loops, wild, masks = 1, self._loops, self._wild, self._masks
        for character in name:
            states = (states & loops) | (states & (masks.get(character, 0) | wild)) << 1
            if not states:
                return False
        return bool(states & self._final)
