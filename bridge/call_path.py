"""Calls inside calls: which tools a call is nested in, carried from server to server.

    tool a ─▶ host tool b ─▶ tool c ─▶ ...        c is called with "bridge-call-path: a,b"

The context of a tool and the Python clients send the path by themselves, also in threads and tasks that the tool
starts with its context (``asyncio.to_thread``, ``create_task``; a bare ``threading.Thread`` has none). It is looked at
before a call further down is sent, so tools that call each other in a circle end with an error and not with the last
thread. Looking at what comes in as well would cost every call for what no tool that calls nothing can do harm by.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec

from bridge.errors import BridgeError, Code

if TYPE_CHECKING:
    from bridge.call import ToolCall
    from bridge.cancel_event import CancelEvent

__all__ = [
    "CALL_PATH",
    "ENCLOSING",
    "MAX_CALL_DEPTH",
    "Enclosing",
    "check_path",
    "enclosing",
    "is_nested",
    "name_in_headers",
    "path_below",
]

CALL_PATH = "bridge-call-path"
"""Metadata key with the names of the tools a call is nested in, outermost first, separated by commas."""
MAX_CALL_DEPTH = 16
"""A call may be nested in so many others."""

_PATH = re.compile(r"[!-+\--~]{1,128}(?:, ?[!-+\--~]{1,128})*")
"""Names of any language: visible ASCII, which is what metadata can carry, without commas."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_SHOWN = 500
"""Characters of a path in a message."""


class Enclosing(msgspec.Struct):
    """The call that the code at hand runs for.

    Contexts are copied and outlive the call in tasks that its tool left behind, so what they hold is emptied at its
    end: such a task keeps no arguments alive, and what it calls is nested in nothing.
    """

    call: ToolCall | None
    """``None`` when the call has ended."""
    cancelled: CancelEvent


ENCLOSING: ContextVar[Enclosing | None] = ContextVar("bridge_enclosing_call", default=None)
"""Set by the dispatcher; read it by ``enclosing``."""


def enclosing() -> Enclosing | None:
    """The call that the code at hand runs for, if it is a tool's and the call has not ended."""
    found = ENCLOSING.get()
    return None if found is None or found.call is None else found


def is_nested(call: ToolCall) -> bool:
    """Whether a tool waits for this call."""
    return bool(call.headers.get(CALL_PATH))


def path_below(call: ToolCall) -> str:
    """The path of calls that the tool of this call makes."""
    path, name = call.headers.get(CALL_PATH), name_in_headers(call)
    return f"{path},{name}" if path else name


def name_in_headers(call: ToolCall) -> str:
    """The name of the tool, as headers can carry it and hosts take it: adapters of Snakepit have tools of any name."""
    name = call.tool
    return name if _NAME.fullmatch(name) else _NOT_IN_NAME.sub("_", name[:128]) or "_"


def check_path(path: str, tool: str) -> None:
    """Refuses a call of ``tool`` that comes by this path.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``CALL_PATH_MALFORMED``, for what is no path: dropping it would take the
            brake off a circle. FAILED_PRECONDITION if it is too deep, reason ``CALL_CYCLE`` if a tool is in it twice,
            else ``CALL_DEPTH``.
    """
    is_too_deep = path.count(",") >= MAX_CALL_DEPTH
    if is_too_deep:  # by how much is not looked at
        path = ",".join(path.rsplit(",", MAX_CALL_DEPTH)[1:])
    if not _PATH.fullmatch(path):
        message = f"{CALL_PATH} must be names of tools, separated by commas; leave it out in calls that no tool makes"
        raise BridgeError(Code.INVALID_ARGUMENT, message, reason="CALL_PATH_MALFORMED")
    if is_too_deep:
        raise _too_deep([*path.replace(" ", "").split(","), tool])


def _too_deep(names: list[str]) -> BridgeError:
    circle = _circle(names)
    if circle:
        reason, problem = "CALL_CYCLE", f"tools call each other in a circle, {_shown(circle)}"
        advice = "break it"
    else:
        reason, problem = "CALL_DEPTH", f"tools call each other too deep, {_shown(names)}"
        advice = "make the chain shorter"
    return BridgeError(
        Code.FAILED_PRECONDITION,
        f"tool {names[-1][:128]!r} was not started: {problem}; at most {MAX_CALL_DEPTH} calls may be around one, so "
        + advice,
        reason=reason,
    )


def _circle(names: list[str]) -> list[str]:
    """The last way from a tool back to itself; empty if none is there twice."""
    for end in range(len(names) - 1, 0, -1):
        for begin in range(end - 1, -1, -1):
            if names[begin] == names[end]:
                return names[begin : end + 1]
    return []


def _shown(names: list[str]) -> str:
    text = " -> ".join(names)
    return text if len(text) <= _SHOWN else "..." + text[-_SHOWN:]
