"""The one error type, with gRPC's codes, used on every side of every wire.

A code says what a caller can do about it; ``reason`` is the same for programs, finer; the message is for people and
says what to do next. Whose fault it is follows from the code: ``INVALID_ARGUMENT`` the caller's, ``UNKNOWN`` the
tool's, ``INTERNAL`` ours.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

__all__ = [
    "BridgeError",
    "Code",
    "ErrorDetails",
    "FieldViolation",
    "NoHostError",
    "NoSessionError",
    "ToolError",
    "invalid_argument",
]


class Code(enum.IntEnum):
    """gRPC's status codes other than OK (grpc/doc/statuscodes.md)."""

    CANCELLED = 1
    """The caller gave up."""
    UNKNOWN = 2
    """The tool raised an exception of its own."""
    INVALID_ARGUMENT = 3
    """The arguments are wrong, whatever the state of the server."""
    DEADLINE_EXCEEDED = 4
    """Time ran out before the answer."""
    NOT_FOUND = 5
    """No such tool, session or variable."""
    ALREADY_EXISTS = 6
    """What was to be created is there."""
    PERMISSION_DENIED = 7
    """The caller is known and not allowed."""
    RESOURCE_EXHAUSTED = 8
    """A limit is reached; the message names it. With ``retry_after`` it is worth trying again."""
    FAILED_PRECONDITION = 9
    """The call cannot work in this state; repeating it does not help."""
    ABORTED = 10
    """Somebody else was faster (compare-and-set); read again, then repeat."""
    OUT_OF_RANGE = 11
    """Past the end of what is kept."""
    UNIMPLEMENTED = 12
    """The server does not have this method."""
    INTERNAL = 13
    """A bug of the bridge."""
    UNAVAILABLE = 14
    """Nobody answers at the moment."""
    DATA_LOSS = 15
    """Stored data is damaged."""
    UNAUTHENTICATED = 16
    """The caller is not known."""


class FieldViolation(msgspec.Struct, frozen=True):
    """One thing wrong with one field (google.rpc.BadRequest.FieldViolation)."""

    field: str
    """Path of the field, ``$.rows[3].when``; ``$`` is the whole value."""
    description: str
    """What is wrong with it, without the value."""


class ErrorDetails(msgspec.Struct, frozen=True):
    """What goes with an error beside its message; on a gRPC wire the details of ``google.rpc.Status``."""

    violations: tuple[FieldViolation, ...] = ()
    """Wrong fields (``BadRequest``)."""
    retry_after: float | None = None
    """Seconds to wait before trying again; set when the call did not start because of load (``RetryInfo``)."""
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Facts for programs, such as ``current_version`` or ``error_id`` (``ErrorInfo.metadata``)."""
    debug: str | None = None
    """Traceback, only from a server started with ``--debug`` (``DebugInfo``)."""


NO_DETAILS = ErrorDetails()


class BridgeError(Exception):
    """A call failed.

    Args:
        code: one of gRPC's codes.
        message: for people: what is wrong and what to do next.
        reason: for programs: ``UPPER_SNAKE_CASE``, or the name of the Python exception for errors of tools.
        details: wrong fields, when to try again, and so on.
    """

    def __init__(self, code: Code, message: str, *, reason: str = "", details: ErrorDetails = NO_DETAILS) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.details = details

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before trying again, if the other side said so."""
        return self.details.retry_after

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The wrong fields, if any."""
        return self.details.violations

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code.name}, {self.message!r}, reason={self.reason!r})"


class ToolError(BridgeError):
    """Raised by a tool that wants to choose the code its caller sees.

    Args:
        code: one of gRPC's codes, as ``Code`` or by name (``"NOT_FOUND"``).
        message: for the caller.
        reason: for programs; the default is ``TOOL_ERROR``.
        metadata: facts for programs.
    """

    def __init__(
        self,
        code: Code | str,
        message: str,
        *,
        reason: str = "TOOL_ERROR",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        code = Code[code] if isinstance(code, str) else code
        facts = {str(key): str(value) for key, value in (metadata or {}).items()}
        # An exception of somebody else often stands where its text is meant.
        super().__init__(code, str(message), reason=reason, details=ErrorDetails(metadata=facts))


class NoHostError(BridgeError):
    """The tool asked for a variable or a host tool, and this way in has no way back to a host."""

    def __init__(self, message: str = "this server has no host: start it with --host ADDRESS") -> None:
        super().__init__(Code.FAILED_PRECONDITION, message, reason="NO_HOST")


class NoSessionError(BridgeError):
    """The tool asked for a variable, and the call was made without a session."""

    def __init__(
        self, message: str = "the call has no session: open one with client.session() and call the tool in it"
    ) -> None:
        super().__init__(Code.FAILED_PRECONDITION, message, reason="NO_SESSION")


def invalid_argument(field: str, description: str, *, reason: str = "INVALID_ARGUMENT") -> BridgeError:
    """An ``INVALID_ARGUMENT`` error about one field."""
    details = ErrorDetails(violations=(FieldViolation(field, description),))
    return BridgeError(Code.INVALID_ARGUMENT, f"{field}: {description}", reason=reason, details=details)
