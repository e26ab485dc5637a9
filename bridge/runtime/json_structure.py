"""The structure of a JSON document, looked at before a parser is: with the speed of ``bytes``, not of Python."""

from __future__ import annotations

import re

__all__ = ["is_deeper", "without_strings"]

_FOLD = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_LONG = 64 * 1024
"""Bytes of a document from which on it matters how its brackets are counted."""
_NOT_STRINGS = re.compile(rb'"[^"]*"')


def is_deeper(document: bytes, allowed: int) -> bool:
    """Whether a well-formed document has containers nested deeper than ``allowed``; any answer for another one."""
    if len(document) <= 2 * allowed or not _opens_more(document, allowed):
        return False
    skeleton = _without_escapes(document).translate(_FOLD, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in skeleton:  # strings that hold brackets
        skeleton = _NOT_STRINGS.sub(b"", skeleton)
    for _ in range(allowed):
        peeled = skeleton.replace(b"[]", b"")
        if len(peeled) == len(skeleton):
            break
        skeleton = peeled
    else:
        return bool(skeleton)
    # Nothing left to peel: empty, or unbalanced. Unbalanced text is refused by the parser, unless so deep that it
    # is better not to try.
    return b"[" * (allowed + 1) in skeleton


def _opens_more(document: bytes, allowed: int) -> bool:
    """Whether there are more than ``allowed`` opening brackets, in strings or not."""
    if len(document) < _LONG:
        return document.count(b"[") + document.count(b"{") > allowed
    for bracket in (b"[", b"{"):  # finding the few of a long text takes a tenth of the time of counting them
        place = document.find(bracket)
        while place >= 0:
            allowed -= 1
            if allowed < 0:
                return True
            place = document.find(bracket, place + 1)
    return False


def _without_escapes(document: bytes) -> bytes:
    """Removes escaped backslashes and quotes, so that every quote left begins or ends a string."""
    if b"\\" not in document:
        return document
    return document.replace(b"\\\\", b"").replace(b'\\"', b"")


def without_strings(document: bytes) -> bytes:
    """A well-formed document without its strings: its numbers, names and structure."""
    return _NOT_STRINGS.sub(b"", _without_escapes(document))
