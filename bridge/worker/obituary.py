"""What is said about a worker that has died."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.runtime.death import Exit

__all__ = ["died", "excerpt", "with_output"]

SHOWN_LINES, SHOWN_CHARACTERS = 12, 1200
"""How much of what it printed goes into the error."""
BEFORE_STACK = 4
"""Lines of that from before the stack, if Python printed one."""

_SIGNALS = frozenset(signal.Signals)
_FATAL = "Fatal Python error"
"""How the stacks that faulthandler prints begin."""
_GUILTY = "Current thread"
"""How that of the thread begins which the signal came to; others may come before it."""


def died(pid: int, exit_: Exit | None) -> BridgeError:
    """The error of a worker's calls: UNAVAILABLE, reason ``WORKER_DIED``.

    Args:
        pid: the worker.
        exit_: how it ended; ``None`` if it only stopped to answer, and was killed for that.
    """
    metadata = {"pid": str(pid)}
    if exit_ is None:
        how = "closed its pipe and was killed"
    else:
        how = f"ended with {exit_.describe()}"
        if exit_.signal is None:
            metadata["exit_code"] = str(exit_.code)
        else:
            metadata["signal"] = signal.Signals(exit_.signal).name if exit_.signal in _SIGNALS else str(exit_.signal)
    details = ErrorDetails(metadata=metadata)
    return BridgeError(Code.UNAVAILABLE, f"worker {pid} {how}", reason="WORKER_DIED", details=details)


def with_output(error: BridgeError, lines: Sequence[str], tool: str = "") -> BridgeError:
    """The error with what the worker printed at last, and the tool that it ran."""
    message = error.message
    if tool:
        message = f"{message} while it ran tool {tool!r}, which may have done part of its work"
    if text := excerpt(lines):
        message = f"{message}; it printed at last:\n{text}"
    return BridgeError(error.code, message, reason=error.reason, details=error.details)


def excerpt(lines: Sequence[str]) -> str:
    """The lines that tell most: if Python has printed its stack, from a little before that on."""
    fatal = _find(lines, _FATAL)
    if fatal is None:
        shown = lines[-SHOWN_LINES:]
    else:
        before = lines[max(0, fatal - BEFORE_STACK) : fatal + 1]
        shown = [*before, *lines[_find(lines, _GUILTY, fatal) or fatal + 1 :]][:SHOWN_LINES]
    text = "\n".join(shown).strip()
    return text if len(text) <= SHOWN_CHARACTERS else "..." + text[-SHOWN_CHARACTERS:]


def _find(lines: Sequence[str], begin: str, after: int = 0) -> int | None:
    return next((number for number, line in enumerate(lines) if number >= after and line.startswith(begin)), None)
