"""Calls inside calls: which tools a call is nested in, carried from server to server; see ``bridge.call_path``."""

from __future__ import annotations

import re

from .errors import BridgeError, Code

__all__ = ["CALL_PATH", "TRACE_HEADERS", "check_path"]

CALL_PATH = "bridge-call-path"
"""Key of the header with the names of the tools a call is nested in, outermost first, separated by commas."""
TRACE_HEADERS = ("traceparent", "tracestate", "baggage")
"""Headers that are passed on untouched (https://www.w3.org/TR/trace-context/)."""
MAX_CALL_DEPTH = 16
"""A call may be nested in so many others."""

_PATH = re.compile(r"[!-+\--~]{1,128}(?:, ?[!-+\--~]{1,128})*")
_SHOWN = 500


def check_path(path: str, tool: str) -> None:
    """Refuses a call of ``tool`` that comes by this path.

    Raises ``BridgeError``: INVALID_ARGUMENT, reason ``CALL_PATH_MALFORMED``, for what is no path; FAILED_PRECONDITION
    if it is too deep, reason ``CALL_CYCLE`` if a tool is in it twice, else ``CALL_DEPTH``.
    """
    is_too_deep = path.count(",") >= MAX_CALL_DEPTH
    if is_too_deep:
        path = ",".join(path.rsplit(",", MAX_CALL_DEPTH)[1:])
    if not _PATH.fullmatch(path):
        message = f"{CALL_PATH} must be names of tools, separated by commas; leave it out in calls that no tool makes"
        raise BridgeError(Code.INVALID_ARGUMENT, message, reason="CALL_PATH_MALFORMED")
    if is_too_deep:
        names = [*path.replace(" ", "").split(","), tool]
        is_circle = len(set(names)) < len(names)
        how = "in a circle" if is_circle else "too deep"
        shown = " -> ".join(names)[-_SHOWN:]
        raise BridgeError(
            Code.FAILED_PRECONDITION,
            f"tool {tool[:128]!r} was not started: tools call each other {how}, {shown}; at most {MAX_CALL_DEPTH} "
            "calls may be around one",
            reason="CALL_CYCLE" if is_circle else "CALL_DEPTH",
        )
