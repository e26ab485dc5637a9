"""The error type of the bridge, as ``bridge.errors`` has it, for interpreters that have the standard library only."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

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
    """gRPC's status codes other than OK (grpc/doc/statuscodes.md); what each means is said in ``bridge.errors``."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class FieldViolation(NamedTuple):
    """One thing wrong with one field (google.rpc.BadRequest.FieldViolation)."""

    field: str
    """Path of the field, ``$.rows[3].when``; ``$`` is the whole value."""
    description: str
    """What is wrong with it, without the value."""


class ErrorDetails(NamedTuple):
    """What goes with an error beside its message."""

    violations: tuple[FieldViolation, ...] = ()
    """Wrong fields."""
    retry_after: float | None = None
    """Seconds to wait before trying again; set when the call did not start because of load."""
    metadata: Mapping[str, str] = {}
    """Facts for programs, such as ``current_version`` or ``error_id``."""
    debug: str | None = None
    """Traceback, where the server was started with ``--debug``."""


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
