"""The tools that workers have told a host of, by session, under the rules of Snakepit's registry."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping

from bridge.errors import BridgeError, Code
from bridge.snakepit import messages
from bridge.variables import SessionInfo

__all__ = ["MAX_TOOLS", "Registrations"]

MAX_TOOLS = 1_000
"""Of one session."""
MAX_NAME_BYTES = 64
MAX_METADATA_ENTRIES = 32
MAX_METADATA_BYTES = 4096

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Tools = dict[str, str]
"""By name, the worker that has the tool."""


class Registrations:
    """Remembers which worker has which tool.

    What is registered ends with its session: it is kept under the instant the session was opened, and so is not that of
    a later session of the same id. Of more sessions than there can be, the one used longest ago is forgotten.

    Args:
        own: names of the host's own tools, which nobody else's can have.
        max_sessions: sessions of which something is remembered.
    """

    def __init__(self, own: Container[str], max_sessions: int) -> None:
        self._own = own
        self._max_sessions = max_sessions
        self._sessions: dict[str, tuple[float, Tools]] = {}

    def of(self, session: SessionInfo) -> Mapping[str, str]:
        """By name, the worker that has the tool."""
        opened_at, tools = self._sessions.pop(session.session_id, (session.created_at, {}))
        if opened_at != session.created_at or not tools:
            return {}
        self._sessions[session.session_id] = opened_at, tools  # at the end: it was used last
        return tools

    def add(self, session: SessionInfo, tools: Iterable[messages.ToolRegistration], worker_id: str) -> list[str]:
        """Registers tools, all or none; returns their names.

        Raises ``BridgeError``: INVALID_ARGUMENT for what is against the rules, ALREADY_EXISTS for a name that is taken,
        RESOURCE_EXHAUSTED for too many.
        """
        known = self.of(session)
        added: Tools = {}
        for tool in tools:
            name = _check_name(tool.name)
            _check_metadata(name, {**tool.metadata, "supports_streaming": str(tool.supports_streaming).lower()})
            if name in added or name in known or name in self._own:
                message = f"duplicate_tool: there is a tool {name!r} already; give it another name"
                raise BridgeError(Code.ALREADY_EXISTS, message, reason="DUPLICATE_TOOL")
            added[name] = worker_id
        if len(known) + len(added) > MAX_TOOLS:
            message = f"too_many_tools: a session has at most {MAX_TOOLS}"
            raise BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="LIMIT_EXCEEDED")
        self._sessions[session.session_id] = session.created_at, {**known, **added}
        while len(self._sessions) > self._max_sessions:
            del self._sessions[next(iter(self._sessions))]
        return list(added)

    def forget(self, session_id: str) -> None:
        """Forgets what a session had."""
        self._sessions.pop(session_id, None)


def _check_name(text: str) -> str:
    name = text.strip()
    if len(name.encode()) <= MAX_NAME_BYTES and _NAME.fullmatch(name):
        return name
    rule = f"1 to {MAX_NAME_BYTES} letters, digits, '_', '.' and '-', and begins with a letter or digit"
    message = f"invalid_tool_name: a name is {rule}"
    raise BridgeError(Code.INVALID_ARGUMENT, message, reason="INVALID_ARGUMENT")


def _check_metadata(name: str, metadata: Mapping[str, str]) -> None:
    """``supports_streaming`` is one of the entries, as Snakepit keeps it there."""
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if len(metadata) > MAX_METADATA_ENTRIES or size > MAX_METADATA_BYTES:
        limits = f"{MAX_METADATA_ENTRIES} entries and {MAX_METADATA_BYTES} bytes"
        message = f"invalid_metadata: that of {name!r}, with supports_streaming, has more than {limits}"
        raise BridgeError(Code.INVALID_ARGUMENT, message, reason="INVALID_ARGUMENT")
