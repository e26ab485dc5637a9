"""What hosts on the other side of a wire read off a scope."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bridge.call import time_remaining
from bridge.errors import BridgeError, Code, NoSessionError
from bridge.host import CallScope

__all__ = ["CHANGED_BY", "changed_by", "headers_of", "session_of", "time_left"]

CHANGED_BY = "bridge-changed-by"
"""Metadata key that says which tool writes: ``tool:<name>``."""


def session_of(scope: CallScope) -> str:
    """The session; raises ``NoSessionError`` outside of one."""
    if not scope.session_id:
        raise NoSessionError
    return scope.session_id


def time_left(scope: CallScope) -> float | None:
    """Seconds until the answer is needed, ``None`` without a limit; raises DEADLINE_EXCEEDED if there are none."""
    remaining = time_remaining(scope.deadline)
    if remaining == 0.0:
        message = "no time is left to ask the host"
        raise BridgeError(Code.DEADLINE_EXCEEDED, message, reason="DEADLINE_EXCEEDED")
    return remaining


def headers_of(scope: CallScope) -> Sequence[tuple[str, str]]:
    """The metadata that goes along, and who writes."""
    if scope.changed_by == "client":
        return tuple(scope.headers.items())
    return (*scope.headers.items(), (CHANGED_BY, scope.changed_by))


_TOOL = re.compile(r"tool:[A-Za-z0-9_.-]{1,128}")


def changed_by(headers: Mapping[str, str]) -> str:
    """Who writes, by the metadata that came along: a tool, or else the client."""
    writer = headers.get(CHANGED_BY, "client")
    return writer if writer == "client" or _TOOL.fullmatch(writer) else "client"
