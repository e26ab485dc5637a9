"""What the process says when it ends."""

from __future__ import annotations

import enum

from bridge.errors import BridgeError, Code

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(enum.IntEnum):
    """Exit codes of every command; ``docs/command-line.md`` has them for users."""

    OK = 0
    FAILED = 1
    USAGE = 2
    ADAPTER = 3
    ADDRESS = 4
    UNFINISHED = 5
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """When it is used, in a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "it worked",
    ExitCode.FAILED: "the call or the check failed",
    ExitCode.USAGE: "wrong usage or configuration",
    ExitCode.ADAPTER: "an adapter cannot be loaded",
    ExitCode.ADDRESS: "an address cannot be listened on: in use, insecure, or not permitted",
    ExitCode.UNFINISHED: "stopped with work left after the grace period",
    ExitCode.INTERRUPTED: "ended by SIGINT (a server: before it was ready, or by the second one)",
    ExitCode.TERMINATED: "ended by SIGTERM (a server: before it was ready, or by the second one)",
}

_BY_REASON = {
    **dict.fromkeys(
        (
            "BAD_RESOURCES",
            "BAD_SIGNATURE",
            "CLASS_NOT_FOUND",
            "DUPLICATE_TOOL",
            "IMPORT_FAILED",
            "LIFESPAN_FAILED",
            "MODULE_NOT_FOUND",
            "NOT_AN_ADAPTER",
            "NO_TOOLS",
            "WORKER_NOT_PLACED",
            "WORKER_START_FAILED",
            "WORKER_START_TIMEOUT",
        ),
        ExitCode.ADAPTER,
    ),
    **dict.fromkeys(("ADDRESS", "ADDRESS_IN_USE", "INSECURE_ADDRESS", "SOCKET_PERMISSIONS"), ExitCode.ADDRESS),
    **dict.fromkeys(
        ("FILE_NOT_WRITTEN", "MISSING_EXTRA", "RAY_RUNTIME_ENV", "RAY_UNREACHABLE", "STORE_REFUSED"), ExitCode.USAGE
    ),
}


def exit_code_of(error: BridgeError) -> ExitCode:
    """The exit code for an error of this process; what a server answered with is always ``FAILED``."""
    usual = ExitCode.USAGE if error.code is Code.INVALID_ARGUMENT else ExitCode.FAILED
    return _BY_REASON.get(error.reason, usual)
