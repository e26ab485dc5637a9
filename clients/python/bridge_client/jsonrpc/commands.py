"""Commands of servers: what can be one, and what is said of those that failed."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.errors import BridgeError, Code, invalid_argument

__all__ = ["KEPT_BYTES", "check_command", "tail", "unstartable"]

KEPT_BYTES = 16 * 1024
"""Bytes kept of what a server prints at last."""
_LINES = 15
"""Lines of it that are shown in an error."""


def check_command(command: Sequence[str]) -> list[str]:
    """A program and its arguments. Raises INVALID_ARGUMENT, reason ``COMMAND``, for what is none."""
    if isinstance(command, str | bytes) or not command or not all(isinstance(part, str) for part in command):
        raise invalid_argument("command", "is the program and its arguments, each a text, in a list", reason="COMMAND")
    return list(command)


def unstartable(command: Sequence[str], error: OSError) -> BridgeError:
    """The program cannot be run at all."""
    message = f"{command[0]!r} cannot be started: {error.strerror}; give the path of a program that can be run"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="COMMAND")


def tail(output: bytes) -> str:
    """The end of what a server printed, for a message."""
    lines = output[-KEPT_BYTES:].decode("utf-8", "replace").splitlines()[-_LINES:]
    return "\n".join(["its last output:", *lines]) if lines else "it printed nothing"
