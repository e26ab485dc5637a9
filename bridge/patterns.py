"""Regular expressions as constraints: in RE2's syntax, matched in linear time.

Linear is not yet fast: RE2 takes a step for each byte of the text and each instruction of the compiled pattern when it
cannot do better. So both are bounded, and so is their product, which is what the event loop waits for.
"""

from __future__ import annotations

import functools
from typing import Any

from bridge.errors import BridgeError, Code, invalid_argument

__all__ = ["FIELD", "MAX_PATTERN_LENGTH", "MAX_STEPS", "mismatch", "pattern_problem"]

FIELD = "constraints.pattern"
"""What errors about a pattern are about."""
MAX_PATTERN_LENGTH = 1_000
"""Characters of a pattern."""
MAX_MEMORY = 2 * 1024 * 1024
"""Bytes that RE2 may take for one compiled pattern and what it remembers while it matches."""
MAX_CACHED = 128
"""Compiled patterns that are kept; as many as the ``re2`` module keeps by itself."""
MAX_STEPS = 2**26
"""Bytes of a text times instructions of the pattern: a third of a second in the worst case."""
_MAX_SHOWN = 100
"""Characters of a pattern, or of the part of it that RE2 refuses, in messages."""


def pattern_problem(pattern: object) -> str:
    """What is wrong with the form of a pattern, empty if nothing is. Whether RE2 takes it, ``mismatch`` finds out: only
    who obeys a pattern needs RE2."""
    if not isinstance(pattern, str):
        return "must be a string"
    if len(pattern) > MAX_PATTERN_LENGTH:
        return f"must have at most {MAX_PATTERN_LENGTH} characters"
    return "" if _utf8(pattern) is not None else "must be Unicode text, without lone surrogates"


def mismatch(pattern: str, text: str) -> str:
    """Why the whole text does not match a pattern, in words that follow "violates"; empty if it does.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``CONSTRAINTS_REFUSED``, for a pattern that RE2 cannot compile, or not in
            the memory it may take; FAILED_PRECONDITION, reason ``PATTERN_UNSUPPORTED``, without google-re2.
    """
    compiled = _compiled(pattern)
    encoded = _utf8(text)
    if encoded is None:
        return "pattern (which only text without lone surrogates can match)"
    longest = MAX_STEPS // compiled.programsize
    if len(encoded) > longest:
        return f"pattern (this one can be matched by at most {longest} bytes of UTF-8)"
    if compiled.fullmatch(encoded) is not None:
        return ""
    return f"pattern {pattern}" if len(pattern) <= _MAX_SHOWN and pattern.isprintable() else "pattern"


def _utf8(text: str) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


@functools.lru_cache(MAX_CACHED)
def _compiled(pattern: str) -> Any:
    """The pattern for texts in UTF-8: matching a ``str``, the module would count characters for offsets that nobody
    asks for."""
    if problem := pattern_problem(pattern):
        raise invalid_argument(FIELD, problem, reason="CONSTRAINTS_REFUSED")
    re2 = _engine()
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        description = f"RE2 refuses it: {_reason(error)}; see https://github.com/google/re2/wiki/Syntax"
        raise invalid_argument(FIELD, description, reason="CONSTRAINTS_REFUSED") from None


def _engine() -> Any:
    try:
        import re2  # optional, and only for sessions with patterns
    except ImportError:
        message = (
            "this host cannot enforce constraints.pattern, it needs google-re2: "
            "pip install 'tool-bridge[patterns]' where the host runs, or leave the pattern out"
        )
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="PATTERN_UNSUPPORTED") from None
    return re2


def _reason(error: Exception) -> str:
    """RE2's own words. They end with the part of the pattern that is meant, which may be all of it."""
    said = error.args[0] if error.args else b""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    what, separator, part = text.partition(": ")
    return text if len(part) <= _MAX_SHOWN else f"{what}{separator}{part[:_MAX_SHOWN]}..."
