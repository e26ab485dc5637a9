"""What a caller sees of a failure."""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

from .errors import BridgeError, Code, ErrorDetails

__all__ = ["Settings", "began", "cancelled", "message_too_large", "tool_failure"]

log = logging.getLogger("bridge.tool")

_NEVER_RAN = frozenset({"NOT_CONNECTED", "CIRCUIT_OPEN"})


class Settings(NamedTuple):
    """What is the same for all calls; fields in the order of the frame."""

    redact: bool = False
    """Hide the messages of tools' exceptions."""
    debug: bool = False
    """Send their tracebacks."""
    max_message_bytes: int = 16 * 1024 * 1024
    """Most bytes of a result, a chunk or a question."""
    log_level: str = "info"
    """The least level that is logged."""
    max_shared_bytes: int = 4 * 1024 * 1024 * 1024
    """Most bytes of the memory that comes with a frame; 0: none comes, all values are in the message."""


def began(error: BridgeError) -> BridgeError:
    """An error that came out of a running tool, without what would tell clients that the tool never ran.

    A host that a tool could not reach, or that was too busy, says so of *its* part of the work; a client that took it
    for the whole would run the tool again.
    """
    if error.details.retry_after is None and error.reason not in _NEVER_RAN:
        return error
    reason = "HOST_UNAVAILABLE" if error.reason in _NEVER_RAN else error.reason
    changed = BridgeError(error.code, error.message, reason=reason, details=error.details._replace(retry_after=None))
    changed.__cause__ = error
    return changed


def tool_failure(tool: str, error: BaseException, settings: Settings) -> BridgeError:
    """What a caller sees of an exception of a tool; the log has the rest under the error id."""
    error_id = os.urandom(8).hex()
    log.error("tool %s failed (error id %s)", tool, error_id, exc_info=error, extra={"error_id": error_id})
    reason = type(error).__name__
    if settings.redact:
        message = f"tool {tool!r} failed; the server's log has the details under error id {error_id}"
    elif isinstance(error, SystemExit):
        message = f"tool {tool!r} called sys.exit({error.code!r}): a tool must return or raise"
    else:
        message = f"{reason}: {_text(error)}"
    debug = None
    if settings.debug:
        import traceback

        debug = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    details = ErrorDetails(metadata={"error_id": error_id}, debug=debug)
    return BridgeError(Code.UNKNOWN, message, reason=reason, details=details)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - __str__ is the tool author's code too
        return "(its message cannot be shown)"


def cancelled() -> BridgeError:
    """Nobody waits for the call any more."""
    return BridgeError(Code.CANCELLED, "the call was cancelled", reason="CANCELLED")


def message_too_large(tool: str, size: int, limit: int) -> BridgeError:
    """A tool gave more at once than a message may hold."""
    return BridgeError(
        Code.RESOURCE_EXHAUSTED,
        f"tool {tool!r} gave a message of {size} bytes, and {limit} are allowed (--max-message-bytes): return less, or "
        "stream it in parts",
        reason="MESSAGE_TOO_LARGE",
    )
