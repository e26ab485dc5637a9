"""How Go reads and writes small values: hosts and plugins in Go are as strict, and as lenient, as its library is."""

from __future__ import annotations

import re

__all__ = ["atoi", "parse_bool", "quote", "trim_space"]

_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DIGITS = 19
"""Of the largest int64."""

_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True)
_BOOLEANS |= dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False)

_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_ESCAPES |= {"\\": "\\\\", '"': '\\"'}


def trim_space(text: str) -> str:
    """``strings.TrimSpace``; unlike ``str.strip`` it keeps the separators U+001C to U+001F."""
    return text.strip(_SPACE)


def atoi(text: str) -> int:
    """``strconv.Atoi`` with 64 bits: ASCII digits after at most one sign, no space, no underscore.

    Raises ``ValueError`` with Go's words.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"strconv.Atoi: parsing {quote(text)}: invalid syntax")
    digits = text.lstrip("+-0")
    number = int(digits or "0") * (-1 if text.startswith("-") else 1) if len(digits) <= _DIGITS else 2**63
    if -(2**63) <= number < 2**63:
        return number
    raise ValueError(f"strconv.Atoi: parsing {quote(text)}: value out of range")


def parse_bool(text: str) -> bool | None:
    """``strconv.ParseBool``; ``None`` where that has an error."""
    return _BOOLEANS.get(text)


def quote(text: str) -> str:
    """``%q``. Bytes that were no UTF-8 are expected as ``surrogateescape`` leaves them."""
    return '"' + "".join(char if char.isprintable() and char not in _ESCAPES else _escape(char) for char in text) + '"'


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
