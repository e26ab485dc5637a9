"""The stdout of C's library, which has a buffer of its own: into a pipe it writes only when that is full."""

from __future__ import annotations

from typing import Any

__all__ = ["flush", "print_by_lines"]

_LINES, _SIZE = 1, 4096
"""``_IOLBF`` of Linux' C libraries, and the size that they give a buffer."""
_found: tuple[Any, Any] | None = None
"""The library and its stream, once lines are wanted: until then nobody pays for looking."""


def print_by_lines() -> None:
    """Has code in C write what it prints at the end of each line, and at once what it has printed already."""
    global _found
    if _found is not None:
        return
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(libc, "stdout")
    except (ImportError, OSError, ValueError):
        return  # a Python without ctypes, or a library that calls it otherwise: C prints when it likes
    libc.malloc.restype = ctypes.c_void_p
    libc.fflush(stdout)
    # With a buffer in use glibc goes on with it as before, and it ignores a size alone. The library needs this one for
    # longer than Python lives.
    libc.setvbuf(stdout, ctypes.c_void_p(libc.malloc(ctypes.c_size_t(_SIZE))), _LINES, ctypes.c_size_t(_SIZE))
    _found = libc, stdout


def flush() -> None:
    """Has code in C write what it has printed, if it was to print by lines."""
    if _found is not None:
        libc, stdout = _found
        libc.fflush(stdout)
