"""What the documentation of a tool says of it and of its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["parameter_docs", "summary"]

_SECTION = re.compile(r"^\s*(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?)\s*:?\s*$", re.MULTILINE)


def summary(doc: str) -> str:
    """The documentation up to its sections about parameters and results."""
    section = _SECTION.search(doc)
    return (doc[: section.start()] if section else doc).strip()


def parameter_docs(doc: str, names: Iterable[str]) -> dict[str, str]:
    """What the documentation says of each parameter.

    Understands ``name: text`` (Google style, or after two spaces in a running text) and ``:param name: text``.
    """
    found: dict[str, str] = {}
    for name in names:
        pattern = rf"(?:^[ \t]*(?::param\s+)?|(?<=\s\s)){re.escape(name)}(?:\s*\([^)\n]*\))?\s*:[ \t]+(?P<text>[^\n]+)"
        match = re.search(pattern, doc, re.MULTILINE)
        if match:
            found[name] = match["text"].split("  ")[0].strip()
    return found
