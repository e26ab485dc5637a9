"""What somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["closest", "suggest"]


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like a misspelt one, if one is."""
    import difflib  # only mistakes need it, and workers start without

    return next(iter(difflib.get_close_matches(word[:128], list(known), n=1)), None)


def suggest(word: str, known: Iterable[str]) -> str:
    """What to say of a name that does not exist: the one that was meant, or those that do."""
    names = sorted(known)
    close = closest(word, names)
    if close is not None:
        return f"did you mean {close!r}?"
    if not names:
        return "there are none here"
    return f"there is {', '.join(names[:8])}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")
